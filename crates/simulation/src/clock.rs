//! The time of the world: the runtime's, which passes when nobody has anything to do.

use jiff::Timestamp;
use tokio::time::Instant;

/// When the world begins, in milliseconds since 1970.
const BEGINNING: i64 = 1_800_000_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the world began.
    pub(crate) fn elapsed(self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(self) -> i64 {
        BEGINNING + self.elapsed()
    }

    pub(crate) fn now(self) -> Timestamp {
        let micros = i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(BEGINNING * 1_000 + micros).unwrap_or_default()
    }

    /// The moment so many milliseconds after the beginning.
    pub(crate) fn at(self, elapsed: i64) -> Instant {
        self.0 + std::time::Duration::from_millis(u64::try_from(elapsed).unwrap_or(0))
    }

    /// The moment of a time in milliseconds after the beginning, as the queue has it.
    pub(crate) fn timestamp(elapsed: i64) -> Timestamp {
        Timestamp::from_millisecond(BEGINNING + elapsed).unwrap_or_default()
    }
}
