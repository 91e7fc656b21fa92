//! Names, parsed once. Perlbal folds the names of pools and services to lower case as they are created.

use std::fmt;
use std::sync::Arc;

use super::tunable::CLEARING;

/// A name that breaks the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a valid {kind} name: {rule}")]
pub struct InvalidName {
    name: String,
    kind: &'static str,
    rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type! {
    /// The name of a pool: word characters, folded to lower case.
    PoolName
}
name_type! {
    /// The name of a service: word characters, folded to lower case. Pools and services share one namespace.
    ServiceName
}
name_type! {
    /// The name of a node: `[a-z0-9][a-z0-9._-]{0,62}`, folded to lower case.
    NodeName
}
name_type! {
    /// The public part of a join token: lower-case hex.
    TokenId
}

name_type! {
    /// The name of a plugin in Lua: `[A-Za-z_][A-Za-z0-9_]{0,63}`, in the case in which it was pushed.
    ScriptName
}

name_type! {
    /// The name of a certificate: `[a-z0-9][a-z0-9._-]{0,62}`, folded to lower case, and none of the words that take a
    /// setting back.
    CertificateName
}

/// The longest name of a pool or service, in bytes.
const OBJECT_NAME_MAX: usize = 255;

fn object_name(name: &str, kind: &'static str) -> Result<Arc<str>, InvalidName> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > OBJECT_NAME_MAX || !name.chars().all(word) {
        let rule = "letters, digits and _ only, at most 255 of them";
        return Err(InvalidName {
            name: name.to_owned(),
            kind,
            rule,
        });
    }
    Ok(name.to_ascii_lowercase().into())
}

impl PoolName {
    /// Parses and folds a pool's name.
    ///
    /// # Errors
    /// When a character is no letter, digit or underscore, or there are none or more than 255.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        object_name(name, "pool").map(Self)
    }
}

impl ServiceName {
    /// Parses and folds a service's name.
    ///
    /// # Errors
    /// When a character is no letter, digit or underscore, or there are none or more than 255.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        object_name(name, "service").map(Self)
    }
}

impl ScriptName {
    /// Parses the name of a plugin in Lua.
    ///
    /// # Errors
    /// When it does not match `[A-Za-z_][A-Za-z0-9_]{0,63}`.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || name.len() > 64 || !name.chars().all(word) {
            return Err(InvalidName {
                name: name.to_owned(),
                kind: "plugin",
                rule: "letters, digits and _ only, no digit first, at most 64 of them",
            });
        }
        Ok(Self(name.into()))
    }
}

/// A name as hosts have them, folded; none where it is another one.
fn host_like(name: &str) -> Option<Arc<str>> {
    let folded = name.to_ascii_lowercase();
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let starts_well = folded.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    (starts_well && folded.len() <= 63 && folded.chars().all(inner)).then(|| folded.into())
}

impl NodeName {
    /// Parses and folds a node's name.
    ///
    /// # Errors
    /// When it does not match `[a-z0-9][a-z0-9._-]{0,62}` after folding.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        host_like(name).map(Self).ok_or_else(|| InvalidName {
            name: name.to_owned(),
            kind: "node",
            rule: "it must match [a-z0-9][a-z0-9._-]{0,62}",
        })
    }
}

impl CertificateName {
    /// Parses and folds a certificate's name.
    ///
    /// # Errors
    /// When it does not match `[a-z0-9][a-z0-9._-]{0,62}` after folding, or is a word that takes a setting back.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let parsed = host_like(name).filter(|name| !CLEARING.contains(&&**name));
        parsed.map(Self).ok_or_else(|| InvalidName {
            name: name.to_owned(),
            kind: "certificate",
            rule: "it must match [a-z0-9][a-z0-9._-]{0,62}, and be none of none, null and undef",
        })
    }
}

impl TokenId {
    /// Parses a token's id.
    ///
    /// # Errors
    /// When it is not 1 to 64 lower-case hex digits.
    pub fn parse(id: &str) -> Result<Self, InvalidName> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if id.is_empty() || id.len() > 64 || !id.bytes().all(hex) {
            let rule = "lower-case hex digits only";
            return Err(InvalidName {
                name: id.to_owned(),
                kind: "token",
                rule,
            });
        }
        Ok(Self(id.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_and_refuses() {
        assert_eq!(PoolName::parse("My_Pool1").unwrap().as_str(), "my_pool1");
        assert_eq!(NodeName::parse("N1.example-x").unwrap().as_str(), "n1.example-x");
        for bad in ["", "a b", "a-b", "é", "a.b"] {
            assert!(PoolName::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "-a", "a/b", &"x".repeat(64)] {
            assert!(NodeName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            CertificateName::parse("WWW.example").unwrap().as_str(),
            "www.example"
        );
        for bad in ["", "*.a", "None", "a/b", "é"] {
            assert!(CertificateName::parse(bad).is_err(), "{bad}");
        }
        assert!(TokenId::parse("00ff").is_ok());
        assert!(TokenId::parse("00FF").is_err());
    }
}
