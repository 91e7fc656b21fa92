//! Answers that were given, kept so that a retry is applied once and answered alike (promise P5).

use std::collections::{HashMap, VecDeque};

use super::change::{Answer, RequestId, UnixMillis};

/// At least this many answers are kept, however old they are.
const KEEP: usize = 100_000;

/// An answer younger than this is kept, however many there are: ten minutes, in the proposers' time.
const KEEP_MS: u64 = 10 * 60 * 1000;

/// Answers by request, oldest first. Nothing but the log's own times ends them, so all nodes keep the same ones.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    by_request: HashMap<RequestId, Answer>,
    order: VecDeque<(RequestId, UnixMillis)>,
}

impl Answers {
    /// The answer that a request got.
    pub fn get(&self, request: RequestId) -> Option<&Answer> {
        self.by_request.get(&request)
    }

    /// Keeps an answer, and lets go of those that are both too old and too many.
    pub fn insert(&mut self, request: RequestId, time: UnixMillis, answer: Answer) {
        if self.by_request.insert(request, answer).is_none() {
            self.order.push_back((request, time));
        }
        while self.order.len() > KEEP
            && let Some((oldest, then)) = self.order.front().copied()
            && then.0.saturating_add(KEEP_MS) < time.0
        {
            self.order.pop_front();
            self.by_request.remove(&oldest);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (RequestId, UnixMillis, &Answer)> {
        self.order.iter().filter_map(|(request, time)| {
            self.by_request
                .get(request)
                .map(|answer| (*request, *time, answer))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Version;
    use super::*;

    fn request(n: u64) -> RequestId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        RequestId(id)
    }

    #[test]
    fn lets_go_only_of_what_is_old_and_too_many() {
        let mut answers = Answers::default();
        let total = KEEP as u64 + 10;
        for n in 0..total {
            answers.insert(request(n), UnixMillis(n), Answer::Applied(Version(n)));
        }
        assert!(answers.get(request(0)).is_some(), "too many, but young");
        answers.insert(request(total), UnixMillis(total + KEEP_MS), Answer::Done);
        assert_eq!(answers.iter().count(), KEEP);
        assert!(answers.get(request(0)).is_none());
        assert!(answers.get(request(total)).is_some());
    }
}
