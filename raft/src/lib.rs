//! fleetbal's replicated configuration: the model, its log, and the fleet of nodes that holds it.

pub mod model;
pub mod types;
pub mod wire;
