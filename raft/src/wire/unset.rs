//! What is taken back.

use fleetbal_proto::v1;

use super::WireError;
use super::change::service_name;
use crate::model::Setting;

pub(super) fn encode(setting: &Setting) -> v1::Unset {
    use v1::unset::Setting as Wire;
    let nothing = v1::Nothing {};
    let wire = match setting {
        Setting::Tunable { object, key } => Wire::Tunable(v1::UnsetTunable {
            object: object.clone(),
            key: key.clone(),
        }),
        Setting::Default(key) => Wire::Default(key.clone()),
        Setting::Header {
            service,
            inserts,
            name,
        } => Wire::Header(v1::UnsetHeader {
            service: service.to_string(),
            inserts: *inserts,
            name: name.clone(),
        }),
        Setting::ReproxyLimit(target) => Wire::ReproxyLimit(target.clone()),
        Setting::Voters => Wire::Voters(nothing),
        Setting::DeadVoterAfter => Wire::DeadVoterAfter(nothing),
        Setting::ConfigHistory => Wire::ConfigHistory(nothing),
    };
    v1::Unset { setting: Some(wire) }
}

pub(super) fn decode(wire: v1::Unset) -> Result<Setting, WireError> {
    use v1::unset::Setting as Wire;
    Ok(match wire.setting.ok_or(WireError::Invalid("setting"))? {
        Wire::Tunable(tunable) => Setting::Tunable {
            object: tunable.object,
            key: tunable.key,
        },
        Wire::Default(key) => Setting::Default(key),
        Wire::Header(header) => Setting::Header {
            service: service_name(&header.service)?,
            inserts: header.inserts,
            name: header.name,
        },
        Wire::ReproxyLimit(target) => Setting::ReproxyLimit(target),
        Wire::Voters(v1::Nothing {}) => Setting::Voters,
        Wire::DeadVoterAfter(v1::Nothing {}) => Setting::DeadVoterAfter,
        Wire::ConfigHistory(v1::Nothing {}) => Setting::ConfigHistory,
    })
}
