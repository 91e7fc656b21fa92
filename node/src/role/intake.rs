//! Takes the body of a request from its client, a bounded piece at a time.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::client::Client;
use super::held::poll_read;
use super::local::Local;
use crate::http::{Body, ProxyError};

/// Why a body does not come.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client is gone.
    Gone,
    /// The client is told.
    Refused(ProxyError),
}

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    /// What is still to come.
    pub(super) body: &'a mut Body,
    /// What has come, without the chunks around it.
    pub(super) piece: &'a mut Vec<u8>,
    /// How long nothing may come; none: for ever.
    pub(super) patience: Option<Duration>,
}

impl Intake<'_> {
    /// Reads until there are so many bytes in the piece, or the body is complete. `came` is told of each part.
    ///
    /// # Errors
    /// When the client leaves, is too slow, or breaks the rules.
    pub(super) async fn fill(
        mut self,
        client: &mut Client,
        limit: usize,
        mut came: impl FnMut(&Local, usize),
    ) -> Result<(), Failure> {
        // It is in memory already; nothing stays behind that others would have to look for.
        let ahead = std::mem::take(&mut client.input);
        let length = self.take_in(client, ahead.bytes())?;
        came(client.local(), length);
        drop(ahead);
        while self.piece.len() < limit && !self.body.is_done() {
            let length = poll_fn(|cx| self.poll_read(client, limit, cx)).await?;
            came(client.local(), length);
        }
        Ok(())
    }

    fn poll_read(
        &mut self,
        client: &mut Client,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Failure>> {
        if client.timed_out() {
            return Poll::Ready(Err(Failure::Refused(ProxyError::RequestTimeout)));
        }
        let mut buffer = client.counted.local.buffers.take();
        let room = limit.saturating_sub(self.piece.len()).min(buffer.len());
        let window = buffer.get_mut(..room).unwrap_or_default();
        let read = poll_read(&mut client.io, cx, window);
        let taken = read.map(|read| match read {
            Ok(length @ 1..) => self.take_in(client, buffer.get(..length).unwrap_or_default()),
            Ok(_) | Err(_) => Err(Failure::Gone),
        });
        client.counted.local.buffers.give(buffer);
        taken
    }

    /// How many bytes of it the body carries.
    fn take_in(&mut self, client: &mut Client, input: &[u8]) -> Result<usize, Failure> {
        if input.is_empty() {
            return Ok(0);
        }
        let before = self.piece.len();
        let taken = self.body.take_content(input, self.piece);
        let taken = taken.map_err(|error| Failure::Refused(error.into()))?;
        client.input.append(input.get(taken..).unwrap_or_default());
        client.arm(self.patience);
        Ok(self.piece.len() - before)
    }
}
