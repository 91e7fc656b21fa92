//! HTTP/1.x without I/O: what a message means, and how it is edited on its way through.
//!
//! A head is parsed where it lies in a read buffer and its edited form is written to an output buffer in one pass;
//! bodies are only measured, and pass as they are. A message that could be read in two ways is refused (RFC 9112);
//! so are bare carriage returns, folded lines and blanks before a colon. What is forwarded is in canonical form.
//! Whatever the splits in which bytes arrive, the result is the same. Connections and timeouts are not here.

pub mod answer;
pub mod body;
pub mod coding;
pub mod conditional;
pub mod edit;
pub mod error;
mod fields;
mod head;
pub mod range;
pub mod request;
pub mod response;
pub mod special;
mod target;

pub use body::{Body, Framing};
pub use error::ProxyError;
pub use fields::announced_timeout;
pub use head::Head;
pub use request::{ForwardedFor, Forwarding, Method, RequestHead};
pub use response::{ResponseHead, ResponseRules};
pub use special::Special;

/// The longest head of a request or response, in bytes (Perlbal's limit).
pub const MAX_HEAD: usize = 102_400;

/// The longest request line, in bytes.
pub const MAX_REQUEST_LINE: usize = 65_536;

/// The most fields of one head.
pub const MAX_FIELDS: usize = 100;

#[cfg(test)]
#[path = "http/roundtrip_tests.rs"]
mod roundtrip_tests;
