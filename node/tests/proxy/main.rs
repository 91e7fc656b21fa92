//! The data plane between real clients and real backends.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod balancing;
mod bodies;
mod choosing;
mod fixture;
mod messages;
mod queueing;
mod running;
mod special;
mod uploads;
