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
    let known = with_views(before.config.pools(), before.pools.values());
    let pools: BTreeMap<_, _> = in_step(config.pools(), known)
        .map(|(name, pool, known)| (name.clone(), pool_view(known, name, pool, publisher)))
        .collect();
    let known = with_views(before.config.services(), before.services.values());
    let services = in_step(config.services(), known).map(|(name, service, known)| {
        let pool = service.pool().and_then(|pool| pools.get(pool));
        let view = service_view(
            known,
            (name, service),
            pool,
            (before, config),
            &publisher.variables,
        );
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

/// What there is, by name, each with its view: a snapshot has one of each object of its configuration, in the same order.
fn with_views<'a, Name, Model, View>(
    models: impl Iterator<Item = (Name, &'a Model)>,
    views: impl Iterator<Item = &'a View>,
) -> impl Iterator<Item = (Name, (&'a Model, &'a View))>
where
    Model: 'a,
    View: 'a,
{
    models
        .zip(views)
        .map(|((name, model), view)| (name, (model, view)))
}

/// What there is now, and what is known of it. Both versions are in the order of names: they are walked in step, and nothing
/// is looked up for what stays.
fn in_step<Name: Ord, Now, Before>(
    now: impl Iterator<Item = (Name, Now)>,
    known: impl Iterator<Item = (Name, Before)>,
) -> impl Iterator<Item = (Name, Now, Option<Before>)> {
    let pairs = now.merge_join_by(known, |(name, _), (other, _)| name.cmp(other));
    pairs.filter_map(|pair| {
        let (now, known) = pair.left_and_right();
        let (name, now) = now?;
        Some((name, now, known.map(|(_, known)| known)))
    })
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
