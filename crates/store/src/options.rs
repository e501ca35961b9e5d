//! What can be set.

use crate::Synchronous;

/// How a store is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// Octets after which a segment is sealed and another begun. Default 64 MiB, between 1 MiB and 1 GiB.
    pub segment_octets: u64,
    /// Free octets of the disk below which new mail is refused. Default 100 MiB.
    pub min_free_octets: u64,
    /// Octets kept back in a file that is removed when the disk is full, so that mail can still be deleted; new mail is
    /// refused until it is there again. Default 8 MiB; 0: none.
    pub ballast_octets: u64,
    /// Requests that may wait in each queue; more are refused as `Busy`. Default 4,096.
    pub queue: usize,
    /// How safely the index is written.
    pub synchronous: Synchronous,
    /// Whether to hear of the changes of other processes. A short-lived command need not.
    pub listen: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_octets: 64 << 20,
            min_free_octets: 100 << 20,
            ballast_octets: 8 << 20,
            queue: 4096,
            synchronous: Synchronous::Full,
            listen: true,
        }
    }
}
