//! Timers of plugins in Lua: they come without a request, and end with their version.

use std::sync::Arc;

use fleetbal::plugin::{Failures, Hooks};
use fleetbal_raft::model::{Plugin, ScriptName};

use crate::fixture::{Origin, Proxy, until};
use crate::plugins::{ask, plug};

/// What became of a plugin so far, told by what its service had at some time.
fn failures(hooks: &Hooks, name: &str) -> Failures {
    let plugin = Plugin::Script(ScriptName::parse(name).unwrap());
    hooks.of(&plugin).unwrap().failures().unwrap()
}

fn hooks(proxy: &Proxy) -> Arc<Hooks> {
    let snapshot = proxy.view.load();
    Arc::clone(snapshot.service("s").unwrap().hooks.as_ref().unwrap())
}

const FAILING: &str = r#"
return {
    register = function(service)
        fleetbal.every(0.01, function()
            error("on purpose")
        end)
    end,
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn they_come_without_a_request_and_their_failures_count() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[("plugin_max_errors", "3")]);
    plug(&mut proxy, "Failing", FAILING);
    let hooks = hooks(&proxy);
    until("it to be off", || failures(&hooks, "Failing").is_off()).await;
    let failures = failures(&hooks, "Failing");
    assert_eq!(
        (failures.count, failures.total),
        (3, 3),
        "it is not called any more"
    );
    let reason = failures.off.unwrap().reason;
    assert!(reason.ends_with("Failing.lua:5: on purpose"), "{reason}");
}

const TICKING: &str = r#"
local shared = fleetbal.shared
return {
    register = function(service)
        fleetbal.after(0.01, function() shared.incr("once") end)
        local never = fleetbal.after(0.01, function() shared.incr("never") end)
        never:cancel()
        local thrice
        thrice = fleetbal.every(0.01, function()
            if shared.incr("thrice") == 3 then
                thrice:cancel()
            end
        end)
        fleetbal.every(0.01, function() shared.incr("VERSION") end)
        service:register_hook("start_proxy_request", function(request)
            if request:uri() == "/later" then
                fleetbal.after(0, function() shared.incr("later") end)
            end
            local told = {}
            for _, key in { "once", "never", "thrice", "later", "v1", "v2" } do
                table.insert(told, tostring(shared.get(key)))
            end
            return request:respond(200, {}, table.concat(told, " "))
        end)
    end,
}
"#;

/// Asks until the plugin has counted so far, and says what it tells then.
async fn told(proxy: &Proxy, holds: impl Fn(&[Option<u64>]) -> bool) -> Vec<Option<u64>> {
    let mut client = proxy.client().await;
    let give_up = std::time::Instant::now() + crate::fixture::PATIENCE;
    loop {
        let answer = ask(&mut client, "/").await;
        let told: Vec<_> = answer.text().split(' ').map(|word| word.parse().ok()).collect();
        if holds(&told) {
            return told;
        }
        assert!(std::time::Instant::now() < give_up, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_come_once_or_again_and_end_with_their_version() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    plug(&mut proxy, "Ticking", &TICKING.replace("VERSION", "v1"));
    ask(&mut proxy.client().await, "/later").await;
    let first = told(&proxy, |told| told[4] > Some(10) && told[3].is_some()).await;
    assert_eq!(first[..4], [Some(1), None, Some(3), Some(1)], "{first:?}");
    plug(&mut proxy, "Ticking", &TICKING.replace("VERSION", "v2"));
    let second = told(&proxy, |told| told[5] > Some(0)).await;
    let third = told(&proxy, |told| told[5] > second[5].map(|count| count + 10)).await;
    assert_eq!(second[4], third[4], "the version before is still there");
    assert_eq!(third[0], Some(2), "it began anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_end_where_the_service_does_without() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[("plugin_max_errors", "0")]);
    plug(&mut proxy, "Failing", FAILING);
    // Held on to, as by a request that takes long.
    let old = hooks(&proxy);
    until("it to fail", || failures(&old, "Failing").count > 0).await;
    plug(&mut proxy, "Other", FAILING);
    let ended = failures(&old, "Failing").count;
    let now = hooks(&proxy);
    until("the other one to fail", || failures(&now, "Other").count > 10).await;
    // One call may have been on its way.
    assert!(failures(&old, "Failing").count <= ended + 1);
}

#[test]
fn there_are_only_so_many_and_only_so_often() {
    let refused = |body: &str| {
        let source = format!("return {{\n load = function()\n{body}\n end }}");
        let name = ScriptName::parse("Own").unwrap();
        fleetbal::plugin::lua::check(&name, &source, &[]).unwrap_err()
    };
    for (body, says) in [
        (
            "for n = 1, 65 do fleetbal.after(1, print) end",
            "Own.lua:3: a plugin has 64 timers at most on each worker",
        ),
        (
            "fleetbal.every(0.001, print)",
            "Own.lua:3: a timer comes again after 0.01 s or more",
        ),
        (
            "fleetbal.after(-1, print)",
            "Own.lua:3: a time is a number of seconds",
        ),
    ] {
        let refused = refused(body);
        assert!(refused.contains(says), "{body}: {refused}");
    }
}
