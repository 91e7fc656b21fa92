//! How members speak with each other: mutual TLS, and between it and the consensus nothing but translation.

pub mod tls;
