//! Literals: octets announced by their number (RFC 9051 §4.3, RFC 7888, RFC 3516 §4.2), and the commands made of them.

use bytes::{Buf, Bytes, BytesMut};

use crate::line::{LineEnding, LineError, LineFramer};

/// What stands at the end of a line to announce a literal: `{5}`, `{5+}`, `~{5}`, `~{5+}`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LiteralHeader {
    /// Its length in octets.
    pub octets: u64,
    /// The peer sends it without waiting for a continuation (RFC 7888).
    pub non_synchronizing: bool,
    /// `literal8`: it may contain NUL (RFC 3516).
    pub binary: bool,
    /// Where in the line the announcement begins, `~` included.
    pub at: usize,
}

impl LiteralHeader {
    /// The announcement at the end of `line` (its CRLF cut off), if it ends with one. A number over 2^63-1 is none
    /// (RFC 9051 §9, `number64`).
    #[must_use]
    pub fn at_end_of(line: &[u8]) -> Option<Self> {
        let inner = line.strip_suffix(b"}")?;
        let (digits_end, non_synchronizing) = match inner.strip_suffix(b"+") {
            Some(rest) => (rest.len(), true),
            None => (inner.len(), false),
        };
        let digits_start = inner[..digits_end].iter().rposition(|octet| !octet.is_ascii_digit())? + 1;
        if inner[digits_start - 1] != b'{' || digits_start == digits_end {
            return None;
        }
        let octets = inner[digits_start..digits_end].iter().try_fold(0_u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|number| *number <= i64::MAX as u64)
        })?;
        let binary = digits_start >= 2 && inner[digits_start - 2] == b'~';
        Some(Self { octets, non_synchronizing, binary, at: digits_start - 1 - usize::from(binary) })
    }
}

/// Counts octets of known number: a literal, or a BDAT chunk (RFC 3030 §2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chunk {
    left: u64,
}

impl Chunk {
    /// A chunk of `octets` octets.
    #[must_use]
    pub fn new(octets: u64) -> Self {
        Self { left: octets }
    }

    /// The octets still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes what belongs to the chunk from the front of `input`; `None` when nothing there does.
    pub fn take(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        if length == 0 {
            return None;
        }
        self.left -= length as u64;
        Some(input.split_to(length).freeze())
    }
}

/// The limits of a command made of lines and literals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CommandLimits {
    /// Longest line, its CRLF included. Default 65,536 octets (RFC 7162 §4 asks for at least 8,192).
    pub line_octets: usize,
    /// Most octets of one command, its gathered literals included. Default 262,144.
    pub command_octets: usize,
    /// Most literals of one command. Default 1,000.
    pub literals: usize,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self { line_octets: 65_536, command_octets: 262_144, literals: 1_000 }
    }
}

/// Why octets are not a command. The framer goes on behind the line at fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A line of it is not one.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The command is longer than `limit` octets.
    #[error("command longer than {limit} octets")]
    CommandTooLong {
        /// The limit, in octets.
        limit: usize,
    },
    /// The command has more than `limit` literals.
    #[error("command with more than {limit} literals")]
    TooManyLiterals {
        /// The limit.
        limit: usize,
    },
}

/// What [`CommandFramer::take`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Framed {
    /// A whole command, its last CRLF cut off, its gathered literals in place: `A LOGIN {3}` CRLF `joe pass`.
    Command(Bytes),
    /// The command pauses at a literal. Look at [`CommandFramer::so_far`], then call [`CommandFramer::gather`] (after the
    /// continuation request, if the literal waits for one), or take its octets with a [`Chunk`] and go on, or
    /// [`CommandFramer::clear`].
    Literal(LiteralHeader),
}

/// Assembles commands from lines and literals.
#[derive(Debug)]
pub struct CommandFramer {
    limits: CommandLimits,
    lines: LineFramer,
    command: Vec<u8>,
    literals: usize,
    gathering: Option<Chunk>,
}

impl CommandFramer {
    /// A framer within `limits`.
    #[must_use]
    pub fn new(limits: CommandLimits) -> Self {
        let lines = LineFramer::new(limits.line_octets, LineEnding::Strict);
        Self { limits, lines, command: Vec::new(), literals: 0, gathering: None }
    }

    /// What has been taken of the command at hand: its lines with CRLF, its gathered literals.
    #[must_use]
    pub fn so_far(&self) -> &[u8] {
        &self.command
    }

