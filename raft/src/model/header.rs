//! `HEADER` rules of a service: what is removed from the requests it forwards, and what is set in them.

use super::pool::is_token;
use super::rejection::Rejection;
use super::template::Template;

/// One rule. Perlbal carries all removals out before all insertions, in whatever order they were typed (reference,
/// section 4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRule {
    /// `HEADER svc INSERT name: value`: sets a header.
    Insert {
        /// Its name, as typed.
        name: String,
        /// Its value; each node fills in its variables.
        value: Template,
    },
    /// `HEADER svc REMOVE name`: removes a header.
    Remove {
        /// Its name, as typed.
        name: String,
    },
}

/// What says where a message ends is not for rules: a backend must read a request as this node did.
const FRAMING: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

impl HeaderRule {
    /// The name of the header.
    pub fn name(&self) -> &str {
        match self {
            Self::Insert { name, .. } | Self::Remove { name } => name,
        }
    }

    fn check(&self) -> Result<(), Rejection> {
        let name = self.name();
        if !is_token(name) {
            return Err(Rejection::HeaderName(name.to_owned()));
        }
        if FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name)) {
            return Err(Rejection::HeaderFraming(name.to_owned()));
        }
        match self {
            Self::Insert { value, .. } if value.to_string().chars().any(char::is_control) => {
                Err(Rejection::HeaderValue)
            }
            Self::Insert { .. } | Self::Remove { .. } => Ok(()),
        }
    }

    /// Whether it does the same to the same header, and so takes the other's place.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let same_kind = matches!(self, Self::Insert { .. }) == matches!(other, Self::Insert { .. });
        same_kind && self.name().eq_ignore_ascii_case(other.name())
    }

    /// Checks a rule and puts it among the others: of two insertions of one header the later one holds.
    pub(super) fn put(self, rules: &mut Vec<Self>) -> Result<(), Rejection> {
        self.check()?;
        match rules.iter_mut().find(|rule| self.replaces(rule)) {
            Some(rule) => *rule = self,
            None => rules.push(self),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(name: &str, value: &str) -> HeaderRule {
        HeaderRule::Insert {
            name: name.to_owned(),
            value: Template::parse(value).unwrap(),
        }
    }

    fn remove(name: &str) -> HeaderRule {
        HeaderRule::Remove {
            name: name.to_owned(),
        }
    }

    #[test]
    fn the_later_of_two_holds() {
        let mut rules = Vec::new();
        for rule in [
            insert("x-a", "1"),
            remove("x-a"),
            insert("x-b", "0"),
            insert("X-A", "2"),
            remove("X-a"),
        ] {
            rule.put(&mut rules).unwrap();
        }
        assert_eq!(rules, [insert("X-A", "2"), remove("X-a"), insert("x-b", "0")]);
    }

    #[test]
    fn what_would_break_a_message_is_refused() {
        let refused = |rule: HeaderRule| rule.put(&mut Vec::new()).unwrap_err().to_string();
        assert_eq!(refused(insert("x foo", "1")), "'x foo' is not a header name");
        assert_eq!(refused(remove("")), "'' is not a header name");
        for value in ["a\r\nb: c", "\0", "a\u{7f}"] {
            assert_eq!(
                refused(insert("x", value)),
                "the value of a header cannot have control characters"
            );
        }
        for name in ["Connection", "content-length", "TRANSFER-ENCODING"] {
            let text = format!("header '{name}' says where a message ends; no rule can change it");
            assert_eq!(refused(insert(name, "1")), text);
            assert_eq!(refused(remove(name)), text);
        }
    }
}
