//! What can be applied, and is still not to be asked for: a setting that contradicts another one. PURE.
//!
//! `apply` takes it. Logs, histories and backups of older releases hold such settings, and every release has to make the
//! same of them. So whoever passes on what somebody typed looks here first.

use std::collections::BTreeMap;

use super::change::{Batch, Change, Setting};
use super::config::FleetConfig;
use super::pool::{HealthRules, Pool};
use super::rejection::{Refusal, Rejection};

impl FleetConfig {
    /// The configuration after what somebody asked for.
    ///
    /// # Errors
    /// The first change that is refused, by [`Self::check_asked`] or by `apply`.
    pub fn with_asked(&self, batch: &Batch) -> Result<Self, Refusal> {
        let applied = self.with_batch(batch);
        match (self.check_asked(&batch.changes), applied) {
            (Err(wrong), Err(first)) if first.change < wrong.change => Err(first),
            (Err(wrong), _) => Err(wrong),
            (Ok(()), applied) => applied,
        }
    }

    /// Looks for a pool that these changes would leave with settings that contradict each other. What they do not touch
    /// stays as it is, whatever it says; what no change can make is `apply`'s to refuse.
    ///
    /// # Errors
    /// The last of the changes that set such a pool.
    pub fn check_asked(&self, changes: &[Change]) -> Result<(), Refusal> {
        let mut touched: BTreeMap<&str, Touched> = BTreeMap::new();
        for (change, index) in changes.iter().zip(0..) {
            self.touch(change, index, &mut touched);
        }
        let wrong = touched.into_values().filter_map(Touched::refusal);
        wrong.min_by_key(|refusal| refusal.change).map_or(Ok(()), Err)
    }

    fn touch<'a>(&self, change: &'a Change, index: u32, touched: &mut BTreeMap<&'a str, Touched>) {
        let (object, key, value) = if let Change::Set { object, key, value } = change {
            (object, key, Some(value.as_str()))
        } else if let Change::Unset(Setting::Tunable { object, key }) = change {
            (object, key, None)
        } else {
            if let Change::RemovePool(name) = change {
                touched.insert(name.as_str(), Touched::default());
            }
            return;
        };
        let Some(key) = HealthRules::CONTRADICTING.into_iter().find(|it| it == key) else {
            return;
        };
        let touched = touched.entry(object).or_insert_with(|| self.untouched(object));
        if touched.set(key, value).is_ok() {
            touched.last = Some((key, index));
        }
    }

    fn untouched(&self, pool: &str) -> Touched {
        let pool = self.pool(pool);
        Touched {
            rules: pool.map(|pool| pool.health.clone()).unwrap_or_default(),
            last: None,
        }
    }
}

/// How a pool is checked behind the changes that were looked at, and which of them set it last.
#[derive(Default)]
struct Touched {
    rules: HealthRules,
    last: Option<(&'static str, u32)>,
}

impl Touched {
    fn set(&mut self, key: &'static str, value: Option<&str>) -> Result<(), Rejection> {
        let mut pool = Pool {
            health: self.rules.clone(),
            ..Pool::default()
        };
        match value {
            Some(value) => pool.set(key, value)?,
            None => pool.unset(key)?,
        }
        self.rules = pool.health;
        Ok(())
    }

    fn refusal(self) -> Option<Refusal> {
        let (key, index) = self.last?;
        let wanted = self.rules.contradiction(key)?;
        Some(Refusal::of(&Rejection::PoolValue { key, wanted }, index))
    }
}

#[cfg(test)]
mod tests {
    use super::super::diff::diff;
    use super::super::name::PoolName;
    use super::*;

    fn set(key: &str, value: &str) -> Change {
        Change::Set {
            object: "web".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    /// A configuration as older releases took it.
    fn config(settings: &[(&str, &str)]) -> FleetConfig {
        let pool = Change::CreatePool(PoolName::parse("web").unwrap());
        let settings = settings.iter().map(|(key, value)| set(key, value));
        let batch = Batch::of(std::iter::once(pool).chain(settings).collect());
        FleetConfig::default().with_batch(&batch).unwrap()
    }

    fn refused(config: &FleetConfig, changes: &[Change]) -> Option<(u32, String)> {
        let refusal = config.check_asked(changes).err()?;
        Some((refusal.change, refusal.text))
    }

    const METHOD: &str = "Value of 'health_method' must be a method other than HEAD while health_expect is a text: \
                          answers to HEAD have no body";
    const EXPECT: &str = "Value of 'health_expect' must be status codes while health_method is HEAD: answers to HEAD have no body";

    #[test]
    fn a_text_cannot_be_found_in_answers_to_head() {
        let (head, text) = (("health_method", "head"), ("health_expect", "well"));
        for (stored, change, wanted) in [
            (text, set(head.0, head.1), METHOD),
            (head, set(text.0, text.1), EXPECT),
            (head, set("health_expect", "200 OK"), EXPECT),
        ] {
            assert_eq!(
                refused(&config(&[stored]), &[change]),
                Some((0, wanted.to_owned()))
            );
        }
        for (stored, change) in [
            (text, set("health_method", "OPTIONS")),
            (head, set("health_expect", "2xx")),
            (head, set("health_expect", "600")),
            (text, set("health_method", "CONNECT")),
            (text, set("health_path", "/ok")),
        ] {
            assert_eq!(
                refused(&config(&[stored]), std::slice::from_ref(&change)),
                None,
                "{change:?}"
            );
        }
    }

    #[test]
    fn changes_are_judged_by_where_they_lead() {
        let (head, text) = (set("health_method", "HEAD"), set("health_expect", "well"));
        let create = Change::CreatePool(PoolName::parse("web").unwrap());
        let remove = Change::RemovePool(PoolName::parse("web").unwrap());
        let empty = FleetConfig::default();
        let both = [create, head.clone(), text.clone()];
        assert_eq!(refused(&empty, &both), Some((2, EXPECT.to_owned())));
        let other_way = [text.clone(), set("health_tcp", "on"), head.clone()];
        // The first wrong line is named, whatever is wrong with it.
        let bad = |at: usize| {
            let mut changes = both.to_vec();
            changes.insert(at, set("health_tcp", "perhaps"));
            empty.with_asked(&Batch::of(changes)).unwrap_err().change
        };
        assert_eq!((bad(1), bad(3)), (1, 2));
        assert_eq!(refused(&config(&[]), &other_way), Some((2, METHOD.to_owned())));
        for last in [set("health_expect", "200"), set("health_method", "GET"), remove] {
            let meanwhile = [head.clone(), text.clone(), last];
            assert_eq!(refused(&empty, &meanwhile), None, "{meanwhile:?}");
        }
        // The smallest set of changes may go through what is wrong.
        let (from, to) = (
            config(&[("health_expect", "well")]),
            config(&[("health_method", "HEAD")]),
        );
        for (from, to) in [(&from, &to), (&to, &from)] {
            assert_eq!(refused(from, &diff(from, to)), None);
        }
    }

    #[test]
    fn what_is_stored_already_is_applied_and_kept() {
        let old = config(&[("health_method", "HEAD"), ("health_expect", "well")]);
        assert_eq!(refused(&old, &[set("health_interval", "5")]), None);
        assert_eq!(refused(&old, &[Change::Restore(old.clone().into())]), None);
        for cure in [set("health_expect", "2xx"), set("health_method", "GET")] {
            assert_eq!(refused(&old, &[cure]), None);
        }
        let again = set("health_expect", "fine");
        assert_eq!(refused(&old, &[again]), Some((0, EXPECT.to_owned())));
    }
}
