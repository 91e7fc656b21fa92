//! Whether a request is sent again.

use std::sync::Arc;
use std::time::Duration;

use super::request::Request;
use crate::http::{Framing, Method, RequestHead, ResponseHead};
use crate::snapshot::BackendState;

/// What was tried for a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Tries {
    /// How often its connection was lost before the backend said anything.
    pub(super) lost: usize,
    /// How often a backend answered with an error that is not passed on.
    pub(super) errors: usize,
    /// Who failed it last.
    pub(super) failed: Option<Arc<BackendState>>,
}

impl Tries {
    /// How long to wait before another try, where an answer is an error that calls for one (Perlbal, reference section
    /// 4.5: 500 for GET and HEAD, as often as the schedule has pauses).
    #[inline]
    pub(super) fn pause(&self, head: &ResponseHead, request: &Request) -> Option<Duration> {
        if head.status != 500 || head.reproxy {
            return None;
        }
        let retries = &request.current.view.settings.retries;
        let may_repeat =
            matches!(request.head.method, Method::Get | Method::Head) && is_repeatable(&request.head);
        let pause = retries.schedule.get(self.errors).copied();
        pause.filter(|_| retries.on_500 && may_repeat)
    }
}

/// Whether a request can be sent again although it may have reached a backend.
#[inline]
pub(super) fn is_repeatable(head: &RequestHead) -> bool {
    head.method.is_repeatable() && head.framing == Framing::Empty
}
