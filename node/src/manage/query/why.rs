//! `why`: what this node would do with a request, by the very rules that requests go by. Nothing is sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use fleetbal_raft::model::{BackendAddress, FleetConfig, Plugin, PluginSpec, Role, ServiceName};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::health;
use crate::balance::{self, Pick, Plan};
use crate::checks::Why;
use crate::http::{ForwardedFor, Forwarding, Head, RequestHead, request};
use crate::manage::command::Supposed;
use crate::plugin::{Choice, Routes, fits};
use crate::role::Queues;
use crate::snapshot::{PoolView, ServiceView, Snapshot};

/// Through so many selectors, at most, as for requests.
const HOPS: usize = 5;

/// What it is looked up in.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// What this node balances by.
    pub snapshot: &'a Snapshot,
    /// Its queues.
    pub queues: &'a Queues,
}

/// The decision, step by step; the last line is what comes of it. `judged` is what is known of a pool's backends.
///
/// # Errors
/// Where no service listens there.
pub fn lines(
    supposed: &Supposed,
    place: Place<'_>,
    judged: impl Fn(&PoolView) -> Vec<Why>,
) -> Result<Vec<String>, String> {
    let mut steps = Steps {
        place,
        lines: vec![
            format!("version {}", place.snapshot.config.version),
            format!(
                "request {} {} for {}",
                supposed.method, supposed.target, supposed.host
            ),
        ],
    };
    let listening = steps.listening(supposed)?;
    let text = head(supposed);
    let end = match steps.service(listening, &text, supposed.secure) {
        Err(end) => end,
        Ok((service, head)) => match (service.role, &service.pool) {
            (Some(Role::WebServer), _) => Steps::file(service, &text),
            (_, None) => "503: The service has no pool.".to_owned(),
            (_, Some(pool)) => {
                steps.queue(service, &head);
                steps.choice(service, pool, &head, &judged(pool))
            }
        },
    };
    steps.tell(format!("decision {end}"));
    Ok(steps.lines)
}

struct Steps<'a> {
    place: Place<'a>,
    lines: Vec<String>,
}

impl<'a> Steps<'a> {
    fn tell(&mut self, line: String) {
        self.lines.push(line);
    }