    /// Whether part of a command has been taken.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.command.is_empty() || self.gathering.is_some() || self.lines.is_partial()
    }

    /// Forgets the command at hand, as after a refused literal, or STARTTLS.
    pub fn clear(&mut self) {
        self.command = Vec::new();
        self.literals = 0;
        self.gathering = None;
        self.lines.clear();
    }

    /// Makes the literal just announced part of the command.
    pub fn gather(&mut self, literal: LiteralHeader) {
        self.gathering = Some(Chunk::new(literal.octets));
    }

    /// Whether a literal of `octets` would still fit into the command at hand.
    #[must_use]
    pub fn has_room_for(&self, octets: u64) -> bool {
        let room = self.limits.command_octets.saturating_sub(self.command.len());
        usize::try_from(octets).is_ok_and(|octets| octets <= room)
    }

    /// Takes from the front of `input`; `None`: all of it was taken, and more is needed.
    ///
    /// # Errors
    /// The command at hand is dropped. Non-synchronizing literals that it announced later are not known of then: the
    /// caller closes the connection where it cannot tell commands from literals any more.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Framed>, FrameError> {
        if let Some(chunk) = &mut self.gathering {
            while let Some(octets) = chunk.take(input) {
                self.command.extend_from_slice(&octets);
            }
            if chunk.left() > 0 {
                return Ok(None);
            }
            self.gathering = None;
        }
        let line = match self.lines.take_line(input) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.clear();
                return Err(error.into());
            }
        };
        if !self.has_room_for(line.len() as u64) {
            self.clear();
            return Err(FrameError::CommandTooLong { limit: self.limits.command_octets });
        }
        let Some(literal) = LiteralHeader::at_end_of(&line) else {
            if self.command.is_empty() {
                return Ok(Some(Framed::Command(line)));
            }
            let mut command = std::mem::take(&mut self.command);
            self.literals = 0;
            command.extend_from_slice(&line);
            return Ok(Some(Framed::Command(command.into())));
        };
        self.literals += 1;
        if self.literals > self.limits.literals {
            self.clear();
            return Err(FrameError::TooManyLiterals { limit: self.limits.literals });
        }
        self.command.extend_from_slice(&line);
        self.command.extend_from_slice(b"\r\n");
        Ok(Some(Framed::Literal(literal)))
    }
}

/// Drops octets that were announced and are not wanted: what follows a refused literal or chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Discard {
    left: u64,
}

impl Discard {
    /// Drops the next `octets` octets.
    #[must_use]
    pub fn new(octets: u64) -> Self {
        Self { left: octets }
    }

    /// Drops what it can from the front of `input`; true when nothing is left to drop.
    pub fn take(&mut self, input: &mut BytesMut) -> bool {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        input.advance(length);
        self.left -= length as u64;
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements() {
        let header =
            |octets, non_synchronizing, binary, at| Some(LiteralHeader { octets, non_synchronizing, binary, at });
        let table: Vec<(&[u8], Option<LiteralHeader>)> = vec![
            (b"A001 LOGIN {11}", header(11, false, false, 11)),
            (b"A001 LOGIN {11+}", header(11, true, false, 11)),
            (b"a APPEND x ~{22}", header(22, false, true, 11)),
            (b"a APPEND x ~{22+}", header(22, true, true, 11)),
            (b"{0}", header(0, false, false, 0)),
            (b"{9223372036854775807}", header(i64::MAX as u64, false, false, 0)),
            (b"{9223372036854775808}", None),
            (b"{}", None),
            (b"{+}", None),
            (b"{1++}", None),
            (b"{-1}", None),
            (b"5}", None),
            (b"{5} ", None),
            (b"", None),
        ];
        for (line, expected) in table {
            assert_eq!(LiteralHeader::at_end_of(line), expected, "{:?}", String::from_utf8_lossy(line));
        }
    }

    fn commands(limits: CommandLimits, octets: &[u8], cut: usize) -> Vec<Result<Vec<u8>, FrameError>> {
        let mut framer = CommandFramer::new(limits);
        let mut found = Vec::new();
        for piece in octets.chunks(cut) {
            let mut input = BytesMut::from(piece);
            loop {
                match framer.take(&mut input) {
                    Ok(Some(Framed::Command(command))) => found.push(Ok(command.to_vec())),
                    Ok(Some(Framed::Literal(literal))) => framer.gather(literal),
                    Ok(None) => break,
                    Err(error) => found.push(Err(error)),
                }
            }
        }
        found
    }

    #[test]
    fn commands_at_every_cut() {
        let small = CommandLimits { line_octets: 20, command_octets: 30, literals: 2 };
        let octets = b"a LOGIN {3+}\r\njoe {2+}\r\n\r\n\r\nb NOOP\r\n";
        let expected: Vec<Result<Vec<u8>, FrameError>> =
            vec![Ok(b"a LOGIN {3+}\r\njoe {2+}\r\n\r\n".to_vec()), Ok(b"b NOOP".to_vec())];
        for cut in 1..=octets.len() {
            assert_eq!(commands(small, octets, cut), expected, "cut at {cut}");
        }
        let three = b"a {0+}\r\n{0+}\r\n{0+}\r\nb NOOP\r\n";
        for cut in 1..=three.len() {
            assert_eq!(
                commands(small, three, cut),
                [Err(FrameError::TooManyLiterals { limit: 2 }), Ok(b"b NOOP".to_vec())],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn room_for_a_literal_is_what_the_limit_leaves() {
        let mut framer = CommandFramer::new(CommandLimits { line_octets: 20, command_octets: 30, literals: 2 });
        let mut input = BytesMut::from("a X {22}\r\n");
        assert!(matches!(framer.take(&mut input), Ok(Some(Framed::Literal(_)))));
        assert!(framer.has_room_for(20));
        assert!(!framer.has_room_for(21));
        assert!(!framer.has_room_for(u64::MAX));
    }

    #[test]
    fn a_chunk_takes_its_octets_and_no_more() {
        let mut chunk = Chunk::new(5);
        let mut input = BytesMut::from("abc");
        assert_eq!(chunk.take(&mut input), Some(Bytes::from_static(b"abc")));
        assert_eq!(chunk.take(&mut input), None);
        let mut input = BytesMut::from("deQUIT");
        assert_eq!(chunk.take(&mut input), Some(Bytes::from_static(b"de")));
        assert_eq!((chunk.left(), chunk.take(&mut input)), (0, None));
        let mut discard = Discard::new(3);
        assert!(discard.take(&mut input));
        assert_eq!(&input[..], b"T");
    }
}
