//! Files that are sent to clients: opened below a directory and nowhere else, kept open, and sent without a copy.
//!
//! Nothing here makes a worker wait for a disk: what the kernel does not have at hand is looked up and read on other
//! threads. Which file a request means, and what is said about it, is the roles' business.

mod cache;
mod listing;
mod open;
mod sending;

pub use cache::{Files, Look, OpenFile, relative};
pub use listing::entries;
pub use open::{OpenError, Opened, Patience, Stamp, anywhere, below};
pub use sending::Sending;
