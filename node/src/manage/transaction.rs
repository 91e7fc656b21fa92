//! Lines between `begin` and `commit`: judged one by one as they are typed, proposed as one change.

use std::sync::Arc;

use fleetbal_raft::model::{Batch, Change, FleetConfig, Refusal, Version};

/// The most text that one transaction may be typed with, in bytes: one change is at most 16 MiB.
const LONGEST: usize = 16 << 20;

/// What was typed since `begin`.
#[derive(Debug)]
pub(super) struct Transaction {
    /// The configuration as it would be now.
    config: Arc<FleetConfig>,
    /// Changes, each with the number of its line.
    changes: Vec<(usize, Change)>,
    /// Lines so far.
    lines: usize,
    /// Bytes so far.
    size: usize,
    /// The first line that was refused, and why.
    wrong: Option<(usize, String)>,
}

impl Transaction {
    /// On top of a configuration.
    pub(super) fn begin(config: Arc<FleetConfig>) -> Self {
        Self {
            config,
            changes: Vec::new(),
            lines: 0,
            size: 0,
            wrong: None,
        }
    }

    /// The configuration with all that was typed so far.
    pub(super) fn config(&self) -> &Arc<FleetConfig> {
        &self.config
    }

    /// Counts a line of so many bytes, whatever it says.
    pub(super) fn count(&mut self, bytes: usize) {
        self.lines += 1;
        self.size = self.size.saturating_add(bytes);
    }

    /// Takes what a line changes: all of it or, where one is refused, none.
    ///
    /// # Errors
    /// Why it is refused, as the fleet would say it.
    pub(super) fn take(&mut self, changes: Vec<Change>) -> Result<(), String> {
        if self.size > LONGEST {
            return Err("a transaction is at most 16 MiB of text".to_owned());
        }
        let batch = Batch::of(changes);
        let next = self.config.with_asked(&batch).map_err(|refusal| refusal.text)?;
        self.config = Arc::new(next);
        let line = self.lines;
        self.changes
            .extend(batch.changes.into_iter().map(|change| (line, change)));
        Ok(())
    }

    /// Remembers that the last line was refused, so that nothing of it all is committed.
    pub(super) fn refuse(&mut self, text: &str) {
        self.wrong.get_or_insert_with(|| (self.lines, text.to_owned()));
    }

    /// Everything as one change, and whose line each is.
    ///
    /// # Errors
    /// The first line that was refused.
    pub(super) fn batch(
        self,
        if_version: Option<Version>,
        confirm: Option<u32>,
    ) -> Result<(Batch, Origins), String> {
        if let Some((line, text)) = self.wrong {
            return Err(nothing_committed(line, &text));
        }
        let (lines, changes) = self.changes.into_iter().unzip();
        let batch = Batch {
            if_version,
            confirm,
            ..Batch::of(changes)
        };
        Ok((batch, Origins(lines)))
    }
}

/// The line that each change of a batch came from.
#[derive(Debug)]
pub(super) struct Origins(Vec<usize>);

impl Origins {
    /// What the typist reads where the fleet, which went on meanwhile, refused the batch.
    pub(super) fn explain(&self, refusal: &Refusal) -> String {
        let index = usize::try_from(refusal.change).unwrap_or(usize::MAX);
        match self.0.get(index) {
            Some(line) => nothing_committed(*line, &refusal.text),
            None => refusal.text.clone(),
        }
    }
}

fn nothing_committed(line: usize, text: &str) -> String {
    format!("nothing committed: line {line}: {text}")
}
