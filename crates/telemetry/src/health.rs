//! Whether a process is well, composed of what its services say of themselves.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// The health of one process. Ready when it has parts and all of them are.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Registered>>>);

/// What one service says of itself. Starts as not ready.
///
/// When its last clone is dropped the part is not ready: a service whose task has ended, by a panic, say, does not
/// count as well because it was well when it was last heard.
#[derive(Clone)]
pub struct Part(Arc<Flags>);

struct Registered {
    name: &'static str,
    flags: Weak<Flags>,
}

#[derive(Default)]
struct Flags {
    ready: AtomicBool,
    /// Has been ready at some time.
    started: AtomicBool,
}

/// What the parts of a process said at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report(Vec<(&'static str, Level)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Starting,
    Ready,
    /// Was ready once and is not now.
    NotReady,
    Gone,
}

impl Health {
    #[must_use]
    pub fn new() -> Health {
        Health::default()
    }

    /// Adds a part, which the process's readiness waits for from now on.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Part {
        let flags = Arc::new(Flags::default());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Registered { name, flags: Arc::downgrade(&flags) });
        Part(flags)
    }

    /// Whether every part is ready, and there is at least one.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().is_ready()
    }

    pub(crate) fn report(&self) -> Report {
        let level = |flags: &Weak<Flags>| match flags.upgrade() {
            None => Level::Gone,
            Some(flags) if flags.ready.load(Ordering::Acquire) => Level::Ready,
            Some(flags) if flags.started.load(Ordering::Acquire) => Level::NotReady,
            Some(_) => Level::Starting,
        };
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Report(parts.iter().map(|part| (part.name, level(&part.flags))).collect())
    }
}

impl Part {
    pub fn ready(&self) {
        self.0.started.store(true, Ordering::Release);
        self.0.ready.store(true, Ordering::Release);
    }

    pub fn not_ready(&self) {
        self.0.ready.store(false, Ordering::Release);
    }
}

impl Report {
    pub(crate) fn is_ready(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(_, level)| *level == Level::Ready)
    }

    /// Whether every part has been ready at some time: what is wrong later is no reason to wait for a start any more.
    pub(crate) fn has_started(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(_, level)| *level != Level::Starting)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, level) in &self.0 {
            let level = match level {
                Level::Starting => "starting",
                Level::Ready => "ready",
                Level::NotReady => "not ready",
                Level::Gone => "ended",
            };
            writeln!(f, "{name}: {level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_parts_is_not_ready() {
        assert!(!Health::new().is_ready());
        assert!(!Health::new().report().has_started());
    }

    #[test]
    fn a_process_is_ready_while_all_its_parts_are() {
        let health = Health::new();
        let (gateway, presence) = (health.part("gateway"), health.part("presence"));
        gateway.ready();
        assert!(!health.is_ready());
        assert_eq!(health.report().to_string(), "gateway: ready\npresence: starting\n");
        presence.clone().ready();
        assert!(health.is_ready());
        gateway.not_ready();
        assert!(!health.is_ready());
        assert_eq!(health.report().to_string(), "gateway: not ready\npresence: ready\n");
        gateway.ready();
        assert!(health.is_ready());
    }

    #[test]
    fn a_part_that_nobody_holds_any_more_has_ended() {
        let health = Health::new();
        let part = health.part("gateway");
        part.ready();
        let other = part.clone();
        drop(part);
        assert!(health.is_ready());
        drop(other);
        assert!(!health.is_ready());
        assert_eq!(health.report().to_string(), "gateway: ended\n");
    }

    #[test]
    fn a_process_that_has_started_stays_started() {
        let health = Health::new();
        let part = health.part("gateway");
        assert!(!health.report().has_started());
        part.ready();
        part.not_ready();
        assert!(health.report().has_started());
        assert!(!health.report().is_ready());
    }
}
