//! Replies from lines that a server sent, however hostile (RFC 5321 §4.2).

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::take_while_m_n;
use nom::character::complete::char;
use nom::combinator::{eof, rest, value};
use wire::EnhancedCode;

use crate::error::ReplyError;
use crate::parse::Parsed;
use crate::reply::{Reply, is_code};

/// Gathers the lines of one reply after the other.
#[derive(Debug)]
pub(crate) struct ReplyParser {
    limit: usize,
    code: Option<u16>,
    enhanced: Option<EnhancedCode>,
    lines: usize,
    text: String,
}

impl ReplyParser {
    /// A parser for replies of at most `limit` lines.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, code: None, enhanced: None, lines: 0, text: String::new() }
    }

    /// Forgets the lines of an unfinished reply.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// A line, its CRLF cut off; the reply, if it was the last one.
    pub(crate) fn push(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        if self.lines >= self.limit {
            return Err(ReplyError::TooManyLines { limit: self.limit });
        }
        let (_, (code, last, text)) = reply_line(line).map_err(|_| ReplyError::Code)?;
        // LENIENT: lines of one reply should repeat the code (RFC 5321 §4.2.1); a change of the later digits is let
        // through, and the last line counts.
        if self.code.is_some_and(|before| before / 100 != code / 100) {
            return Err(ReplyError::MixedCodes);
        }
        self.code = Some(code);
        let text = String::from_utf8_lossy(text);
        let text = match EnhancedCode::at_front_of(&text) {
            Some((enhanced, behind)) if enhanced.fits(code) => {
                self.enhanced.get_or_insert(enhanced);
                behind
            }
            _ => &text,
        };
        if self.lines > 0 {
            self.text.push('\n');
        }
        self.text.extend(text.chars().map(|char| if char.is_control() { '?' } else { char }));
        self.lines += 1;
        if !last {
            return Ok(None);
        }
        let text = std::mem::take(&mut self.text);
        let reply = match self.enhanced {
            Some(enhanced) => Reply::with_enhanced(code, enhanced, text),
            None => Reply::plain(code, text),
        };
        self.clear();
        Ok(Some(reply))
    }
}

/// `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF`, one line of it: the code,
/// whether it is the last, the text.
fn reply_line(line: &[u8]) -> Parsed<'_, (u16, bool, &[u8])> {
    let last = alt((value(false, char('-')), value(true, char(' ')), value(true, eof)));
    (reply_code, last, rest).parse(line)
}

/// `Reply-code = %x32-35 %x30-35 %x30-39`
fn reply_code(line: &[u8]) -> Parsed<'_, u16> {
    take_while_m_n(3, 3, |octet: u8| octet.is_ascii_digit())
        .map_opt(|digits: &[u8]| {
            let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
            is_code(code).then_some(code)
        })
        .parse(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies() {
        type Row = (&'static [&'static [u8]], Result<&'static str, ReplyError>);
        let table: &[Row] = &[
            (&[b"250 2.1.0 ok"], Ok("250 2.1.0 ok")),
            (&[b"250"], Ok("250")),
            (&[b"250 "], Ok("250")),
            (&[b"250-", b"250 x"], Ok("250 x")),
            (&[b"550-5.1.1 a", b"550 5.1.1 b"], Ok("550 5.1.1 a b")),
            (&[b"550-5.1.1 a", b"551 b"], Ok("551 5.1.1 a b")),
            (&[b"250 5.1.1 odd"], Ok("250 5.1.1 odd")),
            (&[b"250 caf\xc3\xa9 \xff\x07"], Ok("250 caf\u{e9} \u{fffd}?")),
            (&[b"250-a", b"550 b"], Err(ReplyError::MixedCodes)),
            (&[b"25 a"], Err(ReplyError::Code)),
            (&[b"2500 a"], Err(ReplyError::Code)),
            (&[b"260 a"], Err(ReplyError::Code)),
            (&[b"199 a"], Err(ReplyError::Code)),
            (&[b"650 a"], Err(ReplyError::Code)),
            (&[b""], Err(ReplyError::Code)),
            (&[b"HTTP/1.1 400"], Err(ReplyError::Code)),
            (&[b"250-a", b"250-b", b"250-c", b"250 d"], Err(ReplyError::TooManyLines { limit: 3 })),
        ];
        for (lines, expected) in table {
            let mut parser = ReplyParser::new(3);
            let found = lines.iter().map(|line| parser.push(line)).find_map(Result::transpose).expect("an end");
            assert_eq!(found.map(|reply| reply.to_string()), expected.map(str::to_owned), "{lines:?}");
        }
    }
}
