//! How plugins see a request first, and what they make of it.

use std::rc::Rc;
use std::task::Context;

use super::{Client, DISABLED, Incoming, behind_unread, page_rules, refused};
use crate::http::Method;
use crate::http::{Head, ProxyError, RequestHead, request};
use crate::plugin::{Answer, Facts, Outcome, RequestContext};
use crate::role::client::Begun;
use crate::role::connection::Next;
use crate::role::hooked::{Hooked, Resumed};
use crate::role::local::Current;
use crate::role::selector::{self, CIRCLE, HOPS};
use fleetbal_raft::model::ServiceName;

const NO_SERVICE: ProxyError =
    ProxyError::NotFound("A plugin hands this request to a service that is not there.");

impl Client {
    /// Has the plugins of a service see the head at the start of `input`, and the service begin with what they make of it.
    #[inline(never)]
    pub(super) fn begin_hooked(
        &mut self,
        current: Rc<Current>,
        outer: Option<Rc<Current>>,
        input: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        let mut output = self.local().take_output();
        let read = request::read(input, self.forwarding(&current.view.settings), &mut output);
        let begun = match read {
            Ok(None) => None,
            Ok(Some(_)) if !current.view.enabled && outer.is_none() => Some(refused(DISABLED)),
            Ok(Some(head)) => self.ask_plugins((current, outer), (input, head), &output, cx),
            Err(error) => Some(refused(error)),
        };
        self.local().give_output(output);
        begun
    }

    fn ask_plugins(
        &mut self,
        (current, outer): (Rc<Current>, Option<Rc<Current>>),
        (input, head): (&[u8], RequestHead),
        output: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        self.arm(current.view.settings.idle_timeout);
        if outer.is_none() {
            self.idle_limit = current.view.settings.persist_client_idle_timeout;
        }
        let hooks = current.view.hooks.as_ref()?;
        let sent = input.get(..head.length).unwrap_or_default();
        self.log_for(&Rc::clone(&self.serving), &current.view, sent);
        if !self.goes_on() {
            let facts = self.facts(&current, sent);
            let context = RequestContext::new(facts, sent, Some(head));
            self.hooked = Some(Hooked::new(
                std::sync::Arc::clone(hooks),
                context,
                self.hooked.take(),
            ));
        }
        let hooked = self.hooked.as_mut()?;
        let points = hooked.hooks.start();
        hooked.waits = false;
        match if self.has_waited {
            Outcome::Next
        } else {
            hooked.run(points)
        } {
            Outcome::Next if hooked.context.is_edited() => {
                self.begin_edited((current, outer), (input, head), cx)
            }
            Outcome::Next if current.view.routes.is_some() => self.begin_plain(current, outer, input, cx),
            Outcome::Next => {
                let begun = Begun {
                    current,
                    outer,
                    input,
                    head,
                    output,
                };
                Some(super::super::begin(self, begun, cx))
            }
            Outcome::Answer(answer) => Some((head.length, Incoming::Said(answer, head))),
            Outcome::Service(name) => self.begin_other(&name, (current, outer), (input, head), cx),
            Outcome::Wait(time) => self.pause((current, outer), head.length, Incoming::Wait(time)),
            Outcome::Fetch(fetch) => self.pause((current, outer), head.length, Incoming::Fetch(fetch)),
            Outcome::Stream(subscription) => Some((head.length, Incoming::Stream(subscription))),
            Outcome::Collect(_) | Outcome::Close => Some((0, Incoming::Ended)),
        }
    }

    /// A plugin waits; the request goes on behind that.
    fn pause(
        &mut self,
        (current, outer): (Rc<Current>, Option<Rc<Current>>),
        length: usize,
        incoming: Incoming,
    ) -> Option<(usize, Incoming)> {
        let hooked = self.hooked.as_mut()?;
        hooked.waits = true;
        self.resumed = Some(Box::new(Resumed {
            served: Rc::clone(&self.serving),
            current,
            outer,
            head: hooked.context.head_bytes().to_vec(),
        }));
        Some((length, incoming))
    }

    /// Whether a plugin has asked to wait, or the selector does: then the plugins know the request already.
    fn goes_on(&self) -> bool {
        self.hooked
            .as_ref()
            .is_some_and(|hooked| hooked.waits || self.has_waited)
    }

