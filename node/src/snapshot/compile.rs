//! From one version to the next: compiles what changed, and shares the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, Pool, PoolName, Service, ServiceName};

use super::pool::PoolView;
use super::service::ServiceView;
use super::variables::NodeVariables;
use super::{Publisher, Snapshot};

pub(super) fn compile(before: &Snapshot, config: &Arc<FleetConfig>, publisher: &Publisher) -> Snapshot {
    let pools: BTreeMap<_, _> = config
        .pools()
        .map(|(name, pool)| (name.clone(), pool_view(before, name, pool, publisher)))
        .collect();
    let services = config.services().map(|(name, service)| {
        let pool = service.pool().and_then(|pool| pools.get(pool));
        let view = service_view(before, (name, service), pool, config, &publisher.variables);
        (name.clone(), view)
    });
    Snapshot {
        version: config.version,
        config: Arc::clone(config),
        generation: before.generation + 1,
        feed: Arc::clone(&before.feed),
        services: services.collect(),
        pools,
    }
}

fn pool_view(before: &Snapshot, name: &PoolName, pool: &Arc<Pool>, publisher: &Publisher) -> Arc<PoolView> {
    let view = before.pools.get(name);
    match (view, before.config.pool(name.as_str())) {
        // Comparing two Arcs of equal identity looks at nothing else.
        (Some(view), Some(model)) if model == pool => Arc::clone(view),
        _ => Arc::new(PoolView::new(name, pool, view.map(|v| &**v), &publisher.reports)),
    }
}

fn service_view(
    before: &Snapshot,
    (name, service): (&ServiceName, &Arc<Service>),
    pool: Option<&Arc<PoolView>>,
    config: &FleetConfig,
    variables: &NodeVariables,
) -> Arc<ServiceView> {
    let same_pool = |view: &ServiceView| match (&view.pool, pool) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let same_types = |view: &ServiceView| view.web.as_ref().is_none_or(|web| web.types == *config.mime());
    let same_scripts = || {
        let mut plugins = service.plugins().iter();
        plugins.all(|plugin| before.config.script(plugin.name()) == config.script(plugin.name()))
    };
    match (before.services.get(name), before.config.service(name.as_str())) {
        (Some(view), Some(model))
            if model == service && same_pool(view) && same_types(view) && same_scripts() =>
        {
            Arc::clone(view)
        }
        (view, _) => {
            let mut fresh = ServiceView::new(
                name,
                service,
                pool.cloned(),
                config,
                (variables, &before.feed),
                view.map(|view| &**view),
            );
            let followed = view.map(|view| &view.settings.reproxy);
            fresh.settings.reproxy.follow(followed, before.generation + 1);
            Arc::new(fresh)
        }
    }
}
