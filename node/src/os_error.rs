//! The system's errors in the system's own words.

use std::io;

/// The text without the number that Rust adds: `Address already in use`.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
