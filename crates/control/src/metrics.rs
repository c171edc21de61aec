//! What control counts. No label names a user, channel or socket.

use crate::verbs::VerbError;
use protocol::http::Audience;
use std::time::Duration;
use telemetry::{
    Registry,
    prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

/// From a termination on one node to a node that never confirms.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0];

/// Labels are words of ours, each known beforehand.
type Labels<const N: usize> = [(&'static str, &'static str); N];

pub(crate) struct Metrics {
    requests: Family<Labels<2>, Counter>,
    unauthenticated: Counter,
    http_refusals: Family<[(&'static str, u16); 1], Counter>,
    terminations: Family<Labels<1>, Counter>,
    termination_seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    events: Family<Labels<1>, Counter>,
    dropped_replies: Family<Labels<1>, Counter>,
    watches: Gauge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Publish,
    Send,
    Terminate,
    /// A termination's dry run.
    Count,
    User,
    Users,
    Online,
    Watch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// Answered, but not every node was heard.
    Incomplete,
    Unavailable,
    /// Refused at the edge.
    Invalid,
    Forbidden,
    UnknownApp,
    TooMany,
}

/// Why a reply reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DroppedReply {
    /// Nobody waits for it, or not any more.
    Late,
    /// Who waits for it does not keep up.
    QueueFull,
    /// Not a reply as we know it.
    Invalid,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let registry = registry.sub_registry_with_prefix("rollcall_control");
        let metrics = Metrics {
            requests: Family::default(),
            unauthenticated: Counter::default(),
            http_refusals: Family::default(),
            terminations: Family::default(),
            termination_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            events: Family::default(),
            dropped_replies: Family::default(),
            watches: Gauge::default(),
        };
        registry.register("requests", "Calls of a verb, by gRPC and HTTP", metrics.requests.clone());
        registry.register(
            "unauthenticated",
            "gRPC calls without a valid token",
            metrics.unauthenticated.clone(),
        );
        registry.register(
            "http_refusals",
            "HTTP API requests not answered with 200",
            metrics.http_refusals.clone(),
        );
        registry.register("terminations", "Terminations answered", metrics.terminations.clone());
        registry.register(
            "termination_seconds",
            "From the call to its answer",
            metrics.termination_seconds.clone(),
        );
        registry.register("events", "Events that the broker took", metrics.events.clone());
        registry.register("dropped_replies", "Replies that reached nobody", metrics.dropped_replies.clone());
        registry.register("watches", "WatchUsers streams open now", metrics.watches.clone());
        metrics
    }

    pub(crate) fn request(&self, verb: Verb, outcome: Outcome) {
        self.requests.get_or_create(&[("verb", verb.label()), ("outcome", outcome.label())]).inc();
    }

    pub(crate) fn unauthenticated(&self) {
        self.unauthenticated.inc();
    }

    pub(crate) fn http_refusal(&self, status: u16) {
        self.http_refusals.get_or_create(&[("status", status)]).inc();
    }

    pub(crate) fn terminated(&self, complete: bool, took: Duration) {
        let labels = [("complete", if complete { "true" } else { "false" })];
        self.terminations.get_or_create(&labels).inc();
        self.termination_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn published(&self, audience: &Audience) {
        let audience = match audience {
            Audience::User(_) => "user",
            Audience::Channel(_) => "channel",
        };
        self.events.get_or_create(&[("audience", audience)]).inc();
    }

    pub(crate) fn dropped_reply(&self, why: DroppedReply) {
        self.dropped_replies.get_or_create(&[("why", why.label())]).inc();
    }

    pub(crate) fn watches(&self) -> &Gauge {
        &self.watches
    }
}

impl Verb {
    fn label(self) -> &'static str {
        match self {
            Verb::Publish => "publish",
            Verb::Send => "send",
            Verb::Terminate => "terminate",
            Verb::Count => "count",
            Verb::User => "user",
            Verb::Users => "users",
            Verb::Online => "online",
            Verb::Watch => "watch",
        }
    }
}

impl Outcome {
    /// `complete` looks at the answer of a verb that not every node may have answered.
    pub(crate) fn of<T>(result: &Result<T, VerbError>, complete: impl FnOnce(&T) -> bool) -> Outcome {
        match result {
            Ok(answer) if complete(answer) => Outcome::Ok,
            Ok(_) => Outcome::Incomplete,
            Err(VerbError::Unavailable { .. }) => Outcome::Unavailable,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Incomplete => "incomplete",
            Outcome::Unavailable => "unavailable",
            Outcome::Invalid => "invalid",
            Outcome::Forbidden => "forbidden",
            Outcome::UnknownApp => "unknown_app",
            Outcome::TooMany => "too_many",
        }
    }
}

impl DroppedReply {
    fn label(self) -> &'static str {
        match self {
            DroppedReply::Late => "late",
            DroppedReply::QueueFull => "queue_full",
            DroppedReply::Invalid => "invalid",
        }
    }
}
