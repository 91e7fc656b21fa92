//! Read-only views of what a node does.

pub mod cpu;
pub mod openmetrics;
pub mod readiness;
pub mod sockets;
pub mod stats;
