//! What TOP sends of a message (RFC 1939 §7).

use memchr::memchr;

/// Counts how much of a message is its header, the empty line, and so many lines of its body.
#[derive(Clone, Debug)]
pub struct TopCounter {
    lines: u64,
    header: bool,
    /// Octets of the present line: none, a CR at its start, something else.
    line: Line,
    after_cr: bool,
    done: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Line {
    Empty,
    OnlyCr,
    Filled,
}

impl TopCounter {
    /// A counter for so many lines of the body.
    #[must_use]
    pub fn new(lines: u64) -> Self {
        Self { lines, header: true, line: Line::Empty, after_cr: false, done: false }
    }

    /// Whether the end has been seen: nothing further belongs to it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// How many octets of this piece, the next of the message, belong to it. Lines end by CRLF alone.
    pub fn count(&mut self, piece: &[u8]) -> usize {
        let mut at = 0;
        while !self.done {
            let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) else { break };
            let length = memchr(b'\n', rest).map_or(rest.len(), |line_feed| line_feed + 1);
            let part = rest.get(..length).unwrap_or_default();
            self.take(part);
            at += length;
        }
        at
    }

    /// Octets up to a LF at most.
    fn take(&mut self, part: &[u8]) {
        let (text, line_feed) = match part {
            [text @ .., b'\n'] => (text, true),
            text => (text, false),
        };
        self.line = match (self.line, text) {
            (line, []) => line,
            (Line::Empty, [b'\r']) => Line::OnlyCr,
            _ => Line::Filled,
        };
        if let Some(last) = text.last() {
            self.after_cr = *last == b'\r';
        }
        if !line_feed {
            return;
        }
        if !std::mem::take(&mut self.after_cr) {
            // A bare LF is content.
            self.line = Line::Filled;
            return;
        }
        if self.header {
            self.header = self.line != Line::OnlyCr;
            self.done = !self.header && self.lines == 0;
        } else {
            self.lines -= 1;
            self.done = self.lines == 0;
        }
        self.line = Line::Empty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(message: &[u8], lines: u64, cut: usize) -> usize {
        let mut counter = TopCounter::new(lines);
        let counted = message.chunks(cut).map(|piece| counter.count(piece)).sum();
        assert!(counted == message.len() || counter.is_done());
        counted
    }

    #[test]
    fn the_header_and_so_many_lines_at_any_cut() {
        let message = b"A: b\r\n c\r\n\r\none\r\n\r\nthree\r\nfour";
        for cut in 1..=message.len() {
            for (lines, expected) in [(0, 12), (1, 17), (2, 19), (3, 26), (4, 30), (99, 30)] {
                assert_eq!(top(message, lines, cut), expected, "{lines} lines, cut at {cut}");
            }
        }
    }

    #[test]
    fn odd_messages() {
        for (message, lines, expected) in [
            (&b""[..], 5, 0),
            (b"\r\n", 0, 2),
            (b"\r\na\r\nb", 1, 5),
            (b"no header end", 0, 13),
            (b"bare\n\nlines\r\n\r\nx\r\ny", 1, 18),
            (b"a\r\r\n\r\nb", 0, 6),
            (b"a\r\n\r\r\n\r\nb", 0, 8),
        ] {
            for cut in 1..=message.len().max(1) {
                assert_eq!(top(message, lines, cut), expected, "{}", message.escape_ascii());
            }
        }
    }
}
