//! From one version to the next: compiles what changed, and shares the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, Pool, PoolName, Service, ServiceName};
use itertools::Itertools as _;

use super::pool::PoolView;
use super::service::ServiceView;
use super::variables::NodeVariables;
use super::{Publisher, Snapshot};

pub(super) fn compile(before: &Snapshot, config: &Arc<FleetConfig>, publisher: &Publisher) -> Snapshot {
    // A snapshot has a view of each object of its configuration, in the same order: so both versions are walked in step,
    // and nothing is looked up for what stays.
    let known = before.config.pools().zip(before.pools.values());
    let pools = config
        .pools()
        .merge_join_by(known, |(name, _), ((other, _), _)| name.cmp(other));
    let pools: BTreeMap<_, _> = pools
        .filter_map(|pair| {
            let (now, known) = pair.left_and_right();
            let known = known.map(|((_, model), view)| (model, view));
            now.map(|(name, pool)| (name.clone(), pool_view(known, name, pool, publisher)))
        })
        .collect();
    let known = before.config.services().zip(before.services.values());
    let services = config
        .services()
        .merge_join_by(known, |(name, _), ((other, _), _)| name.cmp(other));
    let services = services.filter_map(|pair| {
        let (now, known) = pair.left_and_right();
        let known = known.map(|((_, model), view)| (model, view));
        let (name, service) = now?;
        let pool = service.pool().and_then(|pool| pools.get(pool));
        let view = service_view(
            known,
            (name, service),
            pool,
            (before, config),
            &publisher.variables,
        );
        Some((name.clone(), view))
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

/// What an object was, and the view of it.
type Known<'a, Model, View> = Option<(&'a Arc<Model>, &'a Arc<View>)>;

fn pool_view(
    known: Known<'_, Pool, PoolView>,
    name: &PoolName,
    pool: &Arc<Pool>,
    publisher: &Publisher,
) -> Arc<PoolView> {
    match known {
        // Comparing two Arcs of equal identity looks at nothing else.
        Some((model, view)) if model == pool => Arc::clone(view),
        _ => Arc::new(PoolView::new(
            name,
            pool,
            known.map(|(_, view)| &**view),
            &publisher.reports,
        )),
    }
}

fn service_view(
    known: Known<'_, Service, ServiceView>,
    (name, service): (&ServiceName, &Arc<Service>),
    pool: Option<&Arc<PoolView>>,
    (before, config): (&Snapshot, &FleetConfig),
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
    match known {
        Some((model, view)) if model == service && same_pool(view) && same_types(view) && same_scripts() => {
            Arc::clone(view)
        }
        _ => {
            let view = known.map(|(_, view)| &**view);
            let mut fresh = ServiceView::new(
                name,
                service,
                pool.cloned(),
                config,
                (variables, &before.feed),
                view,
            );
            let followed = view.map(|view| &view.settings.reproxy);
            fresh.settings.reproxy.follow(followed, before.generation + 1);
            Arc::new(fresh)
        }
    }
}
