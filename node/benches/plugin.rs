//! What plugins add to a request: `cargo bench --bench plugin`. `none` is a service without any, `unasked` one whose
//! plugin is asked nowhere that its requests come to, `empty` one whose hook in Lua does nothing; all of them with all that a
//! request needs for them.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result};
use criterion::{Criterion, criterion_group, criterion_main};
use fleetbal::plugin::{Facts, Outcome, RequestContext};
use fleetbal::snapshot::{NodeVariables, Publisher, ServiceView};
use fleetbal_raft::model::{Batch, Change, FleetConfig, ScriptName, ServiceName};

const REQUEST: &[u8] =
    b"GET /news/2024/05/?page=2 HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 \
    (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0\r\nAccept: text/html,application/xhtml+xml\r\n\
    Accept-Encoding: gzip, deflate, br\r\nCookie: session=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";

/// A plugin with an empty hook.
fn empty(hook: &str) -> String {
    format!(
        "return {{ register = function(service) \
         service:register_hook('{hook}', function(request) end) end }}"
    )
}

/// A service with an empty hook of that name, or with none.
fn service(hook: Option<&str>) -> Result<Arc<ServiceView>> {
    let set = |key: &str, value: &str| Change::Set {
        object: "s".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let mut changes = vec![
        Change::CreateService(ServiceName::parse("s")?),
        set("role", "reverse_proxy"),
    ];
    if let Some(hook) = hook {
        changes.extend([
            Change::PutScript {
                name: ScriptName::parse("Empty")?,
                source: empty(hook).into(),
            },
            Change::SetLoaded {
                plugin: "Empty".to_owned(),
                loaded: true,
            },
            set("plugins", "Empty"),
        ]);
    }
    let config = FleetConfig::default().with_batch(&Batch::of(changes));
    let config = config.map_err(|refusal| anyhow::anyhow!(refusal.text))?;
    let (mut publisher, view) = Publisher::new(NodeVariables::default());
    publisher.publish(&Arc::new(config));
    let snapshot = view.load();
    snapshot.service("s").cloned().context("it is there")
}

// Not inlined, so that callgrind tells what a call takes.
#[inline(never)]
fn ask(view: &ServiceView) -> bool {
    let hooks = black_box(view).hooks.as_ref();
    let Some(hooks) = hooks.filter(|hooks| hooks.are_asked()) else {
        return true;
    };
    let mut context = RequestContext::new(Facts::default(), black_box(REQUEST), None);
    let outcome = hooks.run(hooks.start(), &mut context);
    hooks.end(&mut context);
    outcome == Outcome::Next
}

fn hooks(criterion: &mut Criterion) {
    for (name, hook) in [
        ("none", None),
        ("unasked", Some("end_web_request")),
        ("empty", Some("start_proxy_request")),
    ] {
        match service(hook) {
            Ok(view) => {
                criterion.bench_function(name, |bencher| bencher.iter(|| ask(&view)));
            }
            Err(error) => eprintln!("ERROR: {name}: {error:#}"),
        }
    }
}

criterion_group!(benches, hooks);
criterion_main!(benches);
