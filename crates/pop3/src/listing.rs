//! The lines of STAT, LIST and UIDL.

use std::fmt;

use bytes::BytesMut;
use nom::Parser;
use nom::bytes::complete::tag;
use nom::sequence::separated_pair;
use wire::InvalidValue;

use crate::command::{MessageNumber, put};
use crate::error::ResponseError;
use crate::parse::number;

/// One message of a maildrop, as the application hands it over at login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Its size in octets, lines ended by CRLF, without transparency: what RETR sends (RFC 1939 §11).
    pub octets: u64,
    /// Its unique id.
    pub unique_id: UniqueId,
}

/// 1 to 70 printable ASCII characters, never given to another message of the maildrop (RFC 1939 §7).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UniqueId(Box<str>);

impl UniqueId {
    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for UniqueId {
    type Error = InvalidValue;

    fn try_from(id: &str) -> Result<Self, InvalidValue> {
        if (1..=70).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_graphic()) {
            Ok(Self(id.into()))
        } else {
            Err(InvalidValue { rule: "unique-id" })
        }
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scan listing, its CRLF included.
pub(crate) fn put_scan(message: MessageNumber, listed: &Listed, out: &mut BytesMut) {
    put(out, format_args!("{message} {}\r\n", listed.octets));
}

/// A unique-id listing, its CRLF included.
pub(crate) fn put_unique_id(message: MessageNumber, listed: &Listed, out: &mut BytesMut) {
    put(out, format_args!("{message} {}\r\n", listed.unique_id));
}

/// Two numbers with a space between; whatever follows the second is passed over (RFC 1939 §5).
pub(crate) fn two_numbers(line: &[u8]) -> Option<(u64, u64)> {
    let (rest, numbers) = separated_pair(number, tag(" "), number).parse(line).ok()?;
    matches!(rest, [] | [b' ', ..]).then_some(numbers)
}

/// Reads a scan listing.
pub(crate) fn scan(line: &[u8]) -> Result<(MessageNumber, u64), ResponseError> {
    let (message, octets) = two_numbers(line).ok_or(ResponseError::Expected { expected: "scan listing" })?;
    let message = u32::try_from(message).ok().and_then(MessageNumber::new);
    message.map(|message| (message, octets)).ok_or(ResponseError::Expected { expected: "scan listing" })
}

/// Reads a unique-id listing.
pub(crate) fn unique_id(line: &[u8]) -> Result<(MessageNumber, UniqueId), ResponseError> {
    let read = || {
        let (message, id) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some((MessageNumber::new(message.parse().ok()?)?, UniqueId::try_from(id.trim_end()).ok()?))
    };
    read().ok_or(ResponseError::Expected { expected: "unique-id listing" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings() {
        let second = MessageNumber::new(2).unwrap();
        for (line, expected) in
            [("2 200", Some(200)), ("2 200 more", Some(200)), ("2", None), ("0 1", None), ("2 200x", None), ("x", None)]
        {
            assert_eq!(scan(line.as_bytes()).ok(), expected.map(|octets| (second, octets)), "{line}");
        }
        for (line, expected) in [
            ("2 QhdPYR:00WBw1Ph7x7", Some("QhdPYR:00WBw1Ph7x7")),
            ("2 ", None),
            ("2 a b", None),
            ("2", None),
            ("0 a", None),
        ] {
            let expected = expected.map(|id| (second, UniqueId::try_from(id).unwrap()));
            assert_eq!(unique_id(line.as_bytes()).ok(), expected, "{line}");
        }
    }

    #[test]
    fn unique_ids_have_1_to_70_characters() {
        for (id, fits) in [
            ("", false),
            ("a", true),
            (&*"~".repeat(70), true),
            (&*"~".repeat(71), false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(UniqueId::try_from(id).is_ok(), fits, "{id}");
        }
    }
}
