//! What an operator sees of a gateway. No label names a user, a channel or a socket.

use telemetry::{
    Registry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family, gauge::Gauge},
    },
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) signed_in: Gauge,
    pub(crate) sign_ins: Family<OutcomeLabel, Counter>,
    pub(crate) watch_edges: Gauge,
    pub(crate) frames_received: Counter,
    pub(crate) frames_sent: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) slow_consumers: Counter,
    pub(crate) client_events_dropped: Counter,
    pub(crate) terminated: Counter,
    pub(crate) repairs: Counter,
    pub(crate) interruptions: Counter,
    pub(crate) closes: Family<CloseLabel, Counter>,
    pub(crate) refusals: Family<CloseLabel, Counter>,
}

/// How a sign-in ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: &'static str,
}

/// A close code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabel {
    pub(crate) code: u32,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("rollcall_gateway");
        registry.register("connections", "Open WebSockets", metrics.connections.clone());
        registry.register("signed_in", "Connections that are signed in", metrics.signed_in.clone());
        registry.register("sign_ins", "Sign-ins, by how they ended", metrics.sign_ins.clone());
        registry.register(
            "watch_edges",
            "Pairs of a watching connection and a watched user",
            metrics.watch_edges.clone(),
        );
        registry.register("frames_received", "Messages from clients", metrics.frames_received.clone());
        registry.register("frames_sent", "Frames to clients", metrics.frames_sent.clone());
        registry.register("bytes_sent", "Bytes of frames to clients", metrics.bytes_sent.clone());
        registry.register(
            "slow_consumers",
            "Connections closed since their outbox was full",
            metrics.slow_consumers.clone(),
        );
        registry.register(
            "client_events_dropped",
            "Client events that the broker did not take, or that too many waited before",
            metrics.client_events_dropped.clone(),
        );
        registry.register("terminated", "Connections closed by terminations", metrics.terminated.clone());
        registry.register(
            "repairs",
            "Full reports sent since something was missing; 0 in a healthy run",
            metrics.repairs.clone(),
        );
        registry.register(
            "broker_interruptions",
            "Times the broker's link was lost",
            metrics.interruptions.clone(),
        );
        registry.register(
            "closes",
            "Connections closed by the gateway, by close code",
            metrics.closes.clone(),
        );
        registry.register(
            "refusals",
            "Connections refused after the upgrade, by close code",
            metrics.refusals.clone(),
        );
        metrics
    }
}
