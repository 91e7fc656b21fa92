//! How members speak with each other: mutual TLS, and between it and the consensus nothing but translation.

pub mod client;
mod own_key;
pub(crate) mod pin;
pub(crate) mod server;
pub mod tls;