    /// The service that accepts connections there.
    fn listening(&mut self, supposed: &Supposed) -> Result<&'a ServiceView, String> {
        let address: Option<IpAddr> = supposed.host.parse().ok();
        let all = self.place.snapshot.services().filter_map(|(_, view)| {
            let listen = view.listen.as_ref().ok().copied().flatten()?;
            let serves = matches!(
                view.role,
                Some(Role::ReverseProxy | Role::Selector | Role::WebServer)
            );
            (view.enabled && serves && listen.port() == supposed.port).then_some((view, listen))
        });
        // Who listens at that very address comes before who listens everywhere; a name may be any of them.
        let rank = |listen: SocketAddr| match address {
            Some(address) if listen.ip() == address => Some(0),
            Some(_) if listen.ip().is_unspecified() => Some(1),
            Some(_) => None,
            None => Some(2),
        };
        let found = all
            .filter_map(|(view, listen)| Some((rank(listen)?, view, listen)))
            .min_by_key(|(rank, ..)| *rank);
        let Some((_, view, listen)) = found else {
            let (host, port) = (&supposed.host, supposed.port);
            return Err(format!("no service listens for {host} on port {port}"));
        };
        let tls = if view.tls { " with TLS" } else { "" };
        self.tell(format!("listener {listen}{tls} of service {}", view.name));
        Ok(view)
    }

    /// The service that answers, and the head by its rules.
    ///
    /// # Errors
    /// What the client is told instead.
    fn service(
        &mut self,
        listening: &'a ServiceView,
        text: &[u8],
        secure: bool,
    ) -> Result<(&'a ServiceView, RequestHead), String> {
        let mut view = listening;
        for _ in 0..=HOPS {
            let mut output = Vec::new();
            let head = request::read(text, forwarding(view, secure), &mut output)
                .map_err(|error| format!("{}: {error}", error.status()))?
                .ok_or("400: the request is none")?;
            let role = view.role.map_or("no role", Role::name);
            self.tell(format!("service {} ({role})", view.name));
            let Some(routes) = &view.routes else {
                return Ok((view, head));
            };
            view = self.next(view, routes, Head::new(&output))?;
        }
        Err("500: services hand this request over to each other without end".to_owned())
    }

    /// Whom a selector hands it to.
    fn next(
        &mut self,
        view: &ServiceView,
        routes: &Routes,
        head: Head<'_>,
    ) -> Result<&'a ServiceView, String> {
        let (name, host) = match routes.choose(head) {
            Choice::Service(name) => (name, None),
            Choice::As(name, host) => (name, Some(String::from_utf8_lossy(host).into_owned())),
            Choice::NoPair => return Err("404: no rule for that pair of hosts".to_owned()),
            Choice::Nothing => return Err("404: no rule of the selector is for it".to_owned()),
            Choice::NoRules => return Err("500: the selector has no rules".to_owned()),
        };
        let rule = rule(&self.place.snapshot.config, &view.name, name, head);
        self.tell(format!("rule {rule}"));
        if let Some(host) = host {
            self.tell(format!("as if for host {host}"));
        }
        let found = self.place.snapshot.service(name.as_str());
        found
            .map(AsRef::as_ref)
            .ok_or_else(|| format!("404: there is no service '{name}'"))
    }

    fn file(service: &ServiceView, text: &[u8]) -> String {
        let docroot = service
            .web
            .as_ref()
            .and_then(|web| web.docroot.as_ref().ok()?.as_ref());
        match docroot {
            None => "500: the service has no docroot on this node".to_owned(),
            Some(docroot) => {
                let target = String::from_utf8_lossy(Head::new(text).target()).into_owned();
                let path = target.split('?').next().unwrap_or_default();
                format!("the file {}{path}", docroot.display())
            }
        }
    }

    fn queue(&mut self, service: &ServiceView, head: &RequestHead) {
        let class = if head.high_priority { "high" } else { "normal" };
        let queue = self.place.queues.find(&service.name);
        let now = Instant::now();
        let [high, normal, low] = queue.as_ref().map(|queue| queue.lengths(now)).unwrap_or_default();
        let idle = queue.as_ref().map_or(0, |queue| queue.connections().idle());
        self.tell(format!(
            "queue {class} priority; waiting: {} high, {} normal, {} low; idle connections: {idle}",
            high.count, normal.count, low.count
        ));
    }

    fn choice(
        &mut self,
        service: &ServiceView,
        pool: &PoolView,
        head: &RequestHead,
        judged: &[Why],
    ) -> String {
        let name = pool
            .backends()
            .first()
            .map(|backend| backend.key().pool.to_string());
        let name = name.unwrap_or_else(|| "without backends".to_owned());
        self.tell(format!("pool {name}, method {}", method(pool.plan())));
        let now = Instant::now();
        for at in 0..pool.backends().len() {
            self.candidate(pool, at, judged, now);
        }
        let idle = self.place.queues.find(&service.name);
        let idle = idle.map_or(0, |queue| queue.connections().idle());
        let chosen = Candidates::of(pool, now);
        if chosen.usable.is_empty() {
            "503: No backend is available.".to_owned()
        } else if pool.plan().takes_any_idle() && idle > 0 {
            "the idle connection that was used last".to_owned()
        } else if let Some(backend) = chosen.certain(pool, head.hash, now) {
            format!("a connection to {backend}")
        } else {
            let of = chosen.usable.len();
            format!("a connection to one of {of}, by {}", method(pool.plan()))
        }
    }

    fn candidate(&mut self, pool: &PoolView, at: usize, judged: &[Why], now: Instant) {
        let Some(backend) = pool.backends().get(at) else {
            return;
        };
        let word = match (pool.is_draining(at), backend.is_barred(now)) {
            (true, _) => "gets nothing more",
            (false, true) => "only where there is no other",
            (false, false) => "can be chosen",
        };
        let why = judged.iter().find(|why| why.health.key == *backend.key());
        let verdict = why.map_or_else(|| "not judged yet".to_owned(), health::verdict);
        self.tell(format!(
            "candidate {} weight {}: {word}; {verdict}; {} connections",
            backend.address(),
            pool.weight_of(at),
            backend.open_connections()
        ));
    }
}

