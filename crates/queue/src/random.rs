//! A small generator of our own (SplitMix64), so that the same seed decides the same.
//!
//! It spreads retries and back-offs in time; nothing secret depends on it.

/// A seeded generator.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The generator of that seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }
}

/// Spreads the bits of a number: neighbours become strangers.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// `microseconds`, more or less by up to `percent` of them, as `random` wills.
pub(crate) fn spread(microseconds: i64, percent: u8, random: u64) -> i64 {
    let wide = i128::from(microseconds) * i128::from(percent.min(100)) / 100;
    // From -1000 to 1000 thousandths of `wide`.
    let thousandths = i128::from(mix(random) % 2001) - 1000;
    let spread = i128::from(microseconds) + wide * thousandths / 1000;
    i64::try_from(spread).unwrap_or(microseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_within_the_share_and_by_the_seed() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            let found = spread(1_000_000, 20, random.next());
            assert!((800_000..=1_200_000).contains(&found), "{found}");
        }
        assert_eq!(spread(500, 0, 99), 500);
        assert_eq!(spread(500, 50, 99), spread(500, 50, 99));
        assert_eq!(Random::new(3).next(), Random::new(3).next());
    }
}
