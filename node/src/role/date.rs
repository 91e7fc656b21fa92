//! `Date` of answers that this node makes itself: written once a second.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock;

/// The length of a date, in bytes (RFC 9110, section 5.6.7).
const LENGTH: usize = 29;

/// The date that was written last.
#[derive(Debug, Default)]
pub(super) struct Date {
    second: Cell<u64>,
    text: Cell<[u8; LENGTH]>,
}

impl Date {
    /// The date now.
    pub(super) fn now(&self) -> [u8; LENGTH] {
        let second = clock::now().0 / 1000;
        if self.second.replace(second) != second {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            if let Ok(text) = text.as_bytes().try_into() {
                self.text.set(text);
            }
        }
        self.text.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_date() {
        let date = Date::default();
        let text = String::from_utf8(date.now().to_vec()).unwrap();
        assert!(httpdate::parse_http_date(&text).is_ok(), "{text}");
    }
}
