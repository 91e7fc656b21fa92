//! `AtomInject`: what is put, wherever that is, goes into the node's feed (Perlbal, reference section 8.2), which
//! [`super::atom_stream`] sends on. No file is written.

use std::sync::Arc;

use super::super::answer::Answer;
use super::super::context::RequestContext;
use super::super::feed::{Feed, MOST_ITEM};
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;
use crate::clock;

#[derive(Debug)]
struct AtomInject(Arc<Feed>);

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    Arc::new(AtomInject(Arc::clone(setup.feed)))
}

impl Hook for AtomInject {
    fn points(&self) -> Points {
        Points::of(&[Point::HandlePut])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let Some(body) = request.body() else {
            return Outcome::Collect(MOST_ITEM);
        };
        let target = request.head().target();
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        self.0.put(path, body, clock::now().0 / 1000);
        Outcome::Answer(Box::new(Answer::page(200, "")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::feed::Subscription;
    use super::super::tests::{asked, made_with};
    use super::*;

    #[test]
    fn a_body_goes_to_the_feed_once_it_is_there() {
        let feed = Arc::default();
        let lines = [
            "LOAD AtomInject",
            "SET px.role = web_server",
            "SET px.plugins = AtomInject",
        ];
        let hook = made_with(make, &lines, None, &feed);
        let (mut reader, news) = Subscription::new(&feed, b"/a/", 0).open();
        let mut request = asked(
            "PUT /a/b?c HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n",
            "::1",
        );
        let outcome = hook.run(Point::HandlePut, &mut request);
        assert_eq!(outcome, Outcome::Collect(MOST_ITEM));
        assert!(!news.has_changed().unwrap());
        request.put_body(Some(b"<e/>".to_vec()));
        let outcome = hook.run(Point::HandlePut, &mut request);
        assert!(matches!(outcome, Outcome::Answer(answer) if answer.status == 200));
        assert!(news.has_changed().unwrap());
        reader.take_in();
        assert!(reader.front().unwrap().ends_with(b" -->\n<e/>"));
    }
}
