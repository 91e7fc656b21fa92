//! The data plane between real clients and real backends.

mod balancing;
mod bodies;
mod fixture;
mod messages;
mod running;
