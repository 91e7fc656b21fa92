//! The one place where wall-clock time enters.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleetbal_raft::model::UnixMillis;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use time::OffsetDateTime;

/// Milliseconds since the epoch, by this machine's clock; 0 on a clock before 1970.
#[expect(clippy::disallowed_methods, reason = "this is where time enters")]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A time as `2026-11-24T19:50:01Z`; milliseconds where it is none that a calendar has.
pub fn rfc3339(time: UnixMillis) -> String {
    let seconds = i64::try_from(time.0 / 1000).ok();
    let Some(Ok(at)) = seconds.map(OffsetDateTime::from_unix_timestamp) else {
        return time.0.to_string();
    };
    let ((hour, minute, second), month) = (at.to_hms(), u8::from(at.month()));
    let (year, day) = (at.year(), at.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A second, counted from 1970, in this machine's time zone, as `strftime` writes it; nothing where no calendar has it.
pub fn local(second: u64, format: &str) -> String {
    let at = i64::try_from(second).map(Timestamp::from_second);
    let Ok(Ok(at)) = at else {
        return String::new();
    };
    at.to_zoned(TimeZone::system()).strftime(format).to_string()
}

/// How long something lasts, for people: in the largest unit of which there are two.
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people_and_for_sorting() {
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(UnixMillis(1_709_210_096_789)), "2024-02-29T12:34:56Z");
        assert_eq!(rfc3339(UnixMillis(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn spans_are_short() {
        let spans = [5, 119, 120, 7199, 7200, 172_799, 172_800].map(|time| span(Duration::from_secs(time)));
        assert_eq!(spans, ["5 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
    }
}
