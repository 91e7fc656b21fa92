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
