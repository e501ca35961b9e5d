//! A value that is never printed.

use std::fmt;

use zeroize::Zeroize;

/// Octets that no log, error or debug print may show: a password, a token. Overwritten with zeros when dropped.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the octets in.
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into())
    }

    /// The octets themselves: the one way to look, so that every look can be found by this name.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
