//! Files that are sent to clients: opened below a directory and nowhere else, kept open, and sent without a copy; and
//! those that come from clients, which nobody sees before they are whole.
//!
//! Nothing here makes a worker wait for a disk: what the kernel does not have at hand is looked up and read on other
//! threads. Which file a request means, and what is said about it, is the roles' business.

mod cache;
mod incoming;
mod listing;
mod open;
mod sending;

pub use cache::{Files, Look, OpenFile, relative};
pub use incoming::{Incoming, IncomingError, Spot, TEMPORARY, remove};
pub use listing::entries;
pub use open::{OpenError, Opened, Patience, Stamp, anywhere, below};
pub use sending::Sending;

/// Does what waits for a disk on a thread that may.
///
/// # Errors
/// Those of the work, and that it could not be done.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<std::io::Error> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
}
