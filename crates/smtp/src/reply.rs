//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 3463, RFC 2034), and their way to octets.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use bytes::{BufMut, BytesMut};
use wire::EnhancedCode;

/// Octets of a reply line, CRLF included (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_OCTETS: usize = 512;

/// What the first digit of a reply means (RFC 5321 §4.2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// 2yz: done.
    Positive,
    /// 3yz: go on with what the command announced.
    Intermediate,
    /// 4yz: not now; the same command may succeed later.
    Transient,
    /// 5yz: no; the same command will fail again.
    Permanent,
}

/// One reply, of one line or several. Every value that exists can be printed: text outside printable US-ASCII becomes
/// `?`, and long lines are split.
#[derive(Clone, Eq, PartialEq)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    /// Lines, parted by LF.
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply `code` with `text`, whose lines are parted by LF. An enhanced status code at the front of the text is
    /// the reply's, if its class fits: `Reply::new(550, "5.1.1 no such user here")`.
    ///
    /// A code that is no reply code (RFC 5321 §4.2: 2 to 5, then 0 to 5, then a digit) becomes 451: a mistake of ours
    /// must neither accept nor lose mail.
    #[must_use]
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let code = if is_code(code) { code } else { 451 };
        let (enhanced, text) = match EnhancedCode::at_front_of(&text) {
            Some((enhanced, rest)) => {
                let skip = text.len() - rest.len();
                let rest = match &text {
                    Cow::Borrowed(text) => Cow::Borrowed(text.get(skip..).unwrap_or_default()),
                    Cow::Owned(text) => Cow::Owned(text.get(skip..).unwrap_or_default().to_owned()),
                };
                (enhanced.fits(code).then_some(enhanced), rest)
            }
            None => (None, text),
        };
        Self { code, enhanced, text }
    }

    /// The same reply without an enhanced code, its text taken as it is.
    pub(crate) fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: if is_code(code) { code } else { 451 }, enhanced: None, text: text.into() }
    }

    /// As [`Self::plain`], with the enhanced code told apart.
    pub(crate) fn with_enhanced(code: u16, enhanced: EnhancedCode, text: String) -> Self {
        Self { code, enhanced: Some(enhanced), text: Cow::Owned(text) }
    }

    /// The three digits.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code.
    #[must_use]
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    /// The text without codes, lines parted by LF.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines of the text.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// What the first digit means.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.code / 100 {
            2 => Severity::Positive,
            3 => Severity::Intermediate,
            5 => Severity::Permanent,
            _ => Severity::Transient,
        }
    }

    /// 2yz.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.severity() == Severity::Positive
    }

    /// 5yz.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.severity() == Severity::Permanent
    }

    /// 4yz X.3.X: something is wrong with the system that replies, not with what it was told (RFC 3463 §3.4).
    #[must_use]
    pub fn is_own_trouble(&self) -> bool {
        self.severity() == Severity::Transient && self.enhanced().is_some_and(|code| code.subject() == 3)
    }

    /// 421: the sender of the reply closes the connection behind it (RFC 5321 §3.8).
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.code == 421
    }

    /// Appends the octets. Each line carries both codes (RFC 2034 §4) and has at most 512 octets.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut front = [0_u8; 16];
        let front = self.front(&mut front);
        let room = REPLY_LINE_OCTETS - 2 - front.len();
        let mut lines = self.lines().flat_map(|line| Wrapped { rest: Some(line), room }).peekable();
        while let Some(line) = lines.next() {
            let start = out.len();
            out.put_slice(front);
            if lines.peek().is_some()
                && let Some(mark) = out.get_mut(start + 3)
            {
                *mark = b'-';
            }
            out.extend(line.chars().map(|char| match char {
                ' '..='~' => char as u8,
                '\t' => b' ',
                _ => b'?',
            }));
            out.put_slice(b"\r\n");
        }
    }

    /// As a report quotes it (RFC 3461 §9.2): its lines parted by LF, each with both codes.
    #[must_use]
    pub fn transcript(&self) -> String {
        let enhanced = self.enhanced.map(|code| format!("{code} ")).unwrap_or_default();
        let mut out = String::new();
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            let (mark, end) = if lines.peek().is_some() { ('-', "\n") } else { (' ', "") };
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{mark}{enhanced}{line}{end}", self.code);
        }
        out
    }

    /// `250 2.1.0 ` into `room`, and the part of it that is filled.
    fn front<'a>(&self, room: &'a mut [u8; 16]) -> &'a [u8] {
        let mut left = &mut room[..];
        // A code has 3 digits and an enhanced code at most 1 + 3 + 3, so the room is enough.
        let _ = std::io::Write::write_fmt(&mut left, format_args!("{} ", self.code));
        if let Some(enhanced) = self.enhanced {
            let _ = std::io::Write::write_fmt(&mut left, format_args!("{enhanced} "));
        }
        let unused = left.len();
        let used = room.len() - unused;
        room.get(..used).unwrap_or_default()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

