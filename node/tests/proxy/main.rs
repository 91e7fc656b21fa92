//! The data plane between real clients and real backends.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod atom;
mod balancing;
mod bodies;
mod builtins;
mod choosing;
mod commands;
mod fetching;
mod fetching_secure;
mod files;
mod fixture;
mod handover;
mod hooks;
mod logging;
mod messages;
mod plugins;
mod puts;
mod queueing;
mod reproxy;
mod running;
mod selecting;
mod special;
mod taking_over;
mod timers;
mod tls;
mod uploads;
