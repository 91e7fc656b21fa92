//! The fenced blocks of the documentation. Each either has a name (```` ```sh NAME ````), under which a test runs it as it
//! stands, or says in its first line why none does.

use std::fs;

use anyhow::{Context, ensure};

use crate::Result;
use crate::process;

/// How a block begins that no test runs; its reason stands behind.
const NOT_RUN: &str = "# Not run by a test: ";

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The number of the line with its fence.
    pub line: usize,
    /// What stands behind the fence: its language, and its name.
    pub info: String,
    /// Its lines.
    pub text: String,
}

impl Block {
    /// Why no test runs it.
    pub fn reason(&self) -> Option<&str> {
        let reason = self.text.lines().next()?.strip_prefix(NOT_RUN)?.trim();
        (!reason.is_empty()).then_some(reason)
    }
}

/// The pages, by their paths in the workspace.
///
/// # Errors
/// When the directory cannot be read.
pub fn pages() -> Result<Vec<String>> {
    let mut pages = vec!["README.md".to_owned()];
    for entry in fs::read_dir(process::workspace().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.strip_suffix(".md").is_some() {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    Ok(pages)
}

/// All blocks of a page.
///
/// # Errors
/// When it cannot be read, or its last block does not end.
pub fn blocks(page: &str) -> Result<Vec<Block>> {
    let path = process::workspace().join(page);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| page.to_owned())
}

/// All blocks of a page with that behind their fence, one behind the other.
///
/// # Errors
/// When there are none.
pub fn text(page: &str, info: &str) -> Result<String> {
    let mut all = blocks(page)?;
    all.retain(|block| block.info == info);
    ensure!(!all.is_empty(), "no block of {page} is '{info}'");
    Ok(all.into_iter().map(|block| block.text).collect())
}

fn parse(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                open = Some(Block {
                    line: number + 1,
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "a block does not end: {open:?}");
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_blocks_with_their_names_and_reasons() {
        let text = "a\n```sh by-hand\none\n```\nb\n  ```\n# Not run by a test: the moon\ntwo\n  ```\n```\n# Not run by a test: \n```\n";
        let blocks = parse(text).unwrap();
        let told: Vec<_> = blocks
            .iter()
            .map(|block| (block.line, block.info.as_str(), block.reason()))
            .collect();
        assert_eq!(
            told,
            [(2, "sh by-hand", None), (6, "", Some("the moon")), (10, "", None)]
        );
        assert_eq!(blocks.first().unwrap().text, "one\n");
        assert!(parse("```sh\nopen").is_err());
    }
}
