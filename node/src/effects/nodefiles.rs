//! Watches this node's nodefiles, and proposes what changes in them as the members of their pools.
//!
//! Only a change that is seen while the node runs is proposed. What a file says when it is first looked at was either
//! taken in where it was typed, or is another node's older truth; where it differs from the pool, that is reported
//! and left alone, so that nodes whose files differ never flap.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fleetbal_raft::cluster::Cluster;
use fleetbal_raft::model::{Answer, Batch, Change, Command, FleetConfig, Pool, PoolName};
use tokio::time::{MissedTickBehavior, interval};

use super::Failure;
use crate::nodefile::{self, Members};
use crate::snapshot::NodeVariables;

/// How often files are looked at. A change counts once two looks in a row found the same file, so that one that is
/// being written is not taken for what it will be.
const LOOK: Duration = Duration::from_millis(500);

/// How long the fleet may take to agree.
const PROPOSE: Duration = Duration::from_secs(5);

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// A file that is watched for a pool.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Of the file that was read last.
    stamp: Option<Stamp>,
    /// Of the file that the last look found.
    seen: Option<Stamp>,
    /// What it said when it could last be read; none: it never could.
    members: Option<Members>,
    /// Why it cannot be read now.
    trouble: Option<String>,
    /// Whether the content was seen to change and the fleet has not agreed to it yet.
    changed: bool,
}

impl Watched {
    fn first_look(path: PathBuf) -> Self {
        let seen = stamp(&path);
        let mut watched = Self {
            path,
            stamp: seen,
            seen,
            members: None,
            trouble: None,
            changed: false,
        };
        watched.read();
        watched.changed = false;
        tracing::info!(path = %watched.path.display(), "watching a nodefile");
        watched
    }

    fn look(mut self) -> Self {
        let now = stamp(&self.path);
        let before = std::mem::replace(&mut self.seen, now);
        if now != self.stamp && now == before {
            self.stamp = now;
            self.read();
        }
        self
    }

