//! `PUT` and `GET /api/v1/plugins/NAME`: plugins in Lua.

use std::sync::Arc;

use fleetbal_raft::model::{Batch, Change, FleetConfig, Plugin, ScriptName, Typist};
use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::super::Context;
use super::super::execute::change::carry_out;
use super::Answer;
use super::answer::{plain, refuse};
use super::body::body;
use crate::plugin::lua::{Place, check};

/// What stands in front of a name.
pub(super) const PATH: &str = "/api/v1/plugins/";

/// The source of a plugin.
pub(super) fn show(request: &Request<Incoming>, context: &Context) -> Answer {
    let name = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    match context.view.load().config.script(name) {
        Some(source) => plain(StatusCode::OK, source),
        None => *refuse(StatusCode::NOT_FOUND, "there is no such plugin"),
    }
}

/// Makes the body the source of a plugin, if it is one, and one that runs on the services that have the plugin.
pub(super) async fn push(request: Request<Incoming>, context: &Context, typist: &Typist) -> Answer {
    let name = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    let name = match ScriptName::parse(name) {
        Ok(name) => name,
        Err(error) => return *refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return *refusal,
    };
    let Ok(source) = std::str::from_utf8(&bytes) else {
        return *refuse(StatusCode::UNPROCESSABLE_ENTITY, "a plugin is text in UTF-8");
    };
    let source: Arc<str> = source.into();
    let places = places(&name, &context.view.load().config);
    let (checked, text) = (name.clone(), Arc::clone(&source));
    // It may take a moment, and is nobody's to wait for.
    let checked = tokio::task::spawn_blocking(move || check(&checked, &text, &places)).await;
    match checked {
        Ok(Ok(())) => {}
        Ok(Err(text)) => return *refuse(StatusCode::UNPROCESSABLE_ENTITY, &text),
        Err(_) => {
            return *refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the plugin could not be checked",
            );
        }
    }
    let change = Change::PutScript {
        name: name.clone(),
        source,
    };
    match carry_out(Batch::of(vec![change]), typist, context).await {
        Ok(version) => plain(StatusCode::OK, &format!("plugin {name}: version {version}")),
        Err(refusal) => *refuse(StatusCode::CONFLICT, &refusal.text),
    }
}

/// The services that have it.
fn places(name: &ScriptName, config: &FleetConfig) -> Vec<Place> {
    let plugin = Plugin::Script(name.clone());
    let services = config.services();
    services
        .filter(|(_, service)| service.plugins().contains(&plugin))
        .map(|(name, service)| Place {
            service: name.clone(),
            role: service.role(),
        })
        .collect()
}
