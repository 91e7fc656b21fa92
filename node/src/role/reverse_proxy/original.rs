//! What is kept of a request where backends may reproxy: what the client sent, and what the cache knows. Where they may
//! not, nothing is.

use std::sync::Arc;

use crate::http::Head;
use crate::reproxy::{self, Entry};
use crate::role::client::Begun;
use crate::role::local::Local;

/// A request as it was, for whoever answers it in place of its backend.
pub(super) struct Original {
    /// The head as the client sent it, and behind it the one for the backend.
    heads: Vec<u8>,
    /// The length of the first.
    length: usize,
    /// What the cache knows; then no backend is asked.
    pub(super) known: Option<Arc<Entry>>,
    /// How many services have handed it over.
    pub(super) hops: u8,
}

impl Original {
    /// The head as the client sent it.
    pub(super) fn sent(&self) -> &[u8] {
        self.heads.get(..self.length).unwrap_or_default()
    }

    /// The head for the backend.
    pub(super) fn forwarded(&self) -> Head<'_> {
        Head::new(self.heads.get(self.length..).unwrap_or_default())
    }
}

/// Keeps what was sent and what becomes of it, if its backend may reproxy.
#[inline]
pub(super) fn keep(local: &Local, begun: &Begun<'_>) -> Option<Box<Original>> {
    let settings = &begun.current.view.settings.reproxy;
    settings.enabled.then(|| Box::new(read(local, begun)))
}

fn read(local: &Local, begun: &Begun<'_>) -> Original {
    let sent = begun.input.get(..begun.head.length).unwrap_or_default();
    let view = &begun.current.view;
    let known = view.settings.reproxy.cache().and_then(|rules| {
        let cache = local.reproxy.cache(&view.name);
        reproxy::look_up(&cache, rules, &begun.head, Head::new(begun.output))
    });
    Original {
        heads: [sent, begun.output].concat(),
        length: sent.len(),
        known,
        hops: 0,
    }
}