    /// A file that is gone changes nothing, and one that is back with what it said before has not changed.
    fn read(&mut self) {
        match nodefile::read(&self.path) {
            Ok(members) => {
                self.changed |= self.members.as_ref() != Some(&members);
                self.members = Some(members);
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// What the fleet is to agree to, and what there is to report.
    fn against(&mut self, pool: &Pool) -> (Option<Members>, Option<String>) {
        let path = self.path.display();
        if let Some(reason) = &self.trouble {
            return (None, Some(format!("nodefile {path}: {reason}")));
        }
        match &self.members {
            Some(members) if is_what_pool_has(members, pool) => {
                if std::mem::take(&mut self.changed) {
                    tracing::info!(%path, "a nodefile changed to what the pool has");
                }
                (None, None)
            }
            Some(members) if self.changed => (Some(members.clone()), None),
            Some(_) | None => (
                None,
                Some(format!("nodefile {path} differs from the members of the pool")),
            ),
        }
    }
}

fn is_what_pool_has(members: &Members, pool: &Pool) -> bool {
    let has = pool
        .backends()
        .iter()
        .map(|backend| (backend.address, backend.weight));
    has.eq(members.iter().copied())
}

/// The files of all pools, and what is to be reported of them.
#[derive(Debug)]
pub struct Nodefiles {
    variables: NodeVariables,
    watched: BTreeMap<PoolName, Watched>,
    reported: BTreeMap<PoolName, (String, Instant)>,
    failures: Arc<ArcSwap<Vec<Failure>>>,
}

impl Nodefiles {
    pub(super) fn new(variables: NodeVariables, failures: Arc<ArcSwap<Vec<Failure>>>) -> Self {
        Self {
            variables,
            watched: BTreeMap::new(),
            reported: BTreeMap::new(),
            failures,
        }
    }

    /// Watches until it is dropped.
    pub async fn run(mut self, cluster: Cluster) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let config = cluster.feed().latest().state.config.clone();
            let uses_files = config.pools().any(|(_, pool)| pool.nodefile.is_some());
            if !uses_files && self.watched.is_empty() {
                continue;
            }
            // A file may lie on a disk that is slow or gone.
            let look = tokio::task::spawn_blocking(move || {
                let changed = self.look(&config);
                (self, changed)
            });
            let Ok((looked, changed)) = look.await else {
                return;
            };
            self = looked;
            for (pool, members) in changed {
                self.propose(pool, members, &cluster).await;
            }
        }
    }

    /// Looks at every file once. What is to be proposed.
    fn look(&mut self, config: &FleetConfig) -> Vec<(PoolName, Members)> {
        let mut proposals = Vec::new();
        let mut reports = BTreeMap::new();
        self.watched.retain(|name, _| {
            config
                .pool(name.as_str())
                .is_some_and(|pool| pool.nodefile.is_some())
        });
        for (name, pool) in config.pools() {
            let Some(template) = &pool.nodefile else {
                continue;
            };
            let path = match template.expand(|variable| self.variables.fill(variable)) {
                Ok(path) => PathBuf::from(path),
                Err(reason) => {
                    self.watched.remove(name);
                    reports.insert(name.clone(), reason);
                    continue;
                }
            };
            let known = self.watched.remove(name).filter(|watched| watched.path == path);
            let mut watched = known.map_or_else(|| Watched::first_look(path), Watched::look);
            let (proposal, report) = watched.against(pool);
            self.watched.insert(name.clone(), watched);
            proposals.extend(proposal.map(|members| (name.clone(), members)));
            reports.extend(report.map(|reason| (name.clone(), reason)));
        }
        self.report(reports, Instant::now());
        proposals
    }

    fn report(&mut self, reports: BTreeMap<PoolName, String>, now: Instant) {
        let before = std::mem::take(&mut self.reported);
        for (name, reason) in reports {
            let since = match before.get(&name) {
                Some((said, since)) if *said == reason => *since,
                Some(_) | None => {
                    tracing::warn!(pool = %name, %reason, "the nodefile is left alone on this node");
                    now
                }
            };
            self.reported.insert(name, (reason, since));
        }
        let failure = |(name, (reason, since)): (&PoolName, &(String, Instant))| Failure {
            object: format!("pool {name}"),
            reason: reason.clone(),
            since: *since,
        };
        self.failures
            .store(Arc::new(self.reported.iter().map(failure).collect()));
    }

    /// Where the fleet does not answer, the next look proposes it again.
    async fn propose(&mut self, name: PoolName, members: Members, cluster: &Cluster) {
        let Some(watched) = self.watched.get_mut(&name) else {
            return;
        };
        let change = Change::SetBackends {
            object: name.to_string(),
            backends: members,
        };
        let batch = Batch::of(vec![change]);
        let typist = format!("nodefile {}", watched.path.display());
        let proposed = cluster
            .propose(Command::Batch(batch), typist.as_str(), PROPOSE)
            .await;
        match proposed.map(|proposed| proposed.answer) {
            Ok(Answer::Applied(version)) => {
                watched.changed = false;
                tracing::info!(pool = %name, %version, "took the pool's members from {typist}");
            }
            Ok(Answer::Refused(refusal)) => {
                watched.changed = false;
                tracing::warn!(pool = %name, reason = refusal.text, "the fleet refused {typist}");
            }
            Ok(Answer::Joined(_) | Answer::Done) => {}
            Err(error) => tracing::warn!(pool = %name, %error, "{typist} changed; trying on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn nodefiles() -> Nodefiles {
        Nodefiles::new(NodeVariables::default(), Arc::default())
    }

    fn config(path: &Path, members: &[u8]) -> FleetConfig {
        let changes = vec![
            Change::CreatePool(PoolName::parse("web").unwrap()),
            Change::Set {
                object: "web".to_owned(),
                key: "nodefile".to_owned(),
                value: path.display().to_string(),
            },
            Change::SetBackends {
                object: "web".to_owned(),
                backends: nodefile::parse(members),
            },
        ];
        let batch = Batch::of(changes);
        FleetConfig::default().with_batch(&batch).unwrap()
    }

    /// Looks until a change has been seen by two looks.
    fn look(nodefiles: &mut Nodefiles, config: &FleetConfig) -> Option<Members> {
        assert!(nodefiles.look(config).is_empty(), "one look is not enough");
        nodefiles.look(config).pop().map(|(_, members)| members)
    }

    #[test]
    fn only_a_change_that_is_seen_is_proposed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nodes");
        fs::write(&path, "10.0.0.1\n").unwrap();
        let pool = config(&path, b"10.0.0.2");
        let mut nodefiles = nodefiles();
        assert_eq!(look(&mut nodefiles, &pool), None, "it differed from the start");
        let reports = nodefiles.failures.load_full();
        assert_eq!(reports[0].object, "pool web");
        assert!(
            reports[0]
                .reason
                .ends_with("differs from the members of the pool")
        );

        fs::write(&path, "10.0.0.1\n10.0.0.3 # new\n10.0.0.3\n").unwrap();
        let members = nodefile::parse(b"10.0.0.1\n10.0.0.3\n10.0.0.3");
        assert_eq!(look(&mut nodefiles, &pool), Some(members.clone()));
        // Until the fleet has agreed it is proposed again.
        assert_eq!(nodefiles.look(&pool).pop().map(|(_, m)| m), Some(members));
        let agreed = config(&path, b"10.0.0.1\n10.0.0.3\n10.0.0.3");
        assert_eq!(look(&mut nodefiles, &agreed), None);
        assert!(nodefiles.failures.load().is_empty());

        // From here on somebody else's change is not undone.
        let typed = config(&path, b"10.0.0.9");
        assert_eq!(look(&mut nodefiles, &typed), None);
        assert_eq!(nodefiles.failures.load().len(), 1);
    }

    #[test]
    fn a_file_that_is_gone_or_says_the_same_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nodes");
        fs::write(&path, "10.0.0.1\n").unwrap();
        let pool = config(&path, b"10.0.0.1");
        let mut nodefiles = nodefiles();
        assert_eq!(look(&mut nodefiles, &pool), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(look(&mut nodefiles, &pool), None);
        let reason = nodefiles.failures.load()[0].reason.clone();
        assert!(reason.ends_with(": File not found"), "{reason}");
        fs::write(&path, "# the same\n10.0.0.1:80\n").unwrap();
        let typed = config(&path, b"10.0.0.9");
        assert_eq!(look(&mut nodefiles, &typed), None);
        assert_eq!(look(&mut nodefiles, &pool), None);
        assert!(nodefiles.failures.load().is_empty());
        fs::write(&path, "").unwrap();
        assert_eq!(look(&mut nodefiles, &pool), Some(Vec::new()));
    }
}
