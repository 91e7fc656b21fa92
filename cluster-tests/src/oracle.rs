//! What must be true of a fleet, and how to see whether it is.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::Result;
use crate::node::Node;

/// `cluster status json`, read.
#[derive(Debug, Clone)]
pub struct Status {
    /// The whole line.
    pub json: Value,
}

impl Status {
    /// Reads the line.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn parse(line: &str) -> Result<Self> {
        let json = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        Ok(Self { json })
    }

    /// The leader's name.
    pub fn leader(&self) -> Option<String> {
        self.json.get("leader")?.as_str().map(str::to_owned)
    }

    /// The highest version that the answering node has heard of.
    ///
    /// # Errors
    /// When it is not told.
    pub fn version(&self) -> Result<u64> {
        self.json
            .get("version")
            .and_then(Value::as_u64)
            .context("no version")
    }

    /// Whether all live nodes are at the same version with the same hash.
    pub fn in_sync(&self) -> bool {
        self.json.get("in_sync").and_then(Value::as_bool) == Some(true)
    }

    /// Something of `quorum`: `voters`, `reachable`, `tolerates`.
    ///
    /// # Errors
    /// When it is not told.
    pub fn quorum(&self, what: &str) -> Result<u64> {
        let quorum = self.json.get("quorum").context("no quorum")?;
        quorum
            .get(what)
            .and_then(Value::as_u64)
            .with_context(|| format!("no quorum.{what}"))
    }

    /// A field of a node.
    ///
    /// # Errors
    /// When there is no such node or field.
    pub fn node(&self, name: &str, field: &str) -> Result<&Value> {
        self.nodes()?
            .into_iter()
            .find(|node| node.get("name").and_then(Value::as_str) == Some(name))
            .with_context(|| format!("no node {name}"))?
            .get(field)
            .with_context(|| format!("no {field} of {name}"))
    }

    /// A field of a node, as text.
    ///
    /// # Errors
    /// When there is no such node, or the field is no text.
    pub fn node_text(&self, name: &str, field: &str) -> Result<&str> {
        self.node(name, field)?
            .as_str()
            .with_context(|| format!("{field} of {name} is no text"))
    }

    /// All nodes.
    ///
    /// # Errors
    /// When there are none.
    pub fn nodes(&self) -> Result<Vec<&Value>> {
        let nodes = self.json.get("nodes").and_then(Value::as_array);
        Ok(nodes.context("no nodes")?.iter().collect())
    }

    /// How many nodes are in each role.
    ///
    /// # Errors
    /// When a node has none.
    pub fn roles(&self) -> Result<BTreeMap<String, usize>> {
        let mut roles = BTreeMap::new();
        for node in self.nodes()? {
            let role = node.get("role").and_then(Value::as_str).context("no role")?;
            *roles.entry(role.to_owned()).or_default() += 1;
        }
        Ok(roles)
    }
}

/// Promise P2: these nodes print the same `dumpconfig`, byte for byte; this is what they print.
///
/// # Errors
/// Where two differ, and in which line first; when one does not answer, or there is none.
pub fn same_bytes<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Result<String> {
    let mut nodes = nodes.into_iter();
    let first = nodes.next().context("no node to compare")?;
    let all = fresh_dump(first)?;
    for node in nodes {
        let dump = fresh_dump(node)?;
        let differing = all.lines().zip(dump.lines()).find(|(a, b)| a != b);
        ensure!(
            dump == all,
            "{} and {} differ, first in {differing:?}",
            first.name,
            node.name
        );
    }
    Ok(all)
}

/// What a node dumps once it has applied all that was committed when it was asked.
///
/// Where `cluster status` says "in sync", it says so by what was gossiped last.
fn fresh_dump(node: &Node) -> Result<String> {
    node.manage()?.change("sync")?;
    node.dump()
}
