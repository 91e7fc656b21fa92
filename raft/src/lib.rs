//! fleetbal's replicated configuration: the model, its log, and the fleet of nodes that holds it.

pub mod error;
pub mod identity;
pub mod model;
pub mod transport;
pub mod types;
pub mod wire;
