//! `cluster remove|promote|demote|transfer NODE`.

use fleetbal_raft::model::{NodeName, VoteWish};

use super::super::command::{Command, Local};
use super::ParseError;

const USAGE: ParseError = ParseError::Usage("usage: cluster {remove|promote|demote|transfer} <node>");

/// One of the four words, and what follows it; nothing where the word is another one.
pub(super) fn parse(word: &str, arguments: &[&str]) -> Option<Result<Command, ParseError>> {
    let command: fn(NodeName) -> Local = match word {
        "remove" => Local::RemoveNode,
        "promote" => |node| wish(node, VoteWish::Voter),
        "demote" => |node| wish(node, VoteWish::Learner),
        "transfer" => Local::Transfer,
        _ => return None,
    };
    let [name] = arguments else {
        return Some(Err(USAGE));
    };
    let node = NodeName::parse(name).map_err(ParseError::from);
    Some(node.map(|node| Command::Local(command(node))))
}

fn wish(node: NodeName, wish: VoteWish) -> Local {
    Local::SetWish { node, wish }
}
