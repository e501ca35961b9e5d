//! Rates: so many in a time, with a burst. A token bucket whose whole state is one number.

use std::time::Duration;

use crate::time::{Micros, NEVER, length};

/// So many in a time. In any stretch of time `t` at most `burst + count * t / per` pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// How many; 1 to 1,000,000.
    pub count: u32,
    /// In what time; 1 s to 1 day.
    pub per: Duration,
    /// How many may pass at once after a quiet time; 1 to `count`.
    pub burst: u32,
}

impl Rate {
    /// `count` in `per`, a tenth of them at once.
    #[must_use]
    pub fn new(count: u32, per: Duration) -> Self {
        Self { count, per, burst: (count / 10).max(1) }
    }

    /// The time that one takes, rounded up: never faster than the rate.
    pub(crate) fn interval(&self) -> Micros {
        let per = length(self.per.clamp(Duration::from_secs(1), Duration::from_secs(86_400)));
        let count = Micros::from(self.count.clamp(1, 1_000_000));
        per.saturating_add(count - 1) / count
    }

    fn tolerance(&self) -> Micros {
        let burst = Micros::from(self.burst.clamp(1, self.count.clamp(1, 1_000_000)));
        self.interval().saturating_mul(burst - 1)
    }
}

/// The bucket of one rate: when it would be full again (the generic cell rate algorithm's theoretical arrival time).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket(Micros);

impl Bucket {
    /// A full one.
    pub(crate) const FULL: Self = Self(i64::MIN / 2);

    /// How many may pass now.
    pub(crate) fn available(self, rate: &Rate, now: Micros) -> u32 {
        let room = now.saturating_add(rate.tolerance()).saturating_sub(self.0.max(now));
        if room < 0 { 0 } else { u32::try_from(room / rate.interval() + 1).unwrap_or(u32::MAX) }
    }

    /// When at least one may pass.
    pub(crate) fn ready_at(self, rate: &Rate) -> Micros {
        self.0.saturating_sub(rate.tolerance())
    }

    /// When it is full, and can be forgotten.
    pub(crate) fn full_at(self) -> Micros {
        self.0
    }

    /// `count` pass.
    pub(crate) fn take(&mut self, rate: &Rate, count: u32, now: Micros) {
        let cost = rate.interval().saturating_mul(Micros::from(count));
        self.0 = self.0.max(now).saturating_add(cost).min(NEVER - 1);
    }

    /// One that was counted did not pass after all.
    pub(crate) fn give_back(&mut self, rate: &Rate) {
        self.0 = self.0.saturating_sub(rate.interval());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { count: 60, per: Duration::from_secs(60), burst: 3 };
        let mut bucket = Bucket::FULL;
        assert_eq!(bucket.available(&rate, 0), 3);
        bucket.take(&rate, 3, 0);
        assert_eq!(bucket.available(&rate, 0), 0);
        assert_eq!(bucket.ready_at(&rate), 1_000_000);
        assert_eq!(bucket.available(&rate, 999_999), 0);
        assert_eq!(bucket.available(&rate, 1_000_000), 1);
        assert_eq!(bucket.available(&rate, 10_000_000), 3);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate(
            count in 1_u32..500, seconds in 1_u64..100, burst in 1_u32..500, steps in prop::collection::vec((0_i64..3_000_000, 1_u32..20), 1..60),
        ) {
            let rate = Rate { count, per: Duration::from_secs(seconds), burst: burst.min(count) };
            let (mut bucket, mut now, mut passed) = (Bucket::FULL, 0_i64, Vec::new());
            for (wait, wanted) in steps {
                now += wait;
                let take = wanted.min(bucket.available(&rate, now));
                if take > 0 {
                    bucket.take(&rate, take, now);
                    passed.push((now, i64::from(take)));
                }
            }
            for first in 0..passed.len() {
                let mut sum = 0;
                for (at, take) in &passed[first..] {
                    sum += take;
                    let time = at - passed[first].0;
                    let allowed = i64::from(rate.burst) + time * i64::from(count) / (i64::try_from(seconds).unwrap() * 1_000_000);
                    prop_assert!(sum <= allowed, "{} in {} microseconds, {} allowed", sum, time, allowed);
                }
            }
        }
    }
}
