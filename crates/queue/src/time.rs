//! Time inside this crate: microseconds since 1970, which take half the room of a `Timestamp`.

use std::time::Duration;

use jiff::Timestamp;

/// Microseconds since 1970.
pub(crate) type Micros = i64;

/// Later than any time.
pub(crate) const NEVER: Micros = i64::MAX;

/// Cuts off what is finer than a microsecond.
pub(crate) fn micros(time: Timestamp) -> Micros {
    time.as_microsecond()
}

/// The latest time for what is beyond it.
pub(crate) fn timestamp(time: Micros) -> Timestamp {
    Timestamp::from_microsecond(time).unwrap_or(Timestamp::MAX)
}

/// `None` for [`NEVER`].
pub(crate) fn known(time: Micros) -> Option<Timestamp> {
    (time != NEVER).then(|| timestamp(time))
}

/// The longest possible for what is beyond it.
pub(crate) fn length(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
