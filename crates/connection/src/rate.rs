//! Rate limits in 8 bytes and without timers (the generic cell rate algorithm).

use std::time::{Duration, Instant};

/// `burst` at once, then one per `interval`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) interval: Duration,
    pub(crate) burst: u32,
}

/// How much of a limit is used up: the moment at which none of it would be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate(Instant);

impl Rate {
    pub(crate) fn unused(now: Instant) -> Rate {
        Rate(now)
    }

    /// Counts one. If that is above the limit: when it would not have been.
    pub(crate) fn count(&mut self, limit: Limit, now: Instant) -> Option<Instant> {
        self.0 = self.0.max(now) + limit.interval;
        let allowed_at = self.0.checked_sub(limit.interval * limit.burst)?;
        (allowed_at > now).then_some(allowed_at)
    }

    /// Counts one only if that is within the limit.
    pub(crate) fn admit(&mut self, limit: Limit, now: Instant) -> bool {
        let before = self.0;
        let admitted = self.count(limit, now).is_none();
        if !admitted {
            self.0 = before;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { interval: Duration::from_millis(100), burst: 3 };

    #[test]
    fn a_burst_passes_and_then_one_per_interval() {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut rate = Rate::unused(start);
        let admitted = |rate: &mut Rate, at: u64| rate.admit(LIMIT, start + Duration::from_millis(at));
        assert_eq!([0, 0, 0, 0, 50].map(|at| admitted(&mut rate, at)), [true, true, true, false, false]);
        assert_eq!(
            [100, 100, 200, 1000, 1000, 1000, 1000].map(|at| admitted(&mut rate, at)),
            [true, false, true, true, true, true, false]
        );
    }

    #[test]
    fn what_is_counted_above_the_limit_has_a_moment() {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut rate = Rate::unused(start);
        assert_eq!([0; 3].map(|_| rate.count(LIMIT, start)), [None; 3]);
        assert_eq!(rate.count(LIMIT, start), Some(start + Duration::from_millis(100)));
        assert_eq!(rate.count(LIMIT, start), Some(start + Duration::from_millis(200)));
    }
}
