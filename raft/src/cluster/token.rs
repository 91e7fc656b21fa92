//! Join tokens: `fleetbal1.CA-HASH.ID.SECRET`.
//!
//! The hash tells the joiner whom to believe, the secret tells the fleet whom to take. The fleet keeps the secret's
//! hash alone, and whoever holds a token in memory cannot print the secret by mistake.

use std::fmt;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Inner;
use crate::error::ProposeError;
use crate::identity::keys::{CaHash, NodeKeys};
use crate::model::{Answer, Command, RequestId, SecretHash, TokenId, Typist};

/// Leads every token; counts its format.
const PREFIX: &str = "fleetbal1";

/// Bytes of a secret.
const SECRET: usize = 20;

/// How long the making of a token is tried.
const TOKEN_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of an id.
const ID: usize = 6;

/// A right to join a fleet. `Display` prints it in full, `Debug` without its secret.
#[derive(Clone)]
pub struct JoinToken {
    ca: CaHash,
    id: TokenId,
    secret: Secret,
}

/// What a joiner proves.
#[derive(Clone)]
pub(crate) struct Secret([u8; SECRET]);

/// Text that is no join token. It does not repeat the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not at all.
    #[error("not a join token: it must look like fleetbal1.CA-HASH.ID.SECRET")]
    Shape,
    /// Of a release that this one does not know.
    #[error("this join token is of a later release; it must begin with fleetbal1")]
    Format,
    /// One of its parts was changed or cut.
    #[error("the {0} of this join token is damaged; copy it again, or make a new one with `cluster token`")]
    Part(&'static str),
}

impl JoinToken {
    /// Reads a token. White space around it is let go: it comes out of files and environments.
    ///
    /// # Errors
    /// When it has not the shape of one, or a part cannot be what it stands for.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let prefix = parts.next().unwrap_or_default();
        if prefix != PREFIX {
            let ours = prefix.starts_with(PREFIX.trim_end_matches('1'));
            return Err(if ours {
                TokenError::Format
            } else {
                TokenError::Shape
            });
        }
        let (Some(ca), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Shape);
        };
        Ok(Self {
            ca: CaHash(decode(ca).ok_or(TokenError::Part("CA hash"))?),
            id: TokenId::parse(id).map_err(|_| TokenError::Part("id"))?,
            secret: Secret(decode(secret).ok_or(TokenError::Part("secret"))?),
        })
    }

    /// A new token for the fleet of this CA.
    pub(crate) fn draw(ca: CaHash) -> Result<Self, TokenError> {
        let id: [u8; ID] = rand::random();
        Ok(Self {
            ca,
            id: TokenId::parse(&HEXLOWER.encode(&id)).map_err(|_| TokenError::Part("id"))?,
            secret: Secret(rand::random()),
        })
    }

    /// Its public part.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// Whether it is for the fleet that these keys belong to.
    pub fn is_for(&self, keys: &NodeKeys) -> bool {
        self.ca == keys.ca_hash()
    }

    pub(crate) fn ca(&self) -> CaHash {
        self.ca
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ca, secret) = (encode(&self.ca.0), encode(&self.secret.0));
        write!(f, "{PREFIX}.{ca}.{}.{secret}", self.id)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// A secret off the wire.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the fleet keeps of it.
    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }

    /// Whether it is the one that was kept, in constant time.
    pub(crate) fn is(&self, kept: &SecretHash) -> bool {
        self.hash().0.ct_eq(&kept.0).into()
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()?
        .try_into()
        .ok()
}

impl Inner {
    pub(super) async fn issue_token(
        &self,
        ttl: Duration,
        uses: Option<u32>,
        typist: Typist,
    ) -> Result<JoinToken, ProposeError> {
        let home = self.home.as_ref().ok_or(ProposeError::Standalone)?;
        let token = JoinToken::draw(home.identity.keys.ca_hash())
            .map_err(|error| ProposeError::Refused(error.to_string()))?;
        let command = Command::IssueToken {
            id: token.id().clone(),
            secret_hash: token.secret().hash(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            uses,
        };
        let request_id = RequestId(rand::random());
        let proposed = self
            .propose_command(request_id, command, typist, TOKEN_WITHIN)
            .await?;
        match proposed.answer {
            Answer::Refused(refusal) => Err(ProposeError::Refused(refusal.text)),
            Answer::Applied(_) | Answer::Joined(_) | Answer::Done => Ok(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_back() {
        let token = JoinToken::draw(CaHash::of(b"ca")).unwrap();
        let text = token.to_string();
        let again = JoinToken::parse(&format!(" {text}\n")).unwrap();
        assert_eq!(again.to_string(), text);
        assert!(again.ca() == CaHash::of(b"ca"));
        assert!(token.secret().is(&again.secret().hash()));
        assert!(!token.secret().is(&SecretHash::default()));
    }

    #[test]
    fn debug_hides_the_secret() {
        let token = JoinToken::draw(CaHash::of(b"ca")).unwrap();
        let secret = token.to_string().rsplit('.').next().unwrap().to_owned();
        assert!(!format!("{token:?}").contains(&secret));
    }

    #[test]
    fn says_what_is_wrong_and_repeats_nothing() {
        let text = JoinToken::draw(CaHash::of(b"ca")).unwrap().to_string();
        let parts: Vec<&str> = text.split('.').collect();
        let error = |text: &str| JoinToken::parse(text).unwrap_err();
        assert_eq!(error(""), TokenError::Shape);
        assert_eq!(error("secret"), TokenError::Shape);
        assert_eq!(error("fleetbal1.a.b"), TokenError::Shape);
        assert_eq!(error(&format!("{text}.x")), TokenError::Shape);
        assert_eq!(error(&text.replace("fleetbal1", "fleetbal2")), TokenError::Format);
        assert_eq!(error(&text.replace(parts[1], "abc")), TokenError::Part("CA hash"));
        assert_eq!(error(&text.replace(parts[2], "XYZ")), TokenError::Part("id"));
        assert_eq!(error(&text[..text.len() - 1]), TokenError::Part("secret"));
    }
}
