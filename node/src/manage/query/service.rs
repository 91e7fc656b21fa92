//! `show service [NAME]`, byte for byte Perlbal's.

use fleetbal_raft::model::{FleetConfig, Role, Service, ServiceName, Value, Variable};

use super::Figures;

/// Fills in what a variable stands for on this node.
pub type Fill<'a> = &'a dyn Fn(&Variable) -> Result<String, String>;

/// One line a service, by name.
pub fn list(config: &FleetConfig, fill: Fill<'_>) -> Vec<String> {
    let line = |(name, service): (&ServiceName, &std::sync::Arc<Service>)| {
        let listen = listening(service, fill).unwrap_or_else(|| "not_listening".to_owned());
        let state = if service.enabled { "ENABLED" } else { "DISABLED" };
        format!("{name} {listen} {state}")
    };
    config.services().map(line).collect()
}

/// All of one service; none where there is no such service.
pub fn show(config: &FleetConfig, name: &str, fill: Fill<'_>, figures: &dyn Figures) -> Option<Vec<String>> {
    let (name, service) = config.services().find(|(known, _)| known.as_str() == name)?;
    let listen = listening(service, fill).unwrap_or_else(|| "--".to_owned());
    let role = service.role().map_or("", Role::name);
    let mut lines = vec![
        format!("SERVICE {name}"),
        format!("     listening: {listen}"),
        format!("          role: {role}"),
    ];
    match service.role() {
        Some(Role::ReverseProxy) => show_proxy(config, name, service, figures, &mut lines),
        Some(Role::WebServer) => show_web(service, fill, &mut lines),
        Some(Role::Echo | Role::Management | Role::Selector | Role::UploadTracker) | None => {}
    }
    Some(lines)
}

/// A web server waits for nobody, and has no backends; Perlbal prints the lines all the same.
fn show_web(service: &Service, fill: Fill<'_>, lines: &mut Vec<String>) {
    lines.push("  pend clients: 0".to_owned());
    lines.push("  pend backend: 0".to_owned());
    let docroot = service.value("docroot").and_then(Value::into_text);
    let path = docroot.map(|docroot| docroot.expand(fill).unwrap_or_else(|_| docroot.to_string()));
    lines.push(format!("        docroot: {}", path.unwrap_or_default()));
}

fn show_proxy(
    config: &FleetConfig,
    name: &ServiceName,
    service: &Service,
    figures: &dyn Figures,
    lines: &mut Vec<String>,
) {
    lines.push(format!("  pend clients: {}", figures.pending_clients(name)));
    let pending = figures.pending_backends(name);
    lines.push(format!("  pend backend: {}", pending.len()));
    lines.extend(pending);
    show_cache(name, service, figures, lines);
    let ahead = service.number("connect_ahead");
    lines.push(format!(" connect-ahead: {}/{ahead}", figures.idle_backends(name)));
    let Some(pool) = service.pool() else { return };
    lines.push(format!("          pool: {pool}"));
    lines.push("         nodes:".to_owned());
    let backends = config.pool(pool.as_str()).map_or(&[][..], |pool| pool.backends());
    let requests = figures.requests_by_backend(pool);
    for backend in backends {
        let requests = requests.get(&backend.address).copied().unwrap_or_default();
        lines.push(format!(
            "                {:<21} {requests:>7}",
            backend.address.to_string()
        ));
    }
}

/// The cache of reproxied URLs, where there is one.
fn show_cache(name: &ServiceName, service: &Service, figures: &dyn Figures, lines: &mut Vec<String>) {
    let limit = service.number("reproxy_cache_maxsize");
    if limit == 0 {
        return;
    }
    let cache = figures.reproxy_cache(name);
    let size = cache.size as u64;
    lines.push(format!(
        "    cache size: {size}/{limit} ({})",
        percent(size, limit)
    ));
    lines.push(format!("    cache hits: {}", cache.hits));
    lines.push(format!("cache hit rate: {}", percent(cache.hits, cache.lookups)));
}

/// A part of a whole with two decimals; nothing of nothing is nothing.
fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000;
    let whole = u128::from(whole.max(1));
    let rounded = (hundredths + whole / 2) / whole;
    format!("{}.{:02}%", rounded / 100, rounded % 100)
}

/// The address as this node reads it; as it was typed where it cannot.
fn listening(service: &Service, fill: Fill<'_>) -> Option<String> {
    let template = service.listen()?;
    Some(template.expand(fill).unwrap_or_else(|_| template.to_string()))
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percentages_have_two_decimals() {
        let all = [(2, 10), (5, 7), (0, 0), (3, 3), (1, 3), (2, 3), (0, 5)]
            .map(|(part, whole)| percent(part, whole));
        assert_eq!(
            all,
            [
                "20.00%", "71.43%", "0.00%", "100.00%", "33.33%", "66.67%", "0.00%"
            ]
        );
        assert_eq!(percent(u64::MAX, u64::MAX), "100.00%");
    }
}
