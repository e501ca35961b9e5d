//! How many sessions at once a destination, or a group, seems to bear: grows with success, halves with trouble.

/// A number of sessions, in 256ths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    size: u32,
    /// Trouble was met: from now on grow by one session per round of sessions, not by one per success.
    careful: bool,
}

impl Window {
    pub(super) fn new(sessions: u32) -> Self {
        Self { size: sessions.clamp(1, 1 << 20) * ONE, careful: false }
    }

    pub(super) fn sessions(self) -> u32 {
        self.size / ONE
    }

    pub(super) fn grow(&mut self, most: u32) {
        let step = if self.careful { (ONE * ONE / self.size).max(1) } else { ONE };
        self.size = (self.size + step).min(most.clamp(1, 1 << 20) * ONE);
    }

    /// Halves, to one session at the least.
    pub(super) fn shrink(&mut self) {
        self.size = (self.size / 2).max(ONE);
        self.careful = true;
    }
}

const ONE: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_shrinks_within_its_bounds() {
        let mut window = Window::new(2);
        for expected in [3, 4, 5, 5, 5] {
            window.grow(5);
            assert_eq!(window.sessions(), expected);
        }
        window.shrink();
        assert_eq!(window.sessions(), 2);
        window.grow(5);
        assert_eq!(window.sessions(), 2, "carefully now");
        for _ in 0..5 {
            window.shrink();
        }
        assert_eq!(window.sessions(), 1);
        for _ in 0..200 {
            window.grow(5);
        }
        assert_eq!(window.sessions(), 5);
    }
}
