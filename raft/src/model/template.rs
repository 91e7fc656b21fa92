//! Text with variables that every node fills in for itself: `${node:ip}:80`.
//!
//! The replicated configuration keeps such text unexpanded; which variables there are, and that they are spelt
//! right, is checked before it gets there.

use std::fmt;

/// A variable of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `${ip:IFACE}`: the first IPv4 address of an interface.
    InterfaceIp(String),
    /// `${node:name}`.
    NodeName,
    /// `${node:ip}`: the address that the other nodes reach it at.
    NodeIp,
    /// `${node:label.KEY}`: set with `--label KEY=VALUE`.
    Label(String),
}

/// A variable that does not exist or is spelt wrong. The first three texts are Perlbal's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// No `type:` before a name.
    #[error("Unknown config variable: {0}")]
    Unknown(String),
    /// Neither `ip:` nor `node:`.
    #[error("Unknown config variable type: {0}")]
    UnknownType(String),
    /// Not an interface's name.
    #[error("Bogus-looking iface name")]
    BogusInterface,
    /// `${` without `}`.
    #[error("config variable without closing brace: {0}")]
    Unclosed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Variable(Variable),
}

/// Text of literals and variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Takes text apart.
    ///
    /// # Errors
    /// When a `${…}` names no variable or is not closed.
    pub fn parse(text: &str) -> Result<Self, VariableError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, from_variable)) = rest.split_once("${") {
            let (name, after) = from_variable
                .split_once('}')
                .ok_or_else(|| VariableError::Unclosed(format!("${{{from_variable}")))?;
            push_literal(&mut pieces, literal);
            pieces.push(Piece::Variable(Variable::parse(name)?));
            rest = after;
        }
        push_literal(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// The text with each variable replaced by what `fill` says.
    ///
    /// # Errors
    /// The first error of `fill`.
    pub fn expand<E>(&self, mut fill: impl FnMut(&Variable) -> Result<String, E>) -> Result<String, E> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Variable(variable) => text.push_str(&fill(variable)?),
            }
        }
        Ok(text)
    }

    /// The variables in it, in order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Literal(_) => None,
        })
    }
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &str) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.to_owned()));
    }
}

impl Variable {
    fn parse(name: &str) -> Result<Self, VariableError> {
        let word = |s: &str| {
            s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        match name.split_once(':') {
            None => Err(VariableError::Unknown(name.to_owned())),
            Some(("ip", iface)) if iface.is_empty() || iface.len() > 15 || !word(iface) => {
                Err(VariableError::BogusInterface)
            }
            Some(("ip", iface)) => Ok(Self::InterfaceIp(iface.to_owned())),
            Some(("node", "name")) => Ok(Self::NodeName),
            Some(("node", "ip")) => Ok(Self::NodeIp),
            Some(("node", label)) => match label.strip_prefix("label.") {
                Some(key) if !key.is_empty() && word(key) => Ok(Self::Label(key.to_owned())),
                _ => Err(VariableError::Unknown(name.to_owned())),
            },
            Some((kind, _)) => Err(VariableError::UnknownType(kind.to_owned())),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => f.write_str(literal)?,
                Piece::Variable(Variable::InterfaceIp(iface)) => write!(f, "${{ip:{iface}}}")?,
                Piece::Variable(Variable::NodeName) => f.write_str("${node:name}")?,
                Piece::Variable(Variable::NodeIp) => f.write_str("${node:ip}")?,
                Piece::Variable(Variable::Label(key)) => write!(f, "${{node:label.{key}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_text() {
        for text in [
            "",
            "80",
            "${node:ip}:80",
            "/x/${node:name}/${node:label.rack}",
            "${ip:eth0}:1$",
            "$x {",
        ] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_in_perlbals_words() {
        let error = |t: &str| Template::parse(t).unwrap_err().to_string();
        assert_eq!(error("${foo}"), "Unknown config variable: foo");
        assert_eq!(error("${foo:bar}"), "Unknown config variable type: foo");
        assert_eq!(error("${ip:e th}"), "Bogus-looking iface name");
        assert_eq!(error("${node:nothing}"), "Unknown config variable: node:nothing");
        assert_eq!(
            error("${ip:eth0"),
            "config variable without closing brace: ${ip:eth0"
        );
    }

    #[test]
    fn expands() {
        let template = Template::parse("${node:ip}:${node:label.port}").unwrap();
        let filled = template.expand(|v| {
            Ok::<_, ()>(if *v == Variable::NodeIp {
                "10.0.0.1".to_owned()
            } else {
                format!("<{v:?}>")
            })
        });
        let filled = filled.map(|text| text.replace("<Label(\"port\")>", "80"));
        assert_eq!(filled.as_deref(), Ok("10.0.0.1:80"));
    }
}
