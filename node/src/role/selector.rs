//! `selector`: hands each request to the service that its rules choose, and comes back to the connection behind the
//! answer. What of a request decides is in [`crate::plugin`].

use std::rc::Rc;

use fleetbal_raft::model::Role;

use super::client::{Client, behind_unread};
use super::connection::Next;
use super::local::{Current, Local, Served};
use crate::http::{Head, ProxyError, RequestHead};
use crate::plugin::{Choice, Routes};

/// How many services may hand a request over before it is taken for one that goes round in circles.
pub(super) const HOPS: u8 = 5;

pub(super) const CIRCLE: ProxyError =
    ProxyError::Internal("Services hand this request over to each other without end.");
const NO_HOST: ProxyError = ProxyError::NotFound("Not Found (no configured vhost)");
const NO_PAIR: ProxyError = ProxyError::NotFound("Vhost twiddling not configured for requested pair.");
const NO_RULES: ProxyError = ProxyError::Internal("No service selector configured.");

/// Who answers a request instead of the selector.
pub(super) struct Chosen {
    pub(super) served: Rc<Served>,
    pub(super) current: Rc<Current>,
    /// The head as that service is to read it, where it is not the client's.
    pub(super) head: Option<Vec<u8>>,
}

/// The service that the rules choose for a request: `sent` is its head as the client sent it, `head` the same in
/// canonical form.
pub(super) fn choose(
    local: &Local,
    routes: &Routes,
    sent: &[u8],
    head: Head<'_>,
) -> Result<Chosen, ProxyError> {
    let (name, host) = match routes.choose(head) {
        Choice::Service(name) => (name, None),
        Choice::As(name, host) => (name, Some(host)),
        Choice::NoPair => return Err(NO_PAIR),
        Choice::Nothing => return Err(NO_HOST),
        Choice::NoRules => return Err(NO_RULES),
    };
    let (served, current) = local.find(name).ok_or(NO_HOST)?;
    Ok(Chosen {
        served,
        current,
        head: routes.edit(sent, host),
    })
}

/// Whom a request ends at that is handed to a service: a selector chooses another one.
pub(super) fn settle(
    local: &Local,
    mut served: Rc<Served>,
    mut current: Rc<Current>,
    head: Head<'_>,
) -> Result<(Rc<Served>, Rc<Current>), ProxyError> {
    for _ in 0..HOPS {
        can_answer(current.view.role)?;
        let Some(routes) = &current.view.routes else {
            return Ok((served, current));
        };
        let chosen = choose(local, routes, &[], head)?;
        (served, current) = (chosen.served, chosen.current);
    }
    Err(CIRCLE)
}

/// Whether requests can be handed to services of that role.
pub(super) fn can_answer(role: Option<Role>) -> Result<(), ProxyError> {
    match role {
        Some(Role::ReverseProxy | Role::Selector | Role::WebServer) => Ok(()),
        Some(Role::Management) => Err(ProxyError::Internal("Can't map to service type management")),
        Some(Role::Echo) => Err(ProxyError::Internal("Can't map to service type echo")),
        Some(Role::UploadTracker) => Err(ProxyError::Internal("Can't map to service type upload_tracker")),
        None => Err(ProxyError::Internal("Can't map to a service without a role")),
    }
}

/// Tells that nobody answers. The connection stays open, unless there is a body.
pub(super) async fn unrouted(client: &mut Client, error: ProxyError, head: &RequestHead) -> Next {
    let keeps = client.keeps_behind(head);
    let is_sent = client.answer(error.into(), head.method, keeps).await;
    behind_unread(head, is_sent, keeps)
}
