//! What AUTH and AUTHENTICATE carry in every protocol: the name of a mechanism, and octets in base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

use crate::{InvalidValue, Secret};

/// The name of a SASL mechanism: 1 to 20 of A–Z, 0–9, `-`, `_` (RFC 4422 §3.1); lower case is raised.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Mechanism(String);

impl Mechanism {
    /// The name in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Mechanism {
    type Error = InvalidValue;

    fn try_from(name: &str) -> Result<Self, InvalidValue> {
        let is_sasl = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        if (1..=20).contains(&name.len()) && name.bytes().all(is_sasl) {
            Ok(Self(name.to_ascii_uppercase()))
        } else {
            Err(InvalidValue { rule: "sasl-mech" })
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends octets in base64 (RFC 4648 §4).
pub fn put_base64(octets: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.resize(start + octets.len().div_ceil(3) * 4, 0);
    if let Some(room) = out.get_mut(start..) {
        // The room is what RFC 4648 §4 makes of so many octets, so this cannot fail.
        let _ = STANDARD.encode_slice(octets, room);
    }
}

/// The octets behind base64; `None`: it is none. RFC 4954 §4 and RFC 5034 §4 want that refused, not mended.
#[must_use]
pub fn base64_decode(text: &[u8]) -> Option<Secret> {
    STANDARD.decode(text).ok().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mechanisms() {
        for (name, expected) in [
            ("PLAIN", Some("PLAIN")),
            ("scram-sha-256-plus", Some("SCRAM-SHA-256-PLUS")),
            ("9_", Some("9_")),
            ("ABCDEFGHIJKLMNOPQRST", Some("ABCDEFGHIJKLMNOPQRST")),
            ("ABCDEFGHIJKLMNOPQRSTU", None),
            ("PLAIN ", None),
            ("PL\u{c4}IN", None),
            ("", None),
        ] {
            let found = Mechanism::try_from(name);
            assert_eq!(found.as_ref().map(Mechanism::as_str), expected.ok_or(&InvalidValue { rule: "sasl-mech" }));
        }
    }

    #[test]
    fn base64_there_and_back() {
        // RFC 4648 §10
        for (octets, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = BytesMut::from("+ ");
            put_base64(octets.as_bytes(), &mut out);
            assert_eq!(out, format!("+ {text}"));
            assert_eq!(base64_decode(text.as_bytes()), Some(Secret::new(octets)));
        }
        for text in ["Zg", "Zg=", "Zh==", "Zm9v\r\n", "Zm 9v", "*", "Zm9-"] {
            assert_eq!(base64_decode(text.as_bytes()), None, "{text:?}");
        }
    }
}
