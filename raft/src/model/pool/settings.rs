//! The table of pool settings: every `SET` key that a pool takes, once, for setting, dumping and storing.

use super::{BalanceMethod, HashBy, NO_NODEFILE, Pool, is_token};
use crate::model::rejection::Rejection;
use crate::model::template::Template;
use crate::model::tunable::CLEARING;

/// A setting of pools.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolSetting {
    /// Its name, in lower case.
    pub(super) key: &'static str,
    /// Checks a value and sets it.
    pub(super) set: fn(&mut Pool, &str) -> Result<(), Rejection>,
    /// Its value, as `SET` takes it; none: the default.
    pub(super) get: fn(&Pool) -> Option<String>,
}

impl PoolSetting {
    /// The setting of that name.
    pub(super) fn find(key: &str) -> Option<&'static Self> {
        POOL_SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// All settings, in the order in which they are dumped.
pub(super) const POOL_SETTINGS: &[PoolSetting] = &[
    PoolSetting {
        key: "balance_method",
        set: |pool, value| {
            pool.balance_method = BalanceMethod::parse(value).ok_or(Rejection::BalanceMethod)?;
            Ok(())
        },
        get: |pool| unless_default(&pool.balance_method),
    },
    PoolSetting {
        key: "hash_by",
        set: |pool, value| {
            pool.hash_by = HashBy::parse(value).ok_or(Rejection::HashBy)?;
            Ok(())
        },
        get: |pool| unless_default(&pool.hash_by),
    },
    PoolSetting {
        key: "load_header",
        set: |pool, value| {
            let is_cleared = CLEARING.contains(&value);
            if !is_cleared && !is_token(value) {
                return Err(Rejection::HeaderName(value.to_owned()));
            }
            pool.load_header = (!is_cleared).then(|| value.to_ascii_lowercase());
            Ok(())
        },
        get: |pool| pool.load_header.clone(),
    },
    PoolSetting {
        key: "nodefile",
        set: |pool, value| {
            let is_cleared = NO_NODEFILE.contains(&value);
            pool.nodefile = (!is_cleared).then(|| Template::parse(value)).transpose()?;
            Ok(())
        },
        get: |pool| pool.nodefile.as_ref().map(Template::to_string),
    },
];

fn unless_default<T: Default + PartialEq + ToString>(value: &T) -> Option<String> {
    (*value != T::default()).then(|| value.to_string())
}
