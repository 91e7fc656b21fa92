//! The history, for snapshots.

use std::sync::Arc;

use fleetbal_proto::v1;

use super::WireError;
use super::change::{fixed, from_changes, to_change, typist};
use crate::model::{Cause, History, Pending, Record, RecordHash, RequestId, UnixMillis, Version};

pub(super) fn encode(history: &History) -> v1::History {
    let pending = history.pending;
    v1::History {
        before: history.before.0.to_vec(),
        records: history.records.iter().map(|record| to_record(record)).collect(),
        pending_version: pending.map_or(0, |pending| pending.version.0),
        pending_seconds: pending.map_or(0, |pending| pending.seconds),
    }
}

/// A state of before there was a history has none.
pub(super) fn decode(wire: Option<v1::History>) -> Result<History, WireError> {
    let Some(wire) = wire else {
        return Ok(History::default());
    };
    let records = wire
        .records
        .into_iter()
        .map(|record| from_record(record).map(Arc::new));
    let pending = Pending {
        version: Version(wire.pending_version),
        seconds: wire.pending_seconds,
    };
    Ok(History {
        before: RecordHash(fixed(&wire.before, "history")?),
        records: records.collect::<Result<_, _>>()?,
        pending: Some(pending).filter(|pending| pending.version > Version::default()),
    })
}

fn to_record(record: &Record) -> v1::Record {
    use v1::record::Cause as Wire;
    v1::Record {
        version: record.version.0,
        time_unix_ms: record.time.0,
        node: record.node.clone(),
        typist: record.typist.address.clone(),
        typist_token: record.typist.token.clone().unwrap_or_default(),
        request_id: record.request_id.0.to_vec(),
        cause: Some(match record.cause {
            Cause::Lines => Wire::Lines(v1::Nothing {}),
            Cause::File => Wire::File(v1::Nothing {}),
            Cause::Rollback(to) => Wire::RollbackTo(to.0),
            Cause::Unconfirmed(version) => Wire::Unconfirmed(version.0),
        }),
        forward: record.forward.iter().map(to_change).collect(),
        backward: record.backward.iter().map(to_change).collect(),
        hash: record.hash.0.to_vec(),
    }
}

fn from_record(wire: v1::Record) -> Result<Record, WireError> {
    use v1::record::Cause as Wire;
    Ok(Record {
        version: Version(wire.version),
        time: UnixMillis(wire.time_unix_ms),
        node: wire.node,
        typist: typist(wire.typist, wire.typist_token),
        request_id: RequestId(fixed(&wire.request_id, "request id")?),
        cause: match wire.cause.ok_or(WireError::Invalid("cause"))? {
            Wire::Lines(v1::Nothing {}) => Cause::Lines,
            Wire::File(v1::Nothing {}) => Cause::File,
            Wire::RollbackTo(to) => Cause::Rollback(Version(to)),
            Wire::Unconfirmed(version) => Cause::Unconfirmed(Version(version)),
        },
        forward: from_changes(wire.forward)?,
        backward: from_changes(wire.backward)?,
        hash: RecordHash(fixed(&wire.hash, "history")?),
    })
}
