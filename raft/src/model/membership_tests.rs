use super::super::fleet::{KeyHash, NamedMember};
use super::*;

fn fleet(names: &[&str]) -> FleetState {
    let mut state = FleetState::default();
    for name in names {
        state.next_node_id += 1;
        let member = NamedMember {
            node_id: state.next_node_id,
            key_hash: KeyHash::default(),
            address: "127.0.0.1:7400".to_owned(),
            wish: VoteWish::Any,
        };
        state.members.insert(name_of(name), member);
    }
    state
}

fn name_of(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

#[test]
fn a_removed_member_is_known_as_one_and_the_last_one_stays() {
    let mut state = fleet(&["n1", "n2"]);
    assert!(!state.was_removed(2) && !state.was_removed(3));
    assert_eq!(
        state.remove_node(&name_of("n9")),
        Err(Rejection::NoMember(name_of("n9")))
    );
    assert_eq!(state.remove_node(&name_of("n2")), Ok(()));
    assert!(state.was_removed(2) && !state.was_removed(3));
    assert_eq!(
        state.remove_node(&name_of("n1")),
        Err(Rejection::OnlyMember(name_of("n1")))
    );
}

#[test]
fn somebody_must_be_left_to_vote() {
    let mut state = fleet(&["n1", "n2"]);
    assert_eq!(state.set_wish(&name_of("n1"), VoteWish::Learner), Ok(()));
    let none_left = Err(Rejection::NoVoterLeft(name_of("n2")));
    assert_eq!(state.set_wish(&name_of("n2"), VoteWish::Learner), none_left);
    assert_eq!(state.remove_node(&name_of("n2")), none_left);
    assert_eq!(state.set_wish(&name_of("n1"), VoteWish::Voter), Ok(()));
    assert_eq!(state.remove_node(&name_of("n2")), Ok(()));
}

#[test]
fn no_more_are_promoted_than_there_are_votes() {
    let mut state = fleet(&["n1", "n2"]);
    std::sync::Arc::make_mut(&mut state.config).voters = Some(1);
    assert_eq!(state.set_wish(&name_of("n1"), VoteWish::Voter), Ok(()));
    assert_eq!(state.set_wish(&name_of("n1"), VoteWish::Voter), Ok(()), "again");
    assert_eq!(
        state.set_wish(&name_of("n2"), VoteWish::Voter),
        Err(Rejection::NoVoteFree(1))
    );
}
