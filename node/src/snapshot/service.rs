//! Services with their settings in types, so that a request looks nothing up by name.

mod log;
mod settings;
mod special;
mod web;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::model::{FleetConfig, Network, Role, Service, ServiceName, Value};

use super::pool::PoolView;
use super::variables::NodeVariables;
use crate::http::Special;
use crate::plugin::{self, Feed, Hooks, Routes};
pub use log::{LogFormat, LogSettings, LogTarget};
pub use settings::{QueueSettings, ReproxySettings, RetrySettings, UploadSettings};
use settings::{seconds, size};
pub use web::{StoreSettings, WebSettings};

/// A service of one version, as this node runs it.
#[derive(Debug)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Its role, once set.
    pub role: Option<Role>,
    /// Whether it serves.
    pub enabled: bool,
    /// Where it listens on this node; none where no address was set; an error where this node cannot tell.
    pub listen: Result<Option<SocketAddr>, String>,
    /// Whether its clients speak TLS.
    pub tls: bool,
    /// The pool that it balances over.
    pub pool: Option<Arc<PoolView>>,
    /// Whom it hands requests to, if it is a selector.
    pub routes: Option<Routes>,
    /// What its plugins do to requests; none where they do nothing.
    pub hooks: Option<Arc<Hooks>>,
    /// How it forwards.
    pub settings: ProxySettings,
    /// What it serves, where it serves files.
    pub web: Option<Box<WebSettings>>,
    /// After which time a line comes back, where it echoes.
    pub echo_delay: Duration,
    /// What it writes of its requests; none: nothing.
    pub log: Option<Box<LogSettings>>,
}

/// What tunes a service that forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Whether client connections are kept open between requests.
    pub persist_client: bool,
    /// How long an idle client connection is kept; none: for ever.
    pub persist_client_idle_timeout: Option<Duration>,
    /// How long a client or backend may make no progress; none: for ever.
    pub idle_timeout: Option<Duration>,
    /// Whether backends are asked to keep connections open.
    pub persist_backend: bool,
    /// Idle backend connections that the node keeps for this service, at most.
    pub backend_persist_cache: usize,
    /// The lines that tell a client that its connection is kept open.
    pub keep_alive_lines: Vec<u8>,
    /// Whether pages of this node's own carry a `Server` header.
    pub server_tokens: bool,
    /// Whose X-Forwarded-For is believed.
    pub trust: Trust,
    /// The request that verifies a new backend connection; none: it is used as it is.
    pub verify_request: Option<Arc<[u8]>>,
    /// What it does to requests beyond the plain.
    pub special: Option<Special>,
    /// Requests that one backend connection serves, at most; 0 is without limit.
    pub max_backend_uses: u64,
    /// Bytes of a response that wait for a slow client; then its backend is read no further.
    pub buffer_size: usize,
    /// `SO_SNDBUF` of accepted connections in bytes; 0 is the kernel's.
    pub client_sndbuf_size: usize,
    /// How requests wait for a backend.
    pub queue: QueueSettings,
    /// When a request is tried again.
    pub retries: RetrySettings,
    /// How request bodies are taken in.
    pub uploads: UploadSettings,
    /// What backends may ask for in their answers.
    pub reproxy: ReproxySettings,
}

/// Whose X-Forwarded-For is believed, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Everybody's.
    pub always: bool,
    /// That of peers in these networks.
    pub networks: Vec<Network>,
    /// Whether that of a trusted peer is passed on as it is, without the peer's address.
    pub blind: bool,
}

impl Trust {
    /// Whether a peer is trusted.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.always || self.networks.iter().any(|network| network.contains(peer))
    }
}

impl ServiceView {
    pub(super) fn new(
        name: &ServiceName,
        service: &Service,
        pool: Option<Arc<PoolView>>,
        config: &FleetConfig,
        (variables, feed): (&NodeVariables, &Arc<Feed>),
        before: Option<&Self>,
    ) -> Self {
        let hooks_before = before.and_then(|view| view.hooks.as_deref());
        Self {
            name: name.clone(),
            role: service.role(),
            enabled: service.enabled,
            routes: (service.role() == Some(Role::Selector))
                .then(|| Routes::new(service, special::header_rules(service, variables))),
            hooks: plugin::builtin::hooks(name, service, config, hooks_before, feed, &|variable| {
                variables.fill(variable)
            }),
            listen: service.listen_on(|variable| variables.fill(variable)),
            tls: service.flag("enable_ssl"),
            settings: ProxySettings::new(service, pool.as_deref(), variables),
            web: (service.role() == Some(Role::WebServer))
                .then(|| Box::new(WebSettings::new(service, config.mime(), variables))),
            echo_delay: Duration::from_secs(service.number("echo_delay")),
            // Where this node cannot tell where to, that is an effect that fails.
            log: LogSettings::of(service, variables).ok().flatten().map(Box::new),
            pool,
        }
    }
}

impl ProxySettings {
    fn new(service: &Service, pool: Option<&PoolView>, variables: &NodeVariables) -> Self {
        Self {
            persist_client: service.flag("persist_client"),
            persist_client_idle_timeout: seconds(service, "persist_client_idle_timeout"),
            idle_timeout: seconds(service, "idle_timeout"),
            persist_backend: service.flag("persist_backend"),
            backend_persist_cache: size(service, "backend_persist_cache"),
            keep_alive_lines: keep_alive_lines(service.number("persist_client_idle_timeout")),
            server_tokens: service.flag("server_tokens"),
            trust: Trust {
                always: service.flag("always_trusted"),
                networks: networks(service),
                blind: service.flag("blind_proxy"),
            },
            verify_request: service
                .flag("verify_backend")
                .then(|| verify_request(service, variables)),
            special: special::compile(service, pool, variables),
            max_backend_uses: service.number("max_backend_uses"),
            buffer_size: size(service, "buffer_size"),
            client_sndbuf_size: size(service, "client_sndbuf_size"),
            queue: QueueSettings::new(service),
            retries: RetrySettings::new(service),
            uploads: UploadSettings::new(service, variables),
            reproxy: ReproxySettings::new(service, variables),
        }
    }
}

/// Perlbal's lines, without a `max` that nobody counts. A client that is told the time does not send into a close.
fn keep_alive_lines(seconds: u64) -> Vec<u8> {
    match seconds {
        0 => b"Connection: keep-alive\r\n".to_vec(),
        _ => format!("Connection: keep-alive\r\nKeep-Alive: timeout={seconds}\r\n").into_bytes(),
    }
}

fn networks(service: &Service) -> Vec<Network> {
    if let Some(Value::Networks(networks, _)) = service.value("trusted_upstream_proxies") {
        networks
    } else {
        Vec::new()
    }
}

/// Perlbal's bytes (reference, section 4.6).
fn verify_request(service: &Service, variables: &NodeVariables) -> Arc<[u8]> {
    let path = service.value("verify_backend_path").and_then(Value::into_text);
    let path = path.and_then(|path| path.expand(|variable| variables.fill(variable)).ok());
    // A path that would break the request line, or that this node cannot fill in, gives way to the default.
    let path = path.filter(|path| !path.is_empty() && path.bytes().all(|b| b.is_ascii_graphic()));
    let path = path.as_deref().unwrap_or("*");
    format!("OPTIONS {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .into_bytes()
        .into()
}
