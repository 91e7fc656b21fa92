use proptest::prelude::*;

use super::*;

fn voter(id: NodeId) -> Standing {
    Standing {
        id,
        votes: true,
        alive: true,
        caught_up: true,
        given_up: false,
        wish: VoteWish::Any,
        removed: false,
        leads: id == 1,
    }
}

fn learner(id: NodeId) -> Standing {
    Standing {
        votes: false,
        ..voter(id)
    }
}

fn dead(member: Standing) -> Standing {
    Standing {
        alive: false,
        caught_up: false,
        ..member
    }
}

fn given_up(member: Standing) -> Standing {
    Standing {
        given_up: true,
        ..dead(member)
    }
}

fn behind(member: Standing) -> Standing {
    Standing {
        caught_up: false,
        ..member
    }
}

fn wishing(member: Standing, wish: VoteWish) -> Standing {
    Standing { wish, ..member }
}

fn removed(member: Standing) -> Standing {
    Standing {
        removed: true,
        ..member
    }
}

fn vote(ids: &[NodeId]) -> Step {
    Step::Vote(ids.iter().copied().collect())
}

#[test]
fn grows_by_two_and_never_to_two() {
    assert_eq!(next_step(&[voter(1)], 5), Step::Done);
    assert_eq!(next_step(&[voter(1), learner(2)], 5), Step::Done);
    assert_eq!(
        next_step(&[voter(1), learner(2), behind(learner(3))], 5),
        Step::Wait
    );
    assert_eq!(
        next_step(&[voter(1), learner(2), learner(3)], 5),
        vote(&[1, 2, 3])
    );
    let four = [voter(1), voter(2), voter(3), learner(4)];
    assert_eq!(next_step(&four, 5), Step::Done);
    let five = [voter(1), voter(2), voter(3), learner(4), learner(5)];
    assert_eq!(next_step(&five, 3), Step::Done);
    assert_eq!(next_step(&five, 5), vote(&[1, 2, 3, 4, 5]));
}

#[test]
fn a_dead_voter_is_replaced_only_when_it_is_given_up() {
    let soon = [voter(1), voter(2), dead(voter(3)), learner(4)];
    assert_eq!(next_step(&soon, 3), Step::Done);
    let later = [voter(1), voter(2), given_up(voter(3)), learner(4)];
    assert_eq!(next_step(&later, 3), vote(&[1, 2, 4]));
    let nobody = [voter(1), voter(2), given_up(voter(3))];
    assert_eq!(next_step(&nobody, 3), Step::Done, "without a learner it stays");
    let catching_up = [voter(1), voter(2), given_up(voter(3)), behind(learner(4))];
    assert_eq!(next_step(&catching_up, 3), Step::Done, "not yet");
}

#[test]
fn without_a_majority_nothing_is_changed() {
    let lost = [
        voter(1),
        given_up(voter(2)),
        given_up(voter(3)),
        learner(4),
        learner(5),
    ];
    assert_eq!(next_step(&lost, 3), Step::Wait);
}

#[test]
fn a_demoted_voter_makes_room_for_a_learner_that_has_caught_up() {
    let three = [
        voter(1),
        voter(2),
        wishing(voter(3), VoteWish::Learner),
        behind(learner(4)),
    ];
    assert_eq!(next_step(&three, 3), Step::Wait);
    let three = [
        voter(1),
        voter(2),
        wishing(voter(3), VoteWish::Learner),
        learner(4),
    ];
    assert_eq!(next_step(&three, 3), vote(&[1, 2, 4]));
    let promoted = [voter(1), voter(2), voter(3), wishing(learner(4), VoteWish::Voter)];
    assert_eq!(next_step(&promoted, 3), vote(&[1, 2, 4]));
}

#[test]
fn a_removed_member_loses_its_vote_then_its_place() {
    let three = [voter(1), voter(2), removed(dead(voter(3)))];
    assert_eq!(next_step(&three, 5), vote(&[1]));
    let two = [voter(1), learner(2), removed(dead(learner(3)))];
    assert_eq!(next_step(&two, 5), Step::Drop(BTreeSet::from([3])));
}

#[test]
fn a_leader_that_shall_not_vote_hands_over_first() {
    let three = [removed(voter(1)), voter(2), voter(3), learner(4)];
    assert_eq!(next_step(&three, 5), Step::HandOver(2));
    let two = [removed(voter(1)), learner(2)];
    assert_eq!(next_step(&two, 5), vote(&[1, 2]));
    let both = [removed(voter(1)), voter(2)];
    assert_eq!(next_step(&both, 5), Step::HandOver(2));
}

fn any_member(id: NodeId) -> impl Strategy<Value = Standing> {
    let wish = prop_oneof![
        Just(VoteWish::Any),
        Just(VoteWish::Voter),
        Just(VoteWish::Learner)
    ];
    let facts = any::<(bool, bool, bool, bool, bool)>();
    (facts, wish).prop_map(
        move |((votes, alive, caught_up, given_up, removed), wish)| Standing {
            id,
            votes: votes || id == 1,
            alive: alive || id == 1,
            caught_up: caught_up || id == 1,
            given_up: given_up && !alive && id != 1,
            wish,
            removed,
            leads: id == 1,
        },
    )
}

proptest! {
    /// Whatever is known of up to nine members: no step costs the quorum or the leader, and steps come to an end.
    #[test]
    fn no_step_costs_the_quorum_and_steps_end(
        members in (1_u64..=9).prop_flat_map(|count| (1..=count).map(any_member).collect::<Vec<_>>()),
        wanted in prop_oneof![Just(1_usize), Just(3), Just(5), Just(7)],
    ) {
        let mut members = members;
        for _ in 0..20 {
            let voters = ids(members.iter().filter(|member| member.votes));
            match next_step(&members, wanted) {
                Step::Done | Step::Wait => return Ok(()),
                Step::Vote(next) => {
                    prop_assert!(has_live_majority(&members, &voters) && has_live_majority(&members, &next));
                    prop_assert!(members.iter().all(|member| !member.leads || next.contains(&member.id)));
                    for member in &mut members {
                        let gets_it = next.contains(&member.id);
                        prop_assert!(!gets_it || member.votes || (member.alive && member.caught_up));
                        member.votes = gets_it;
                    }
                }
                Step::HandOver(heir) => {
                    prop_assert!(voters.contains(&heir));
                    for member in &mut members {
                        member.leads = member.id == heir;
                    }
                }
                Step::Drop(gone) => {
                    prop_assert!(gone.is_disjoint(&voters));
                    members.retain(|member| !gone.contains(&member.id));
                }
            }
        }
        prop_assert!(false, "no end: {members:?}");
    }
}