impl fmt::Display for Reply {
    /// On one line, as a log has it: `550 5.1.1 no such user`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.lines().filter(|line| !line.is_empty()) {
            f.write_char(' ')?;
            for char in line.chars() {
                f.write_char(if char.is_control() { '?' } else { char })?;
            }
        }
        Ok(())
    }
}

/// A line in pieces of at most `room` characters, cut at a space where there is one in the last half.
struct Wrapped<'a> {
    rest: Option<&'a str>,
    room: usize,
}

impl<'a> Iterator for Wrapped<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let line = self.rest.take()?;
        // One character leaves as one octet, whatever it is.
        let Some((hard, _)) = line.char_indices().nth(self.room) else {
            return Some(line);
        };
        let (fits, _) = line.split_at(hard);
        let cut = fits.rfind(' ').filter(|at| *at > hard / 2).map_or(hard, |at| at + 1);
        let (piece, rest) = line.split_at(cut);
        self.rest = Some(rest);
        Some(piece)
    }
}

/// `Reply-code = %x32-35 %x30-35 %x30-39` (RFC 5321 §4.2).
pub(crate) fn is_code(code: u16) -> bool {
    (200..600).contains(&code) && (code / 10) % 10 <= 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_as_octets() {
        let long = "word ".repeat(150);
        let table: Vec<(Reply, String)> = vec![
            (Reply::new(250, "2.1.0 ok"), "250 2.1.0 ok\r\n".into()),
            (Reply::new(354, "go ahead"), "354 go ahead\r\n".into()),
            (Reply::new(250, ""), "250 \r\n".into()),
            (Reply::new(550, "5.1.1 one\ntwo"), "550-5.1.1 one\r\n550 5.1.1 two\r\n".into()),
            // The class must fit the code (RFC 2034 §4), so this one is dropped.
            (Reply::new(250, "5.1.1 odd"), "250 odd\r\n".into()),
            (Reply::new(999, "odd"), "451 odd\r\n".into()),
            (Reply::new(550, "5.7.1 a\rb\0c\u{e9}"), "550 5.7.1 a?b?c?\r\n".into()),
            (
                Reply::new(250, long.trim_end().to_owned()),
                format!("250-{}\r\n250 {}\r\n", "word ".repeat(101), "word ".repeat(49).trim_end()),
            ),
            (Reply::new(250, "x".repeat(507)), format!("250-{}\r\n250 x\r\n", "x".repeat(506))),
        ];
        for (reply, octets) in table {
            let mut out = BytesMut::new();
            reply.encode(&mut out);
            assert_eq!(out, octets.as_bytes(), "{reply:?}");
            assert!(octets.lines().all(|line| line.len() <= REPLY_LINE_OCTETS - 2));
        }
    }

    #[test]
    fn replies_as_reports_quote_them() {
        for (reply, expected) in [
            (Reply::new(550, "5.1.1 one\ntwo\nthree"), "550-5.1.1 one\n550-5.1.1 two\n550 5.1.1 three"),
            (Reply::new(550, "caf\u{e9}"), "550 caf\u{e9}"),
        ] {
            assert_eq!(reply.transcript(), expected);
        }
    }
}
