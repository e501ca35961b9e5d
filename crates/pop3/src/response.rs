//! The first line of every response (RFC 1939 §3, RFC 2449 §3 and §8, RFC 3206).

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::command::put;
use crate::error::ResponseError;

/// `single-line = status [SP text]` (RFC 2449 §3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    positive: bool,
    code: Option<ResponseCode>,
    text: Cow<'static, str>,
}

/// Octets of text that are printed: with status, code and CRLF at most 512 (RFC 2449 §4).
const MAX_TEXT: usize = 440;

impl Response {
    /// `+OK`, and words for a human.
    #[must_use]
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { positive: true, code: None, text: printable(text.into(), false) }
    }

    /// `-ERR`, and words for a human.
    #[must_use]
    pub fn err(text: impl Into<Cow<'static, str>>) -> Self {
        Self { positive: false, code: None, text: printable(text.into(), false) }
    }

    /// `-ERR` with a code.
    #[must_use]
    pub fn coded(code: ResponseCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { positive: false, code: Some(code), text: printable(text.into(), true) }
    }

    /// Reads a line, its CRLF already cut off.
    ///
    /// # Errors
    /// It has no status indicator, which is in upper case (RFC 1939 §3).
    pub fn parse(line: &[u8]) -> Result<Self, ResponseError> {
        let (positive, rest) = match (line.strip_prefix(b"+OK"), line.strip_prefix(b"-ERR")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(ResponseError::Status),
        };
        let text = match rest {
            [] => rest,
            [b' ', text @ ..] => text,
            _ => return Err(ResponseError::Status),
        };
        let text = String::from_utf8_lossy(text);
        let text = text.as_ref();
        let (code, text) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((code, text)) => match ResponseCode::parse(code) {
                Some(code) => (Some(code), text.strip_prefix(' ').unwrap_or(text)),
                None => (None, text),
            },
            None => (None, text),
        };
        let text = printable(Cow::Owned(text.to_owned()), code.is_some());
        Ok(Self { positive, code, text })
    }

    /// Whether it is `+OK`.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.positive
    }

    /// The code in brackets.
    #[must_use]
    pub fn code(&self) -> Option<&ResponseCode> {
        self.code.as_ref()
    }

    /// The words behind it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends the line, CRLF included.
    pub fn encode(&self, out: &mut BytesMut) {
        put(out, format_args!("{self}"));
        out.put_slice(b"\r\n");
    }

    /// The same, but negative.
    pub(crate) fn negative(mut self) -> Self {
        self.positive = false;
        self
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.positive { "+OK" } else { "-ERR" })?;
        if let Some(code) = &self.code {
            write!(f, " [{code}]")?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", self.text)?;
        }
        Ok(())
    }
}

/// Text as a line can have it: ASCII, no control characters, no `[` at the start unless a code stands before it.
fn printable(mut text: Cow<'static, str>, coded: bool) -> Cow<'static, str> {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.to_mut().truncate(end);
    }
    if text.bytes().any(|octet| !matches!(octet, b' '..=b'~')) {
        let mend = |char: char| match char {
            ' '..='~' => char,
            char if char.is_control() => ' ',
            _ => '?',
        };
        text = Cow::Owned(text.chars().map(mend).collect());
    }
    if text.trim_start() != text {
        text = Cow::Owned(text.trim_start().to_owned());
    }
    if !coded && text.starts_with('[') {
        text = Cow::Owned(text.replacen('[', "(", 1));
    }
    text
}

/// `resp-code` (RFC 2449 §8). Case does not matter; it is kept in upper case.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ResponseCode {
    /// Another session has the maildrop (RFC 2449 §8.1.2).
    InUse,
    /// Too soon after the last login (RFC 2449 §8.1.1).
    LoginDelay,
    /// Our trouble, which will pass (RFC 3206 §4).
    SysTemp,
    /// Our trouble, which will not pass by itself (RFC 3206 §4).
    SysPerm,
    /// The credentials (RFC 3206 §5).
    Auth,
    /// The message needs UTF8 (RFC 6856 §5).
    Utf8,
    /// Another one.
    Other(String),
}

impl ResponseCode {
    fn parse(code: &str) -> Option<Self> {
        // `rchar` is printable without `/` and `]`; some servers put spaces in, too.
        if code.is_empty() || code.len() > 64 || code.split('/').any(str::is_empty) {
            return None;
        }
        if !code.bytes().all(|octet| octet.is_ascii_graphic()) {
            return None;
        }
        let code = code.to_ascii_uppercase();
        Some(match code.as_str() {
            "IN-USE" => Self::InUse,
            "LOGIN-DELAY" => Self::LoginDelay,
            "SYS/TEMP" => Self::SysTemp,
            "SYS/PERM" => Self::SysPerm,
            "AUTH" => Self::Auth,
            "UTF8" => Self::Utf8,
            _ => Self::Other(code),
        })
    }
}

impl TryFrom<&str> for ResponseCode {
    type Error = wire::InvalidValue;

    fn try_from(code: &str) -> Result<Self, Self::Error> {
        Self::parse(code).filter(|_| !code.contains(']')).ok_or(wire::InvalidValue { rule: "resp-code" })
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "IN-USE",
            Self::LoginDelay => "LOGIN-DELAY",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
            Self::Auth => "AUTH",
            Self::Utf8 => "UTF8",
            Self::Other(code) => code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses() {
        for (line, positive, code, text) in [
            ("+OK", true, None, ""),
            ("-ERR", false, None, ""),
            ("+OK 2 320", true, None, "2 320"),
            (
                "-ERR no such message, only 2 messages in maildrop",
                false,
                None,
                "no such message, only 2 messages in maildrop",
            ),
            (
                "-ERR [IN-USE] Do you have another POP session running?",
                false,
                Some(ResponseCode::InUse),
                "Do you have another POP session running?",
            ),
            ("-ERR [login-delay] Too soon", false, Some(ResponseCode::LoginDelay), "Too soon"),
            ("-ERR [SYS/PERM] broken", false, Some(ResponseCode::SysPerm), "broken"),
            ("-ERR [UTF8]", false, Some(ResponseCode::Utf8), ""),
            ("-ERR [X/Y] z", false, Some(ResponseCode::Other("X/Y".to_owned())), "z"),
        ] {
            let response = Response::parse(line.as_bytes()).unwrap();
            assert_eq!((response.is_positive(), response.code(), response.text()), (positive, code.as_ref(), text));
            assert_eq!(response.to_string().to_ascii_lowercase(), line.to_ascii_lowercase());
        }
        for line in ["", "OK", "+ok", "+OKAY", "-ERROR", "+ "] {
            assert_eq!(Response::parse(line.as_bytes()), Err(ResponseError::Status), "{line}");
        }
    }

    #[test]
    fn text_cannot_break_a_line() {
        assert_eq!(Response::err("a\r\n+OK é").to_string(), "-ERR a  +OK ?");
        assert_eq!(Response::err("[AUTH] no").to_string(), "-ERR (AUTH] no");
        let mut out = BytesMut::new();
        Response::coded(ResponseCode::Other("X".repeat(60)), "é".repeat(400)).encode(&mut out);
        assert!(out.len() <= 512);
    }
}
