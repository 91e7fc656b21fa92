//! The table of pool settings: every `SET` key that a pool takes, once, for setting, dumping and storing.

use std::time::Duration;

use super::health::{
    Expect, HealthRules, host, method, number, path, seconds, show_seconds, show_thousandths, switch,
    thousandths,
};
use super::{BalanceMethod, HashBy, NO_NODEFILE, OutlierRules, PANIC_THRESHOLD, Pool, is_token};
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
    PoolSetting {
        key: "health_path",
        set: |pool, value| {
            pool.health.path = unless_cleared(value, |value| {
                path(value).ok_or(wanted("health_path", "a path that begins with /, or none"))
            })?;
            Ok(())
        },
        get: |pool| pool.health.path.clone(),
    },
    PoolSetting {
        key: "health_method",
        set: |pool, value| {
            pool.health.method =
                method(value).ok_or(wanted("health_method", "an HTTP method other than CONNECT"))?;
            Ok(())
        },
        get: |pool| other_than(pool.health.method.clone(), |rules| rules.method),
    },
    PoolSetting {
        key: "health_host",
        set: |pool, value| {
            pool.health.host = unless_cleared(value, |value| {
                host(value).ok_or(wanted(
                    "health_host",
                    "a host name or address with or without a port, or none",
                ))
            })?;
            Ok(())
        },
        get: |pool| pool.health.host.clone(),
    },
    PoolSetting {
        key: "health_expect",
        set: |pool, value| {
            let expect = Expect::parse(value);
            pool.health.expect = expect.ok_or(wanted(
                "health_expect",
                "status codes and ranges of them such as 200,204 or 2xx, or a text to be found in the body",
            ))?;
            Ok(())
        },
        get: |pool| {
            other_than(pool.health.expect.clone(), |rules| rules.expect).map(|expect| expect.to_string())
        },
    },
    PoolSetting {
        key: "health_tcp",
        set: |pool, value| {
            pool.health.tcp = switch(value).ok_or(wanted("health_tcp", "on or off"))?;
            Ok(())
        },
        get: |pool| pool.health.tcp.then(|| "on".to_owned()),
    },
    PoolSetting {
        key: "health_interval",
        set: |pool, value| {
            let time = seconds(value, Duration::from_millis(100), Duration::from_hours(1));
            pool.health.interval =
                time.ok_or(wanted("health_interval", "a number of seconds from 0.1 to 3600"))?;
            Ok(())
        },
        get: |pool| other_than(pool.health.interval, |rules| rules.interval).map(show_seconds),
    },
    PoolSetting {
        key: "health_timeout",
        set: |pool, value| {
            let time = seconds(value, Duration::from_millis(50), Duration::from_mins(1));
            pool.health.timeout =
                time.ok_or(wanted("health_timeout", "a number of seconds from 0.05 to 60"))?;
            Ok(())
        },
        get: |pool| other_than(pool.health.timeout, |rules| rules.timeout).map(show_seconds),
    },
    PoolSetting {
        key: "health_fall",
        set: |pool, value| {
            pool.health.fall = unless_cleared(value, |value| {
                number(value, 1, 100).ok_or(wanted("health_fall", "a number from 1 to 100, or none"))
            })?;
            Ok(())
        },
        get: |pool| pool.health.fall.map(|fall| fall.to_string()),
    },
    PoolSetting {
        key: "health_rise",
        set: |pool, value| {
            pool.health.rise =
                number(value, 1, 100).ok_or(wanted("health_rise", "a number from 1 to 100"))?;
            Ok(())
        },
        get: |pool| other_than(pool.health.rise, |rules| rules.rise).map(|rise| rise.to_string()),
    },
    PoolSetting {
        key: "health_checkers",
        set: |pool, value| {
            pool.health.checkers =
                number(value, 1, 7).ok_or(wanted("health_checkers", "a number from 1 to 7"))?;
            Ok(())
        },
        get: |pool| other_than(pool.health.checkers, |rules| rules.checkers).map(|count| count.to_string()),
    },
    PoolSetting {
        key: "panic_threshold",
        set: |pool, value| {
            let percent = number(value, 0, 100);
            pool.panic_threshold =
                percent.ok_or(wanted("panic_threshold", "a number of per cent from 0 to 100"))?;
            Ok(())
        },
        get: |pool| (pool.panic_threshold != PANIC_THRESHOLD).then(|| pool.panic_threshold.to_string()),
    },
    PoolSetting {
        key: "outlier_5xx",
        set: |pool, value| {
            pool.outlier.errors = unless_cleared(value, |value| {
                number(value, 1, 1000).ok_or(wanted("outlier_5xx", "a number from 1 to 1000, or none"))
            })?;
            Ok(())
        },
        get: |pool| pool.outlier.errors.map(|errors| errors.to_string()),
    },
    PoolSetting {
        key: "outlier_latency",
        set: |pool, value| {
            pool.outlier.latency = unless_cleared(value, |value| {
                let factor = thousandths(value).filter(|factor| (1_500..=100_000).contains(factor));
                let factor = factor.and_then(|factor| factor.try_into().ok());
                factor.ok_or(wanted("outlier_latency", "a number from 1.5 to 100, or none"))
            })?;
            Ok(())
        },
        get: |pool| pool.outlier.latency.map(|factor| show_thousandths(factor.into())),
    },
    PoolSetting {
        key: "outlier_eject_time",
        set: |pool, value| {
            let time = seconds(value, Duration::from_millis(100), Duration::from_hours(1));
            pool.outlier.eject_time = time.ok_or(wanted(
                "outlier_eject_time",
                "a number of seconds from 0.1 to 3600",
            ))?;
            Ok(())
        },
        get: |pool| {
            let time = pool.outlier.eject_time;
            (time != OutlierRules::default().eject_time).then(|| show_seconds(time))
        },
    },
    PoolSetting {
        key: "outlier_max_ejected",
        set: |pool, value| {
            pool.outlier.max_ejected = number(value, 0, 100).ok_or(wanted(
                "outlier_max_ejected",
                "a number of per cent from 0 to 100",
            ))?;
            Ok(())
        },
        get: |pool| {
            let most = pool.outlier.max_ejected;
            (most != OutlierRules::default().max_ejected).then(|| most.to_string())
        },
    },
    PoolSetting {
        key: "slow_start",
        set: |pool, value| {
            pool.slow_start = unless_cleared(value, |value| {
                let time = seconds(value, Duration::from_millis(100), Duration::from_hours(1));
                time.ok_or(wanted(
                    "slow_start",
                    "a number of seconds from 0.1 to 3600, or none",
                ))
            })?;
            Ok(())
        },
        get: |pool| pool.slow_start.map(show_seconds),
    },
];

/// A value that `none` takes back.
fn unless_cleared<T>(
    value: &str,
    read: impl FnOnce(&str) -> Result<T, Rejection>,
) -> Result<Option<T>, Rejection> {
    if CLEARING.contains(&value) {
        return Ok(None);
    }
    read(value).map(Some)
}

const fn wanted(key: &'static str, wanted: &'static str) -> Rejection {
    Rejection::PoolValue { key, wanted }
}

fn other_than<T: PartialEq>(value: T, default: impl FnOnce(HealthRules) -> T) -> Option<T> {
    (value != default(HealthRules::default())).then_some(value)
}

fn unless_default<T: Default + PartialEq + ToString>(value: &T) -> Option<String> {
    (*value != T::default()).then(|| value.to_string())
}
