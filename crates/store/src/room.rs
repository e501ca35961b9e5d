//! The vocabulary of rooms: small facts under keys, that others than the store know the meaning of.

/// A small fact in a room.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoomFact {
    /// Its key, unique in its room; up to 1,000 octets.
    pub key: String,
    /// Its value; up to [`MAX_VALUE`](Self::MAX_VALUE) octets.
    pub value: Vec<u8>,
    /// From when on it may be purged, in milliseconds since 1970; until then, and as long as nobody does, it is told.
    pub expires: Option<i64>,
}

impl RoomFact {
    /// The most octets of a value: a policy of MTA-STS at its suggested limit of 64 kilobytes, and as much about it.
    pub const MAX_VALUE: usize = 128 << 10;
}
