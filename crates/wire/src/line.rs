//! Lines ended by CRLF (RFC 5321 §2.3.8, RFC 9051 §2.2, RFC 1939 §3).

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// Why a line is not one. The framer goes on behind it, so the conversation can.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line, its CRLF included, is longer than `limit` octets; all of it was dropped.
    #[error("line longer than {limit} octets")]
    TooLong {
        /// The limit, in octets.
        limit: usize,
    },
    /// The line ended with LF alone.
    #[error("line ended by LF without CR")]
    BareLineFeed,
    /// A CR stands inside the line.
    #[error("CR inside a line")]
    BareCarriageReturn,
    /// A NUL stands inside the line.
    #[error("NUL inside a line")]
    Nul,
}

/// Whether LF alone ends a line of the conversation. Lines of a message never do: see [`DataDecoder`](crate::DataDecoder).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LineEnding {
    /// Only CRLF; LF alone is reported as [`LineError::BareLineFeed`] at once, so that nobody waits for a CRLF.
    #[default]
    Strict,
    /// LF alone ends a line too.
    LenientLineFeed,
}

/// Cuts octets into lines, without their CRLF, and keeps a partial line in a box of its own size.
#[derive(Debug)]
pub struct LineFramer {
    limit: usize,
    ending: LineEnding,
    partial: Vec<u8>,
    skipping: bool,
}

impl LineFramer {
    /// A framer for lines of at most `limit` octets, CRLF included.
    #[must_use]
    pub fn new(limit: usize, ending: LineEnding) -> Self {
        Self { limit, ending, partial: Vec::new(), skipping: false }
    }

    /// Changes the limit from the next line on, in octets, CRLF included.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether part of a line has been taken.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.skipping || !self.partial.is_empty()
    }

    /// Forgets a partial line, as STARTTLS demands.
    pub fn clear(&mut self) {
        self.partial = Vec::new();
        self.skipping = false;
    }

    /// The next line, if the front of `input` completes one. Otherwise all of `input` has been taken.
    ///
    /// # Errors
    /// A line that is none: it has been dropped, and the next call looks behind it.
    pub fn take_line(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, LineError> {
        let Some(line_feed) = memchr(b'\n', input) else {
            self.keep(input);
            return Ok(None);
        };
        let tail = input.split_to(line_feed + 1).freeze();
        if std::mem::take(&mut self.skipping) || self.partial.len() + tail.len() > self.limit {
            self.partial = Vec::new();
            return Err(LineError::TooLong { limit: self.limit });
        }
        let mut line = if self.partial.is_empty() {
            tail
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(&tail);
            Bytes::from(whole)
        };
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        } else if self.ending == LineEnding::Strict {
            return Err(LineError::BareLineFeed);
        }
        match memchr2(b'\r', 0, &line).map(|at| line[at]) {
            None => Ok(Some(line)),
            Some(0) => Err(LineError::Nul),
            Some(_) => Err(LineError::BareCarriageReturn),
        }
    }

    fn keep(&mut self, input: &mut BytesMut) {
        if !self.skipping {
            if self.partial.len() + input.len() >= self.limit {
                // The CRLF is still to come, so the line is too long already; the report waits for its end.
                self.skipping = true;
                self.partial = Vec::new();
            } else {
                self.partial.extend_from_slice(input);
            }
        }
        input.advance(input.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: usize, ending: LineEnding, octets: &[u8], cut: usize) -> Vec<Result<Vec<u8>, LineError>> {
        let mut framer = LineFramer::new(limit, ending);
        let mut found = Vec::new();
        for piece in octets.chunks(cut) {
            let mut input = BytesMut::from(piece);
            while !input.is_empty() {
                match framer.take_line(&mut input) {
                    Ok(Some(line)) => found.push(Ok(line.to_vec())),
                    Ok(None) => assert!(input.is_empty(), "a framer without a line takes everything"),
                    Err(error) => found.push(Err(error)),
                }
            }
        }
        found
    }

    #[test]
    fn lines_at_every_cut() {
        type Row = (usize, LineEnding, &'static [u8], Vec<Result<&'static [u8], LineError>>);
        let table: Vec<Row> = vec![
            (512, LineEnding::Strict, b"NOOP\r\nQUIT\r\n", vec![Ok(b"NOOP"), Ok(b"QUIT")]),
            (512, LineEnding::Strict, b"\r\n", vec![Ok(b"")]),
            (6, LineEnding::Strict, b"NOOP\r\n", vec![Ok(b"NOOP")]),
            (5, LineEnding::Strict, b"NOOP\r\nA\r\n", vec![Err(LineError::TooLong { limit: 5 }), Ok(b"A")]),
            (512, LineEnding::Strict, b"NOOP\nQUIT\r\n", vec![Err(LineError::BareLineFeed), Ok(b"QUIT")]),
            (512, LineEnding::LenientLineFeed, b"NOOP\nQUIT\r\n", vec![Ok(b"NOOP"), Ok(b"QUIT")]),
            (512, LineEnding::Strict, b"NO\rOP\r\n", vec![Err(LineError::BareCarriageReturn)]),
            (512, LineEnding::Strict, b"NO\0OP\r\n", vec![Err(LineError::Nul)]),
            (512, LineEnding::Strict, b"NOOP\r\r\n", vec![Err(LineError::BareCarriageReturn)]),
            (512, LineEnding::Strict, b"NOOP", vec![]),
        ];
        for (limit, ending, octets, expected) in table {
            let expected: Vec<_> = expected.into_iter().map(|line| line.map(<[u8]>::to_vec)).collect();
            for cut in 1..=octets.len() {
                assert_eq!(lines(limit, ending, octets, cut), expected, "{octets:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_endless_line_costs_no_more_than_the_limit() {
        let mut framer = LineFramer::new(1000, LineEnding::Strict);
        for _ in 0..10_000 {
            let mut input = BytesMut::from(&[b'a'; 100][..]);
            assert_eq!(framer.take_line(&mut input), Ok(None));
            assert!(framer.partial.capacity() <= 2000);
        }
        let mut input = BytesMut::from("\r\nNOOP\r\n");
        assert_eq!(framer.take_line(&mut input), Err(LineError::TooLong { limit: 1000 }));
        assert_eq!(framer.take_line(&mut input), Ok(Some(Bytes::from_static(b"NOOP"))));
    }
}
