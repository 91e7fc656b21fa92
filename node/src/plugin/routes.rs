//! Which service a selector hands a request to: Perlbal's plugins Vhosts and Vpaths (reference, sections 7 and 8.2).

use std::time::Duration;

use fleetbal_raft::model::{Directive, Plugin, PluginSpec, Service, ServiceName, Value};
use regex::bytes::Regex;

use super::hosts::{self, Hosts};
use crate::http::Head;
use crate::http::special::HeaderRules;

/// The rules of a selector.
#[derive(Debug)]
pub struct Routes {
    tables: Vec<Table>,
    default: Option<ServiceName>,
    /// How long each request waits before it is handed on.
    pub latency: Option<Duration>,
    header_rules: HeaderRules,
}

#[derive(Debug)]
enum Table {
    Hosts(Hosts<ServiceName>),
    Paths(Vec<(Regex, ServiceName)>),
}

/// What the rules say of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This service answers.
    Service(&'a ServiceName),
    /// This service answers, as if the request were for this host.
    As(&'a ServiceName, &'a [u8]),
    /// The request asks for a host by another one's name, and no rule allows that.
    NoPair,
    /// No rule is for it.
    Nothing,
    /// There are no rules at all.
    NoRules,
}

/// What a request for a host by another one's name begins with: `/__using/HOST/WORD`.
const USING: &[u8] = b"/__using/";

impl Routes {
    /// Those of a selector.
    pub fn new(service: &Service, header_rules: HeaderRules) -> Self {
        let tables = service.plugins().iter().filter_map(|plugin| {
            let spec = service.spec(plugin);
            let directives = spec.into_iter().flat_map(PluginSpec::directives);
            if *plugin == Plugin::Vhosts {
                Some(Table::hosts(directives))
            } else {
                (*plugin == Plugin::Vpaths).then(|| Table::paths(directives))
            }
        });
        let default = match service.value("default_service") {
            Some(Value::Service(name)) => Some(name),
            _ => None,
        };
        let latency = service.number("latency");
        Self {
            tables: tables.collect(),
            default,
            header_rules,
            latency: (latency > 0).then(|| Duration::from_millis(latency)),
        }
    }

    /// A head as the chosen service is to read it, for this host where there is one; none: as it was sent.
    pub fn edit(&self, sent: &[u8], host: Option<&[u8]>) -> Option<Vec<u8>> {
        if self.header_rules.is_empty() && host.is_none() {
            return None;
        }
        let edited = self.header_rules.edit(sent);
        let Some(host) = host else {
            return Some(edited);
        };
        let mut rules = HeaderRules::default();
        // It has the bytes of a host.
        rules.insert("Host", host).ok()?;
        Some(rules.edit(&edited))
    }

    /// Who answers a request. The plugins are asked in the order in which the service has them.
    pub fn choose<'a>(&'a self, head: Head<'a>) -> Choice<'a> {
        if self.tables.is_empty() && self.default.is_none() {
            return Choice::NoRules;
        }
        for table in &self.tables {
            let found = table.find(head);
            if found != Choice::Nothing {
                return found;
            }
        }
        self.default.as_ref().map_or(Choice::Nothing, Choice::Service)
    }
}

impl Table {
    fn hosts<'a>(directives: impl Iterator<Item = &'a Directive>) -> Self {
        let mut hosts = Hosts::default();
        for directive in directives {
            if let Directive::Vhost { pattern, target } = directive {
                hosts.insert(pattern, target.clone());
            }
        }
        Self::Hosts(hosts)
    }

    fn paths<'a>(directives: impl Iterator<Item = &'a Directive>) -> Self {
        let mut paths = Vec::new();
        for directive in directives {
            if let Directive::Vpath { pattern, target } = directive {
                match Regex::new(pattern) {
                    Ok(regex) => paths.push((regex, target.clone())),
                    // It compiled when it was typed; another release may see that in another way.
                    Err(error) => tracing::error!(%error, "the VPATH rule is left out"),
                }
            }
        }
        Self::Paths(paths)
    }

    fn find<'a>(&'a self, head: Head<'a>) -> Choice<'a> {
        match self {
            Self::Hosts(hosts) => {
                let host = hosts::name(head.field("Host").unwrap_or_default());
                if let Some(other) = used(head.target()) {
                    let pair = [&host[..], b";using:", &other.to_ascii_lowercase()].concat();
                    return match hosts.find_exactly(&pair) {
                        Some(service) => Choice::As(service, other),
                        None => Choice::NoPair,
                    };
                }
                hosts.find(&host).map_or(Choice::Nothing, Choice::Service)
            }
            Self::Paths(paths) => {
                let found = paths.iter().find(|(regex, _)| regex.is_match(head.target()));
                found.map_or(Choice::Nothing, |(_, service)| Choice::Service(service))
            }
        }
    }
}

