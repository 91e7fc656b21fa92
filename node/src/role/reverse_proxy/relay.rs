//! A request and its answer between two connections: both directions at once, as fast as the slower side takes them.

pub(super) mod redirect;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::attempts::{answer, say};
use super::hooks;
use super::request::Request;
use super::retry::{Tries, is_repeatable};
use crate::http::{Body, Framing, MAX_HEAD, ProxyError, ResponseHead, ResponseRules, response};
use crate::monitor::sockets::ClientState;
use crate::plugin::Answer as Said;
use crate::role::client::Client;
use crate::role::connection::Next;
use crate::role::held::{Held, poll_read, rest, window, write_now};
use crate::upstream::Lease;
use redirect::Redirected;

/// A body of so many bytes is copied behind its head: to gather the two costs the system more than that.
const COPIED_BODY: usize = 2048;

/// Why there is no answer of the backend's.
pub(super) enum Trouble {
    /// It may be asked again, after a pause if it answered.
    Retry(Option<Duration>),
    /// The client is told.
    Answer(ProxyError),
    /// The client is gone, or cannot be told any more.
    Gone,
    /// The client has part of an answer, and nothing but a cut would tell it so.
    Cut,
    /// The client gets something else, which the backend names.
    Redirected(Box<Redirected>),
    /// The client gets what a plugin says.
    Said(Box<Said>),
}

/// One try on one connection.
pub(super) struct Relay<'c> {
    client: &'c mut Client,
    request: Box<Request>,
    lease: Lease,
    to_client: Held,
    /// Part of a head.
    from_backend: Vec<u8>,
    /// Whether the backend takes no more of the request.
    upload_broken: bool,
    /// What was tried before.
    tries: Tries,
    /// Whether the backend has said anything.
    is_answering: bool,
    /// Whether the backend sent more than its answer.
    excess: bool,
}

/// The final head of an answer, and what is still to come of its body.
struct Answer {
    head: ResponseHead,
    body: Body,
}

impl<'c> Relay<'c> {
    pub(super) fn new(client: &'c mut Client, request: Box<Request>, lease: Lease, tries: Tries) -> Self {
        Self {
            client,
            request,
            lease,
            to_client: Held::default(),
            from_backend: Vec::new(),
            upload_broken: false,
            tries,
            is_answering: false,
            excess: false,
        }
    }
}

