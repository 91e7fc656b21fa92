//! How a selector's connection comes to the service that answers.

use std::rc::Rc;
use std::task::Context;

use super::{Client, DISABLED, Incoming, refused};
use crate::http::{Head, ProxyError, RequestHead, request};
use crate::plugin::Routes;
use crate::role::local::Current;
use crate::role::selector::{self, CIRCLE, Chosen, HOPS};

impl Client {
    /// Has the service that a selector chooses begin instead.
    pub(super) fn select(
        &mut self,
        selector: &Rc<Current>,
        outer: Option<&Rc<Current>>,
        input: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        let (settings, routes) = (&selector.view.settings, selector.view.routes.as_ref()?);
        let mut output = self.local().take_output();
        let read = request::read(input, self.forwarding(settings), &mut output);
        let chosen = match &read {
            Ok(Some(head)) => {
                let sent = input.get(..head.length).unwrap_or_default();
                selector::choose(self.local(), routes, sent, Head::new(&output))
            }
            Ok(None) => Err(DISABLED),
            Err(error) => Err(*error),
        };
        self.local().give_output(output);
        let head = match read {
            Ok(None) => return None,
            Ok(Some(_)) if outer.is_none() && !selector.view.enabled => return Some(refused(DISABLED)),
            Ok(Some(head)) => head,
            Err(error) => return Some(refused(error)),
        };
        if outer.is_none() {
            self.idle_limit = settings.persist_client_idle_timeout;
        }
        let sent = input.get(..head.length).unwrap_or_default();
        self.log_for(&Rc::clone(&self.serving), &selector.view, sent);
        self.hand_on(
            Rc::clone(outer.unwrap_or(selector)),
            routes,
            (input, head),
            chosen,
            cx,
        )
    }

    fn hand_on(
        &mut self,
        owner: Rc<Current>,
        routes: &Routes,
        (input, head): (&[u8], RequestHead),
        chosen: Result<Chosen, ProxyError>,
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        if let Some(latency) = routes.latency
            && !std::mem::replace(&mut self.has_waited, true)
        {
            return Some((0, Incoming::Wait(latency)));
        }
        self.has_waited = false;
        self.hops += 1;
        let chosen = chosen.and_then(|chosen| {
            let can_answer = selector::can_answer(chosen.current.view.role);
            let ends = if self.hops > HOPS { Err(CIRCLE) } else { can_answer };
            ends.map(|()| chosen)
        });
        let Chosen {
            served,
            current,
            head: edited,
        } = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return Some((head.length, Incoming::Unrouted(error, head))),
        };
        self.serving = served;
        let Some(mut edited) = edited else {
            return self.begin_for(current, Some(owner), input, cx);
        };
        let edited_length = edited.len();
        edited.extend_from_slice(input.get(head.length..).unwrap_or_default());
        let begun = self.begin_for(current, Some(owner), &edited, cx);
        begun.map(|(used, incoming)| (used.saturating_sub(edited_length) + head.length, incoming))
    }
}
