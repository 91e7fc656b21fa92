//! A harness that starts real fleets on loopback, breaks them, and watches what their users see.
//!
//! Each fleet lives in an own net `127.x.y.0`, so tests run side by side. Nothing here sleeps for a fixed time in
//! order to let something happen: [`wait::until`] waits for a condition, and says what it waited for when it gives up.

pub mod backend;
pub mod bench_client;
pub mod churn;
pub mod client;
pub mod documentation;
pub mod fault;
pub mod fifty;
pub mod fleet;
pub mod load;
pub mod message;
pub mod netns;
pub mod node;
pub mod oracle;
pub mod ports;
pub mod process;
pub mod relay;
pub mod terminal;
pub mod threads;
pub mod tls;
pub mod wait;
pub mod world;

pub use backend::Backend;
pub use client::{Manage, Reply};
pub use fleet::{Fleet, Plan};
pub use load::{Load, Shape};
pub use terminal::Terminal;

/// What every test returns.
pub type Result<T = ()> = anyhow::Result<T>;
