//! What plugins do to requests, compiled once a version so that a request looks nothing up that its service does not
//! have. Pure: connections, and what becomes of them, are not here.
//!
//! A plugin is a [`Hook`]: it says at which [`Point`]s it wants to be asked, and is asked there with the
//! [`RequestContext`] of the request. A service's hooks are compiled into [`Hooks`], in the order of `SET plugins`; a
//! service without any has none, and its requests pay one branch.
//!
//! # How a plugin that comes with this release is added
//!
//! 1. *Its name*, the role that it is for, and its lines: [`Plugin`](fleetbal_raft::model::Plugin) and
//!    [`Directive`](fleetbal_raft::model::Directive) in `raft/src/model/plugin.rs`. A line is replicated as a typed
//!    message (`proto/fleetbal/v1/change.proto`, `raft/src/wire/plugin.rs`), is read in `manage/parse/plugin.rs`, and
//!    prints itself into `dumpconfig` through its `Display`.
//! 2. *Its tunables*: rows of `raft/src/model/tunable/table.rs`; read with
//!    [`Service::value`](fleetbal_raft::model::Service::value) and its like.
//! 3. *What it does*: a file here with a type that is a [`Hook`], made by a function of a [`Setup`]; and a row with that
//!    function in [`builtin::BUILT_IN`]. The hook is made anew whenever its service or pool is changed: what it
//!    has to remember over that it takes from [`Setup::before`].
//! 4. *Words that only read* (`stats`, `patterns`): the row's `reports`.
//!
//! # What a hook can do
//!
//! It reads and changes the request and the answer through its [`RequestContext`], whichever of them there is at that
//! point, keeps things for as long as the request lives ([`RequestContext::attach`]), and says by its [`Outcome`] how it goes
//! on. It runs on the worker's thread, between two reads of sockets: it never waits, and never takes a lock that
//! somebody may hold for long.

mod answer;
pub mod builtin;
pub mod command;
mod context;
mod feed;
mod fetch;
mod hook;
mod hosts;
pub mod lua;
mod point;
mod routes;

use crate::http::ProxyError;

/// A plugin names another service where nobody can begin anew any more.
pub(crate) const TOO_LATE: ProxyError =
    ProxyError::Internal("A plugin hands this request to another service too late.");

pub use answer::Answer;
pub use builtin::{Registered, Setup, report};
pub use context::{Facts, Priority, RequestContext, Waiting};
pub(crate) use feed::Reader;
pub use feed::{Feed, Subscription};
pub use fetch::{Fetch, Fetched};
pub use hook::{Asked, Failures, Hook, Hooks, Outcome, Point, Points, Trouble};
pub use routes::{Choice, Routes, fits};
