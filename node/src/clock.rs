//! The one place where wall-clock time enters.

use std::time::{SystemTime, UNIX_EPOCH};

use fleetbal_raft::model::UnixMillis;

/// Milliseconds since the epoch, by this machine's clock; 0 on a clock before 1970.
#[expect(clippy::disallowed_methods, reason = "this is where time enters")]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