impl Relay<'_> {
    /// Sends the request, and its answer back. Its head, once all of it is through.
    pub(super) async fn run(&mut self) -> Result<ResponseHead, Trouble> {
        let mut answer = poll_fn(|cx| self.poll_answer(cx)).await?;
        self.client.record.enter(ClientState::XferRes);
        let (deadlines, status) = (&self.client.local().deadlines, answer.head.status);
        self.lease.backend().count_answer(status, deadlines.epoch());
        self.client.answered(status, answer.head.content_length);
        if !(answer.body.is_done() && self.to_client.is_empty() && self.client.io.is_flushed()) {
            let relayed = poll_fn(|cx| self.poll_bodies(cx, &mut answer)).await;
            if relayed.is_err() {
                // Of an answer that ends with its connection, a plain close would make a whole one.
                let delimited = answer.head.framing != Framing::UntilClose && !answer.head.dechunk;
                return Err(if delimited { Trouble::Gone } else { Trouble::Cut });
            }
        }
        Ok(answer.head)
    }

    /// The request as it was, for another connection; this one is closed.
    pub(super) fn again(self, pause: Option<Duration>) -> (Box<Request>, Tries) {
        let Self {
            client,
            mut request,
            lease,
            mut tries,
            ..
        } = self;
        if pause.is_some() {
            tries.errors += 1;
        } else {
            tries.lost += 1;
        }
        tries.failed = Some(Arc::clone(lease.backend()));
        if request.touched {
            request.to_backend = Held::new(client.record.head());
            request.touched = false;
        }
        request.picked = None;
        (request, tries)
    }

    /// Tells the client, if it can be told.
    pub(super) async fn fail(self, trouble: Trouble) -> Next {
        match trouble {
            // Part of an interim answer is out; a page would end up in the middle of it.
            Trouble::Answer(_) | Trouble::Said(_) if !self.to_client.is_empty() => Next::Close,
            Trouble::Said(said) => say(self.client, &self.request, &said).await,
            Trouble::Answer(error) => answer(self.client, &self.request, error).await,
            Trouble::Redirected(said) => self.redirect(*said).await,
            Trouble::Cut => Next::Abort,
            Trouble::Gone | Trouble::Retry(_) => Next::Close,
        }
    }

    /// Waits for the final head of the answer, while the request is still being sent.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Trouble>> {
        if self.client.timed_out() {
            self.lease.backend().count_failure();
            return Poll::Ready(Err(Trouble::Answer(ProxyError::GatewayTimeout)));
        }
        if let Poll::Ready(Err(trouble)) = self.poll_upload(cx) {
            return Poll::Ready(Err(trouble));
        }
        loop {
            if !self.to_client.is_empty() && self.poll_to_client(cx) == Poll::Ready(false) {
                return Poll::Ready(Err(Trouble::Gone));
            }
            let mut buffer = self.client.counted.local.buffers.take();
            let read = poll_read(
                &mut self.lease.io,
                cx,
                window(&mut buffer, self.request.buffer_size()),
            );
            let answer = match &read {
                Poll::Ready(Ok(length @ 1..)) => self.take_in(buffer.get(..*length).unwrap_or_default(), cx),
                Poll::Ready(Ok(_) | Err(_)) => Err(self.no_answer()),
                Poll::Pending => Ok(None),
            };
            self.client.counted.local.buffers.give(buffer);
            if read.is_pending() {
                return Poll::Pending;
            }
            if let Some(answer) = answer.transpose() {
                return Poll::Ready(answer);
            }
        }
    }

    /// The backend closed its connection before the final head was there.
    fn no_answer(&self) -> Trouble {
        let repeatable = !self.request.touched || is_repeatable(&self.request.head);
        if repeatable && !self.is_answering && self.tries.lost == 0 {
            return Trouble::Retry(None);
        }
        self.lease.backend().count_failure();
        Trouble::Answer(ProxyError::BadGateway(
            "The backend closed the connection without an answer.",
        ))
    }

    /// Uses bytes from the backend. Mostly the whole head is in them, and all of a short body.
    fn take_in(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<Option<Answer>, Trouble> {
        let mut output = self.client.local().take_output();
        let answer = if self.from_backend.is_empty() {
            self.read_heads(bytes, &mut output, cx)
        } else {
            let mut input = std::mem::take(&mut self.from_backend);
            input.extend_from_slice(bytes);
            self.read_heads(&input, &mut output, cx)
        };
        self.client.local().give_output(output);
        answer
    }

    fn read_heads(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Result<Option<Answer>, Trouble> {
        self.is_answering = true;
        let current = Rc::clone(&self.request.current);
        let keeps = self.request.keeps_client() && !self.client.local().is_draining();
        let owner = Rc::clone(self.request.owner());
        let keep_alive = keeps.then_some(&owner.view.settings.keep_alive_lines[..]);
        let mut rules = ResponseRules::new(&self.request.head, keep_alive);
        rules.reproxy = current.view.settings.reproxy.enabled;
        while !input.is_empty() {
            let head = response::read(input, rules, output).map_err(|error| {
                self.lease.backend().count_failure();
                Trouble::Answer(error)
            })?;
            let Some(mut head) = head else { break };
            if !head.is_interim() && self.client.hooked.is_some() {
                hooks::received(self.client, &mut head, output)?;
            }
            if !head.is_interim() {
                let bytes = input.get(..head.length).unwrap_or_default();
                self.lease.learn(current.view.pool.as_deref(), bytes);
            }
            input = input.get(head.length..).unwrap_or_default();
            if head.reproxy {
                let said = Redirected::new(head, output, input);
                return Err(Trouble::Redirected(Box::new(said)));
            }
            if !head.is_interim() {
                if let Some(pause) = self.tries.pause(&head, &self.request)
                    && self.to_client.is_empty()
                {
                    self.lease.backend().count_error();
                    return Err(Trouble::Retry(Some(pause)));
                }
                return self.begin_answer(head, input, output, cx).map(Some);
            }
            if self.request.head.http11 {
                self.to_client.append(output);
            }
            if self.to_client.len() > MAX_HEAD {
                return Err(Trouble::Gone);
            }
        }
        self.from_backend = input.to_vec();
        Ok(None)
    }

    /// Sends the final head, and what is there of the body.
    fn begin_answer(
        &mut self,
        mut head: ResponseHead,
        after: &[u8],
        output: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Result<Answer, Trouble> {
        let mut body = Body::new(head.framing);
        let taken = if head.dechunk {
            body.take_content(after, output)
        } else {
            body.take(after)
        };
        let taken = taken.map_err(|error| {
            self.lease.backend().count_failure();
            Trouble::Answer(ProxyError::BadGateway(error.0))
        })?;
        self.excess = taken < after.len();
        if self.client.hooked.is_some() {
            hooks::finish_head(self.client, &mut head, output);
        }
        let verbatim = if head.dechunk { 0 } else { taken };
        let mut verbatim = after.get(..verbatim).unwrap_or_default();
        if verbatim.len() <= COPIED_BODY {
            output.extend_from_slice(verbatim);
            verbatim = &[];
        }
        if self.to_client.is_empty() {
            let (written, result) = write_now(&mut self.client.io, cx, output, verbatim);
            if result.is_err() {
                return Err(Trouble::Gone);
            }
            if written < output.len() + verbatim.len() {
                self.to_client = Held::new(rest(written, output, verbatim));
            }
        } else {
            self.to_client.append(output);
            self.to_client.append(verbatim);
        }
        Ok(Answer { head, body })
    }

    /// Moves both bodies until the answer's is through.
    fn poll_bodies(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Poll<Result<(), Trouble>> {
        if self.client.timed_out() {
            return Poll::Ready(Err(Trouble::Gone));
        }
        // It is only polled when something moves.
        self.client.arm(self.request.current.view.settings.idle_timeout);
        if let Poll::Ready(Err(trouble)) = self.poll_upload(cx) {
            return Poll::Ready(Err(trouble));
        }
        self.poll_download(cx, answer)
    }

    fn poll_download(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Poll<Result<(), Trouble>> {
        loop {
            self.client.record.hold(self.to_client.len());
            if !ready!(self.poll_to_client(cx)) {
                return Poll::Ready(Err(Trouble::Gone));
            }
            if answer.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = self.client.counted.local.buffers.take();
            match poll_read(
                &mut self.lease.io,
                cx,
                window(&mut buffer, self.request.buffer_size()),
            ) {
                Poll::Pending => {
                    self.client.counted.local.buffers.give(buffer);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) if answer.body.end_of_input().is_ok() => {
                    self.client.counted.local.buffers.give(buffer);
                }
                Poll::Ready(Ok(length @ 1..)) => self.pass_down(buffer, length, cx, answer)?,
                Poll::Ready(Ok(_) | Err(_)) => {
                    self.lease.backend().count_failure();
                    return Poll::Ready(Err(Trouble::Gone));
                }
            }
        }
    }

    /// Sends what was read of the answer's body; what the client does not take now is held.
    fn pass_down(
        &mut self,
        buffer: Vec<u8>,
        length: usize,
        cx: &mut Context<'_>,
        answer: &mut Answer,
    ) -> Result<(), Trouble> {
        let input = buffer.get(..length).unwrap_or_default();
        let buffers = &self.client.counted.local.buffers;
        if answer.head.dechunk {
            let mut content = Vec::new();
            let taken = answer.body.take_content(input, &mut content);
            buffers.give(buffer);
            taken.map_err(|_| Trouble::Gone)?;
            self.to_client = Held::new(content);
            return Ok(());
        }
        let taken = answer.body.take(input).map_err(|_| Trouble::Gone)?;
        self.excess |= taken < length;
        let bytes = input.get(..taken).unwrap_or_default();
        match write_now(&mut self.client.io, cx, bytes, &[]) {
            (_, Err(_)) => Err(Trouble::Gone),
            (written, Ok(())) if written == taken => {
                buffers.give(buffer);
                Ok(())
            }
            (written, Ok(())) => {
                self.to_client = Held::in_buffer(buffer, written, taken, self.request.buffer_size(), buffers);
                Ok(())
            }
        }
    }

    /// Sends what is held for the client: ready when nothing is left, `false` when it is gone.
    #[inline]
    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let buffers = &self.client.counted.local.buffers;
        let written = self.to_client.poll_write(&mut self.client.io, cx, buffers);
        written.map(|result| result.is_ok())
    }

    /// Moves the request's body; ready when it is through, or when the backend takes no more of it.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        loop {
            if self.upload_broken {
                return Poll::Ready(Ok(()));
            }
            if !self.request.to_backend.is_empty() {
                let before = self.request.to_backend.len();
                let buffers = &self.client.counted.local.buffers;
                let written = self
                    .request
                    .to_backend
                    .poll_write(&mut self.lease.io, cx, buffers);
                self.request.touched |= self.request.to_backend.len() < before;
                if ready!(written).is_err() {
                    // It may have answered all the same.
                    self.upload_broken = true;
                    continue;
                }
            }
            if let Some(plan) = &mut self.request.upload_plan
                && plan.has_more()
            {
                let piece = ready!(plan.poll_piece(cx)).map_err(Trouble::Answer)?;
                self.client.arm(self.request.current.view.settings.idle_timeout);
                self.request.to_backend = Held::new(piece);
                continue;
            }
            if self.request.upload.is_done() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    /// Reads more of the request's body, and sends what the backend takes now.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        let mut buffer = self.client.counted.local.buffers.take();
        // Whatever came ahead of it was used with the head.
        debug_assert!(self.client.input.is_empty());
        let length = match poll_read(
            &mut self.client.io,
            cx,
            window(&mut buffer, self.request.buffer_size()),
        ) {
            Poll::Pending => {
                self.client.counted.local.buffers.give(buffer);
                return Poll::Pending;
            }
            // A client that leaves in the middle of its request wants no answer.
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Trouble::Gone)),
            Poll::Ready(Ok(length)) => length,
        };
        self.client.arm(self.request.current.view.settings.idle_timeout);
        Poll::Ready(self.pass_up(buffer, length, cx))
    }

    fn pass_up(&mut self, buffer: Vec<u8>, length: usize, cx: &mut Context<'_>) -> Result<(), Trouble> {
        let input = buffer.get(..length).unwrap_or_default();
        let taken = self.request.upload.take(input);
        let taken = taken.map_err(|error| Trouble::Answer(error.into()))?;
        if let Some(plan) = &mut self.request.upload_plan {
            let uploads = &self.request.current.view.settings.uploads;
            plan.came(taken, &self.client.counted.local, uploads);
        }
        self.client.input.append(input.get(taken..).unwrap_or_default());
        let bytes = input.get(..taken).unwrap_or_default();
        let (written, result) = write_now(&mut self.lease.io, cx, bytes, &[]);
        let buffers = &self.client.counted.local.buffers;
        if result.is_err() {
            self.upload_broken = true;
            buffers.give(buffer);
        } else if written < taken {
            self.request.to_backend =
                Held::in_buffer(buffer, written, taken, self.request.buffer_size(), buffers);
        } else {
            buffers.give(buffer);
        }
        Ok(())
    }

    /// The answer is through.
    pub(super) fn finish(self, head: ResponseHead) -> Next {
        let Self {
            client,
            request,
            mut lease,
            upload_broken,
            excess,
            ..
        } = self;
        client.is_answered();
        lease.end();
        let is_read = request.upload.is_done();
        let has_more = request.upload_plan.as_ref().is_some_and(|plan| plan.has_more());
        let is_sent = is_read && request.to_backend.is_empty() && !has_more && !upload_broken;
        let persist = request.current.view.settings.persist_backend;
        if persist && head.backend_persists && is_sent && !excess {
            let (local, served) = (&client.counted.local, &client.serving);
            served.keep(local, &request.current, lease, head.backend_timeout);
        }
        if head.client_persists {
            return Next::Keep;
        }
        // With unread bytes a plain close would be a reset.
        let is_quiet = is_read && client.input.is_empty();
        if is_quiet { Next::Close } else { Next::Linger }
    }
}
