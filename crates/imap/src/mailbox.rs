//! Mailbox names: Unicode here, modified UTF-7 on the wire of IMAP4rev1 (RFC 3501 §5.1.3), UTF-8 on that of IMAP4rev2
//! and under UTF8=ACCEPT.

use base64::Engine as _;
use base64::alphabet::Alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use unicode_normalization::UnicodeNormalization as _;

/// A mailbox name in NFC; the inbox is `INBOX` however it was spelt (RFC 9051 §5.1).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct MailboxName(String);

impl MailboxName {
    /// A name as users write it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let inbox = name.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("INBOX"));
        let name: String = name.nfc().collect();
        match name.get(5..) {
            Some(rest) if inbox && (rest.is_empty() || rest.starts_with('/')) => Self(format!("INBOX{rest}")),
            _ => Self(name),
        }
    }

    /// A name as it stands on the wire: in UTF-8 where that is agreed (`utf8`), else in modified UTF-7. What is not
    /// valid modified UTF-7 but valid UTF-8 is taken as that, since some clients send it.
    #[must_use]
    pub fn from_wire(octets: &[u8], utf8: bool) -> Option<Self> {
        if !utf8
            && octets.is_ascii()
            && let Some(name) = decode(octets)
        {
            return Some(Self::new(&name));
        }
        std::str::from_utf8(octets).ok().map(Self::new)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands on the wire.
    #[must_use]
    pub fn to_wire(&self, utf8: bool) -> String {
        if utf8 { self.0.clone() } else { encode(&self.0) }
    }
}

/// BASE64 with `,` for `/` and without padding.
fn engine() -> Option<GeneralPurpose> {
    let alphabet = Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").ok()?;
    Some(GeneralPurpose::new(&alphabet, NO_PAD))
}

/// Modified UTF-7 of a name.
pub(crate) fn encode(name: &str) -> String {
    let Some(engine) = engine() else { return String::new() };
    let mut out = String::with_capacity(name.len());
    let mut run: Vec<u8> = Vec::new();
    let flush = |run: &mut Vec<u8>, out: &mut String| {
        if !run.is_empty() {
            out.push('&');
            out.push_str(&engine.encode(&run));
            out.push('-');
            run.clear();
        }
    };
    for character in name.chars() {
        match character {
            ' '..='~' => {
                flush(&mut run, &mut out);
                out.push(character);
                if character == '&' {
                    out.push('-');
                }
            }
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    run.extend_from_slice(&unit.to_be_bytes());
                }
            }
        }
    }
    flush(&mut run, &mut out);
    out
}

/// The name behind modified UTF-7; `None` where it is not valid, or not the one encoding of its name.
pub(crate) fn decode(octets: &[u8]) -> Option<String> {
    let engine = engine()?;
    let text = std::str::from_utf8(octets).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, shifted)) = rest.split_once('&') {
        out.push_str(plain);
        let (run, behind) = shifted.split_once('-')?;
        if run.is_empty() {
            out.push('&');
        } else {
            let octets = engine.decode(run).ok()?;
            let (pairs, odd) = octets.as_chunks::<2>();
            if !odd.is_empty() {
                return None;
            }
            for character in char::decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair))) {
                out.push(character.ok().filter(|character| !matches!(character, ' '..='~'))?);
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    out.chars().all(|character| !character.is_ascii_control()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modified_utf7() {
        let table = [
            ("INBOX", "INBOX"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("A&B", "A&-B"),
            ("☺!", "&Jjo-!"),
            ("😀", "&2D3eAA-"),
        ];
        for (name, wire) in table {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
        for wire in ["&Jjo", "&Jjo!", "&AGE-", "&A-", "&U,BTFw-&", "a\u{7}"] {
            assert_eq!(decode(wire.as_bytes()), None, "{wire}");
        }
    }

    #[test]
    fn the_inbox_has_one_name() {
        // rule 19
        let name = |text: &str| MailboxName::new(text).as_str().to_owned();
        assert_eq!(name("inBox"), "INBOX");
        assert_eq!(name("inbox/a"), "INBOX/a");
        assert_eq!(name("inboxes"), "inboxes");
        assert_eq!(name("e\u{301}"), "\u{e9}");
        let wire = |octets: &[u8], utf8| MailboxName::from_wire(octets, utf8).map(|name| name.as_str().to_owned());
        assert_eq!(wire(b"&AOk-", false), Some("\u{e9}".into()));
        assert_eq!(wire(b"&AOk-", true), Some("&AOk-".into()));
        assert_eq!(wire(b"a & b", false), Some("a & b".into()));
        assert_eq!(wire(b"\xff", true), None);
    }
}
