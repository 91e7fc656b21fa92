//! `reverse_proxy`: a request goes to a backend and its answer back, in both directions at once.
//!
//! What a connection has in memory between requests is next to nothing: reads go into a buffer of the worker, and only
//! what somebody does not take at once is held.

mod attempts;
mod collect;
mod dispatch;
mod hooks;
mod opening;
mod original;
mod queue;
mod relay;
mod request;
mod retry;
mod status;

pub(super) use attempts::run;
pub(super) use collect::{run as collect, sweep};
pub(super) use opening::{give_idle, replenish, was_told};
pub use queue::{Class, Length, Opening, Queue, Queues};
pub(super) use relay::redirect::answer_known;
pub(super) use request::{Request, begin};
pub(super) use status::answer as answer_status;
