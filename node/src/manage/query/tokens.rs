//! `cluster tokens`: the join tokens there are. Their secrets are nowhere.

use fleetbal_raft::model::{Token, TokenId, UnixMillis};

/// One line a token that has not expired: its id, seconds left, uses left (`-`: without limit).
pub fn list<'a>(tokens: impl Iterator<Item = (&'a TokenId, &'a Token)>, now: UnixMillis) -> Vec<String> {
    let head = "ID                EXPIRES  USES".to_owned();
    let row = |(id, token): (&TokenId, &Token)| {
        let left = token.expires.0.saturating_sub(now.0).div_ceil(1000);
        let uses = token
            .uses_left
            .map_or_else(|| "-".to_owned(), |uses| uses.to_string());
        format!("{id:<16}  {left:<7}  {uses}")
    };
    let live = tokens.filter(|(_, token)| token.expires > now);
    std::iter::once(head).chain(live.map(row)).collect()
}

#[cfg(test)]
mod tests {
    use fleetbal_raft::model::SecretHash;

    use super::*;

    #[test]
    fn lists_what_has_not_expired() {
        let token = |expires, uses_left| Token {
            secret_hash: SecretHash::default(),
            expires: UnixMillis(expires),
            uses_left,
        };
        let tokens = [
            (TokenId::parse("00aa").unwrap(), token(61_500, Some(2))),
            (TokenId::parse("0123456789abcdef").unwrap(), token(10_001, None)),
            (TokenId::parse("ff").unwrap(), token(10_000, None)),
        ];
        let lines = list(tokens.iter().map(|(id, token)| (id, token)), UnixMillis(10_000));
        let expected = [
            "ID                EXPIRES  USES",
            "00aa              52       2",
            "0123456789abcdef  1        -",
        ];
        assert_eq!(lines, expected);
    }
}
