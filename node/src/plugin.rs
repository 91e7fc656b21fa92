//! What plugins do to requests, compiled once a version so that a request looks nothing up that its service does not
//! have. Pure: connections, and what becomes of them, are not here.

mod hosts;
mod routes;

pub use routes::{Choice, Routes};
