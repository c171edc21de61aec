//! What an operator sees of presence. No label names a user.

use telemetry::{
    Registry,
    prometheus_client::metrics::{counter::Counter, gauge::Gauge},
};

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) shards_owned: Gauge,
    pub(crate) users_online: Gauge,
    pub(crate) users_watched: Gauge,
    pub(crate) statuses: Counter,
    pub(crate) repairs: Counter,
    pub(crate) nodes_lost: Counter,
    pub(crate) lease_changes: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("rollcall_presence");
        registry.register("shards_owned", "Shards that this replica owns", metrics.shards_owned.clone());
        registry.register("users_online", "Users online in the shards it owns", metrics.users_online.clone());
        registry.register(
            "users_watched",
            "Users watched in the shards it owns",
            metrics.users_watched.clone(),
        );
        registry.register("statuses", "Statuses published to nodes", metrics.statuses.clone());
        registry.register(
            "repairs",
            "Full reports asked for since something was missing; 0 in a healthy run",
            metrics.repairs.clone(),
        );
        registry.register("nodes_lost", "Nodes that fell silent", metrics.nodes_lost.clone());
        registry.register("lease_changes", "Shards claimed or given up", metrics.lease_changes.clone());
        metrics
    }
}
