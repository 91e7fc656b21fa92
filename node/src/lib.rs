//! fleetbal: a load balancer that comes as a fleet.
//!
//! The binary is `main.rs`; everything it does is here, so that tests can reach it. `docs/ARCHITECTURE.md` tells
//! how a request, a command and a word about health find their way through these modules.

pub mod access_log;
pub mod balance;
pub mod boot;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod cluster_port;
pub mod command_words;
pub mod daemon;
pub mod effects;
pub mod files;
pub mod gossip;
pub mod handover;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod listen;
pub mod manage;
pub mod monitor;
pub mod nodefile;
pub mod os_error;
pub mod os_settings;
pub mod plugin;
mod priority;
pub mod reproxy;
pub mod role;
pub mod service_manager;
pub mod settings;
pub mod snapshot;
pub mod sockets;
pub mod tls;
pub mod upload;
pub mod upstream;
pub mod workers;

#[cfg(test)]
mod reference_tests;