/// Whether a rule alone would have that service answer a request.
pub fn fits(rule: &Directive, chosen: &ServiceName, head: Head<'_>) -> bool {
    let tables = [
        Table::hosts(std::iter::once(rule)),
        Table::paths(std::iter::once(rule)),
    ];
    let is_chosen = |table: &Table| match table.find(head) {
        Choice::Service(name) | Choice::As(name, _) => name == chosen,
        Choice::NoPair | Choice::Nothing | Choice::NoRules => false,
    };
    tables.iter().any(is_chosen)
}

/// The host that a request asks for by another one's name.
fn used(target: &[u8]) -> Option<&[u8]> {
    let path = target.split(|byte| *byte == b'?').next()?;
    let (host, word) = {
        let rest = path.strip_prefix(USING)?;
        let slash = memchr::memchr(b'/', rest)?;
        (rest.get(..slash)?, rest.get(slash + 1..)?)
    };
    let is_word = |text: &[u8], more: &[u8]| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || more.contains(byte);
        !text.is_empty() && text.iter().all(plain)
    };
    (is_word(host, b".-") && is_word(word, b"")).then_some(host)
}

#[cfg(test)]
mod tests {
    use fleetbal_raft::model::{Batch, Change, FleetConfig};

    use super::*;

    fn routes(lines: &[(&str, &str)], plugins: &str, default: Option<&str>) -> Routes {
        let name = |name: &str| ServiceName::parse(name).unwrap();
        let set = |key: &str, value: &str| Change::Set {
            object: "sel".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let load = |plugin: &str| Change::SetLoaded {
            plugin: plugin.to_owned(),
            loaded: true,
        };
        let mut changes = vec![
            load("vhosts"),
            load("vpaths"),
            Change::CreateService(name("px")),
            Change::CreateService(name("sel")),
            set("role", "selector"),
            set("plugins", plugins),
        ];
        changes.extend(default.map(|service| set("default_service", service)));
        changes.extend(lines.iter().map(|(pattern, target)| {
            let (pattern, target) = ((*pattern).to_owned(), name(target));
            Change::Direct {
                service: "sel".to_owned(),
                directive: if pattern.starts_with('^') {
                    Directive::Vpath { pattern, target }
                } else {
                    Directive::Vhost { pattern, target }
                },
            }
        }));
        let batch = Batch::of(changes);
        let config = FleetConfig::default().with_batch(&batch).unwrap();
        Routes::new(config.service("sel").unwrap(), HeaderRules::default())
    }

    fn chosen(routes: &Routes, host: &str, target: &str) -> String {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        match routes.choose(Head::new(head.as_bytes())) {
            Choice::Service(name) => name.to_string(),
            Choice::As(name, host) => format!("{name} as {}", String::from_utf8_lossy(host)),
            other @ (Choice::NoPair | Choice::Nothing | Choice::NoRules) => format!("{other:?}"),
        }
    }

    #[test]
    fn plugins_are_asked_in_turn() {
        let lines = [
            ("a.com", "a"),
            ("a.com;using:b.com", "b"),
            ("^/api/", "api"),
            ("^/api/v2/", "never"),
        ];
        let both = routes(&lines, "vhosts vpaths", None);
        assert_eq!(chosen(&both, "A.com:80", "/api/"), "a");
        assert_eq!(chosen(&both, "c.com", "/api/v2/"), "api");
        assert_eq!(chosen(&both, "c.com", "/other"), "Nothing");
        assert_eq!(chosen(&both, "a.com", "/__using/B.com/word?x"), "b as B.com");
        assert_eq!(chosen(&both, "c.com", "/__using/b.com/word"), "NoPair");
        assert_eq!(chosen(&both, "a.com", "/__using/b.com/"), "a");
        let turned = routes(&lines, "vpaths, vhosts", Some("px"));
        assert_eq!(chosen(&turned, "a.com", "/api/"), "api");
        assert_eq!(chosen(&turned, "c.com", "/other"), "px");
        assert_eq!(chosen(&routes(&lines, "none", None), "a.com", "/"), "NoRules");
        assert_eq!(chosen(&routes(&lines, "none", Some("px")), "a.com", "/"), "px");
    }
}