    /// Where the request comes from.
    pub(in crate::role) fn facts(&mut self, current: &Current, sent: &[u8]) -> Facts {
        let trust = &current.view.settings.trust;
        let told = trust
            .trusts(self.peer)
            .then(|| Head::new(sent).field("X-Forwarded-For"));
        let first = told
            .flatten()
            .and_then(|told| told.split(|byte| *byte == b',').next());
        let observed = first.and_then(|first| std::str::from_utf8(first.trim_ascii()).ok()?.parse().ok());
        if self.local_address.is_none() {
            self.local_address = self.io.local_addr();
        }
        Facts {
            service: Some(current.view.name.clone()),
            peer: self.peer,
            observed,
            local: self.local_address,
            secure: self.io.is_tls(),
        }
    }

    /// Begins with the head as the plugins have made it.
    fn begin_edited(
        &mut self,
        (current, outer): (Rc<Current>, Option<Rc<Current>>),
        (input, head): (&[u8], RequestHead),
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        let edited = self.hooked.as_ref()?.context.head_bytes();
        let length = edited.len();
        let text = [edited, input.get(head.length..).unwrap_or_default()].concat();
        let begun = self.begin_plain(current, outer, &text, cx);
        begun.map(|(used, incoming)| (used.saturating_sub(length) + head.length, incoming))
    }

    /// Has another service answer that a plugin chose.
    fn begin_other(
        &mut self,
        name: &ServiceName,
        (current, outer): (Rc<Current>, Option<Rc<Current>>),
        (input, head): (&[u8], RequestHead),
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        let sent = self.hooked.as_ref()?.context.head_bytes().to_vec();
        if let Err(error) = self.hand_over(name, &outer.unwrap_or(current), sent) {
            return Some((head.length, Incoming::Unrouted(error, head)));
        }
        let rest = input.get(head.length..).unwrap_or_default();
        let begun = self.resume(rest, cx);
        begun.map(|(used, incoming)| (used + head.length, incoming))
    }

    /// Has another service begin with this request next.
    ///
    /// # Errors
    /// When there is no such service, or it answers no requests.
    pub(in crate::role) fn hand_over(
        &mut self,
        name: &ServiceName,
        owner: &Rc<Current>,
        head: Vec<u8>,
    ) -> Result<(), ProxyError> {
        self.hops += 1;
        if self.hops > HOPS {
            return Err(CIRCLE);
        }
        let (served, current) = self.local().find(name).ok_or(NO_SERVICE)?;
        selector::can_answer(current.view.role)?;
        if let Some(hooked) = &mut self.hooked {
            hooked.retire();
        }
        self.resumed = Some(Box::new(Resumed {
            served,
            current,
            outer: Some(Rc::clone(owner)),
            head,
        }));
        Ok(())
    }

    /// Goes on with a request; `input` is what follows its head.
    pub(super) fn resume(&mut self, input: &[u8], cx: &mut Context<'_>) -> Option<(usize, Incoming)> {
        let resumed = self.resumed.take()?;
        self.serving = Rc::clone(&resumed.served);
        let text = [&resumed.head, input].concat();
        let (current, outer) = (Rc::clone(&resumed.current), resumed.outer.clone());
        let (used, incoming) = self.begin_for(current, outer, &text, cx)?;
        if matches!(incoming, Incoming::Wait(_)) && used == 0 {
            // A selector waits, and then looks at the same head again.
            self.resumed = Some(resumed);
        }
        Some((used.saturating_sub(resumed_length(&text, input)), incoming))
    }

    /// A request is over, unless it goes on later.
    #[inline]
    pub(in crate::role) fn request_ended(&mut self) {
        if self.hooked.is_some() && self.resumed.is_none() && !self.has_waited {
            self.hooked = None;
        }
    }

    /// Gives the answer of a plugin to a request whose body nobody has read.
    pub(in crate::role) async fn give(&mut self, answer: &Answer, head: &RequestHead) -> Next {
        let keeps = self.keeps_behind(head);
        let is_sent = self.say_answer(answer, head.method, keeps).await;
        behind_unread(head, is_sent, keeps)
    }

    /// Sends the answer of a plugin. Whether the connection is still good.
    pub(in crate::role) async fn say_answer(&mut self, answer: &Answer, method: Method, keep: bool) -> bool {
        let owner = self.owner();
        let mut text = Vec::new();
        answer.write(page_rules(owner.as_deref(), method, keep), &mut text);
        self.answered(answer.status, Some(answer.length()));
        self.say(text).await
    }
}

fn resumed_length(text: &[u8], input: &[u8]) -> usize {
    text.len().saturating_sub(input.len())
}
