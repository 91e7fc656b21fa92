//! fleetbal's replicated configuration: the model, its log, and the fleet of nodes that holds it.

pub mod backup;
mod checked_file;
pub mod cluster;
pub mod error;
pub mod feed;
pub mod identity;
pub mod machine;
pub mod model;
pub mod recover;
pub mod rights;
pub mod seal;
#[cfg(test)]
mod sim;
pub mod store;
pub mod timing;
pub mod transport;
pub mod types;
pub mod wire;

pub use cluster::{Clock, Cluster, JoinToken, Proposed, StartOptions};
pub use error::{JoinError, OpenError, ProposeError};
pub use timing::Timing;
