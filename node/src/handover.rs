//! How one process of a node takes the place of another without losing a connection (signal USR2).
//!
//! The old process starts the new one, which reads and checks its settings and says that it is prepared. Then the old
//! one stops everything but traffic, closes its store, and passes its listening sockets; the new one opens the store,
//! listens on the same sockets, and says so. Only then does the old one stop accepting. Whatever fails before that, the
//! new process ends, and the old one goes on. What each side does in between is `boot`'s.

mod link;
mod predecessor;
mod successor;

pub use link::LinkError;
pub use predecessor::{Inheritance, Predecessor};
pub use successor::{HandoverError, Program, Successor};
