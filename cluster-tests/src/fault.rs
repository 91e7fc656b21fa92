//! Breaking things.

use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::fleet::Fleet;
use crate::{Result, wait};

impl Fleet {
    /// From its next start on, a node's command is led by these words: a program that changes what it runs in.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn lead_with(&mut self, number: usize, words: &[String]) -> Result<()> {
        self.node_mut(number)?.wrapper = words.to_vec();
        Ok(())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let node = self.node_mut(number)?;
        let mut process = node
            .process
            .take()
            .with_context(|| format!("n{number} does not run"))?;
        process.kill()
    }

    /// What the commands of a node are led by from its next start on.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn lead_by(&mut self, number: usize, words: &[&str]) -> Result<()> {
        self.node_mut(number)?.wrapper = words.iter().map(ToString::to_string).collect();
        Ok(())
    }

    /// `kill -9` of several at the same moment: none lives to see the other go.
    ///
    /// # Errors
    /// When one does not run.
    pub fn kill_together(&mut self, numbers: &[usize]) -> Result<()> {
        for &number in numbers {
            self.process(number)?.signal(Signal::SIGSTOP)?;
        }
        numbers.iter().try_for_each(|&number| self.kill(number))
    }

    /// `kill -STOP`: the node neither answers nor goes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&mut self, number: usize) -> Result<()> {
        self.process(number)?.signal(Signal::SIGSTOP)
    }

    /// `kill -CONT`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&mut self, number: usize) -> Result<()> {
        self.process(number)?.signal(Signal::SIGCONT)
    }

    /// `kill -TERM`, and waits for the end; its exit code.
    ///
    /// # Errors
    /// When the node does not end.
    pub fn terminate(&mut self, number: usize) -> Result<Option<i32>> {
        let mut process = self
            .node_mut(number)?
            .process
            .take()
            .with_context(|| format!("n{number} does not run"))?;
        process.signal(Signal::SIGTERM)?;
        Ok(process.wait_end(wait::PATIENCE)?.code())
    }

    /// Waits until a node ends by itself; its exit code.
    ///
    /// # Errors
    /// When the node does not run, or does not end.
    pub fn wait_gone(&mut self, number: usize, within: Duration) -> Result<Option<i32>> {
        let mut process = self
            .node_mut(number)?
            .process
            .take()
            .with_context(|| format!("n{number} does not run"))?;
        Ok(process.wait_end(within)?.code())
    }
}
