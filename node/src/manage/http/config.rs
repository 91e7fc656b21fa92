//! `POST /api/v1/config/diff`, `PUT /api/v1/config`: what a file would change, and that it is changed.

use std::time::Duration;

use fleetbal_raft::model::{Typist, Version};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::time::timeout;

use super::super::Context;
use super::super::execute::local::sync;
use super::super::execute::plan::{self, Plan};
use super::Answer;
use super::answer::{json, plain};
use super::body::body;

/// How long a file may wait for what the fleet has agreed on before it is compared.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// What became of a file.
#[derive(Debug, Serialize)]
struct Outcome {
    /// The version that was compared with or, where something was changed, the new one.
    version: u64,
    /// What comes and what goes.
    lines: Vec<String>,
}

/// What the query of the target asks for.
#[derive(Debug, Default)]
struct Conditions {
    if_version: Option<Version>,
    confirm: Option<u32>,
}

/// Says what would change, and changes nothing.
pub(super) async fn diff(request: Request<Incoming>, context: &Context) -> Answer {
    match read(request, context).await {
        Ok(plan) => told(plan.version, plan.lines),
        Err(answer) => *answer,
    }
}

/// Makes the fleet's configuration the file's, as one version.
pub(super) async fn apply(request: Request<Incoming>, context: &Context, typist: &Typist) -> Answer {
    let Some(conditions) = conditions(request.uri().query().unwrap_or_default()) else {
        let text = "the query may have if_version=<number> and confirm=<seconds>";
        return plain(StatusCode::BAD_REQUEST, text);
    };
    let mut plan = match read(request, context).await {
        Ok(plan) => plan,
        Err(answer) => return *answer,
    };
    // The fleet refuses it where this one is not its own.
    plan.version = conditions.if_version.unwrap_or(plan.version);
    if plan.is_empty() && conditions.if_version.is_none() {
        return told(plan.version, Vec::new());
    }
    let lines = std::mem::take(&mut plan.lines);
    match plan::apply(plan, conditions.confirm, typist, context).await {
        Ok(version) => told(version, lines),
        Err(text) => plain(StatusCode::CONFLICT, &text),
    }
}

async fn read(request: Request<Incoming>, context: &Context) -> Result<Plan, Box<Answer>> {
    let text = body(request).await?;
    // What another node was told just now counts as well. Without a majority it is compared with what there is here,
    // and a change is refused by the fleet.
    drop(timeout(CATCHING_UP, sync(context)).await);
    plan::plan(&text, context).map_err(|text| Box::new(plain(StatusCode::UNPROCESSABLE_ENTITY, &text)))
}

fn told(version: Version, lines: Vec<String>) -> Answer {
    let outcome = Outcome {
        version: version.0,
        lines,
    };
    // Text and numbers only: there is nothing that could fail.
    json(
        StatusCode::OK,
        serde_json::to_string(&outcome).unwrap_or_default(),
    )
}

fn conditions(query: &str) -> Option<Conditions> {
    let mut conditions = Conditions::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("if_version", number) => conditions.if_version = Some(Version(number.parse().ok()?)),
            ("confirm", seconds) => conditions.confirm = Some(seconds.parse().ok()?),
            _ => return None,
        }
    }
    Some(conditions)
}