/// The backends that one is chosen from.
struct Candidates {
    usable: Vec<usize>,
}

impl Candidates {
    /// Those that are welcome; where nobody is, all that are not draining.
    fn of(pool: &PoolView, now: Instant) -> Self {
        let places = 0..pool.backends().len();
        let there: Vec<_> = places.filter(|at| !pool.is_draining(*at)).collect();
        let is_welcome = |at: &usize| {
            pool.backends()
                .get(*at)
                .is_some_and(|backend| !backend.is_barred(now))
        };
        let welcome: Vec<_> = there.iter().copied().filter(is_welcome).collect();
        Self {
            usable: if welcome.is_empty() { there } else { welcome },
        }
    }

    /// The backend that it will be, where no chance is in it.
    fn certain(&self, pool: &PoolView, hash: u64, now: Instant) -> Option<BackendAddress> {
        let at = match (pool.plan(), self.usable.as_slice()) {
            (_, [only]) => Some(*only),
            (Plan::Hash(_), _) => {
                let pick = Pick { turn: 0, hash, now };
                let rng = &mut StdRng::seed_from_u64(0);
                balance::pick(pool, pick, |at| self.usable.contains(&at), rng)
            }
            (
                Plan::Random
                | Plan::RoundRobin(_)
                | Plan::Weighted
                | Plan::LeastConnections
                | Plan::ResponseTime
                | Plan::ReportedLoad,
                _,
            ) => None,
        };
        pool.backends().get(at?).map(|backend| backend.address())
    }
}

fn method(plan: &Plan) -> &'static str {
    match plan {
        Plan::Random => "random",
        Plan::RoundRobin(_) => "round_robin",
        Plan::Weighted => "weighted",
        Plan::LeastConnections => "least_connections",
        Plan::ResponseTime => "response_time",
        Plan::ReportedLoad => "reported_load",
        Plan::Hash(_) => "hash",
    }
}

/// The rule of a selector that chose: the plugins are asked in order, and of hosts the longest pattern counts.
fn rule(config: &FleetConfig, selector: &ServiceName, chosen: &ServiceName, head: Head<'_>) -> String {
    let Some(service) = config.service(selector.as_str()) else {
        return String::new();
    };
    for plugin in service.plugins() {
        let directives = service.spec(plugin).into_iter().flat_map(PluginSpec::directives);
        let fitting = directives.filter(|directive| fits(directive, chosen, head));
        let mut texts: Vec<_> = fitting
            .map(|directive| format!("{selector}: {directive}"))
            .collect();
        if *plugin == Plugin::Vhosts {
            texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
        if let Some(text) = texts.into_iter().next() {
            return text;
        }
    }
    format!("SET {selector}.default_service = {chosen}")
}

/// The request as somebody on this machine would send it.
fn head(supposed: &Supposed) -> Vec<u8> {
    let is_host = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("host");
    let host = supposed.fields.iter().find(is_host);
    let host = host.map_or(supposed.authority.as_str(), |(_, value)| value);
    let mut text = format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\n",
        supposed.method, supposed.target
    );
    for (name, value) in supposed.fields.iter().filter(|field| !is_host(field)) {
        text.extend([name, ": ", value, "\r\n"]);
    }
    (text + "\r\n").into_bytes()
}

fn forwarding(view: &ServiceView, secure: bool) -> Forwarding<'_> {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Forwarding {
        peer: b"127.0.0.1",
        forwarded_for: if view.settings.trust.trusts(peer) {
            ForwardedFor::Append
        } else {
            ForwardedFor::Replace
        },
        persist_backend: view.settings.persist_backend,
        special: view.settings.special.as_ref(),
        secure,
    }
}
