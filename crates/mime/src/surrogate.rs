//! Internationalised headers for clients that know nothing of them (RFC 6858, rule 24).

use base64::Engine as _;

use crate::header::fields;
use crate::value::{AddressItem, Parameterised, addresses, latin};

/// A value that clients without UTF-8 can be shown: octets beyond ASCII become encoded words (RFC 6858 §2.3).
#[must_use]
pub fn surrogate(value: &[u8]) -> Vec<u8> {
    if value.is_ascii() {
        return value.to_vec();
    }
    let text = std::str::from_utf8(value).map_or_else(|_| latin(value), str::to_owned);
    let mut out = Vec::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut Vec<u8>| {
        if !word.is_empty() {
            if !out.is_empty() {
                out.push(b' ');
            }
            let encoded = base64::engine::general_purpose::STANDARD.encode(word.as_bytes());
            out.extend_from_slice(format!("=?UTF-8?B?{encoded}?=").as_bytes());
            word.clear();
        }
    };
    for character in text.chars() {
        // RFC 2047 §2: an encoded word has at most 75 octets, so 45 before the encoding.
        if word.len() + character.len_utf8() > 45 {
            flush(&mut word, &mut out);
        }
        word.push(character);
    }
    flush(&mut word, &mut out);
    out
}

/// An address that any client can be shown: beyond ASCII its name becomes encoded words, and the address itself one
/// that nothing reaches, with a name that tells what it was (RFC 6858 §2.1).
#[must_use]
pub fn surrogate_address(item: AddressItem) -> AddressItem {
    let plain = |octets: &Option<Vec<u8>>| octets.as_ref().is_none_or(|octets| octets.is_ascii());
    let name = item.name.map(|name| surrogate(&name));
    let (mailbox, host) = match (item.mailbox, item.host) {
        (mailbox, host) if plain(&mailbox) && plain(&host) => return AddressItem { name, mailbox, host },
        // A group's name is shown as any name is.
        (Some(group), None) => return AddressItem { name, mailbox: Some(surrogate(&group)), host: None },
        (mailbox, host) => (mailbox.unwrap_or_default(), host.unwrap_or_default()),
    };
    AddressItem {
        name: name.or_else(|| Some(surrogate(&[&mailbox[..], b"@", &host].concat()))),
        mailbox: Some(b"internationalized-address".to_vec()),
        host: Some(b"invalid".to_vec()),
    }
}

/// The fields that addresses are replaced in (RFC 6858 §2.1).
const ADDRESSES: [&str; 12] = [
    "From",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "Sender",
    "Return-Path",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
    "Resent-Sender",
];

/// A header in which every octet is ASCII; where all are, as it stands. Fields that have no such form are left out
/// (RFC 6858 §2.4), other fields and the empty line stay as they are.
#[must_use]
pub fn surrogate_header(header: &[u8]) -> Vec<u8> {
    if header.is_ascii() {
        return header.to_vec();
    }
    let mut out = Vec::with_capacity(header.len());
    let mut at = 0;
    for field in fields(header) {
        // Lines that are no fields stay, if they can.
        out.extend(header[at..field.start].iter().filter(|octet| octet.is_ascii()));
        at = field.end;
        if header[field.start..field.end].is_ascii() {
            out.extend_from_slice(&header[field.start..field.end]);
            continue;
        }
        let value = if ADDRESSES.iter().any(|name| field.is(name)) {
            address_list(field.value)
        } else if field.is("Subject") || field.is("Comments") || field.is("Content-Description") {
            surrogate(&field.unfolded())
        } else if field.is("Content-Type") || field.is("Content-Disposition") {
            parameters(field.value)
        } else {
            continue;
        };
        out.extend_from_slice(field.name);
        out.extend_from_slice(b": ");
        folded(&value, &mut out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend(header[at..].iter().filter(|octet| octet.is_ascii()));
    out
}

fn address_list(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in addresses(value).into_iter().map(surrogate_address) {
        match (item.mailbox, item.host) {
            (None, _) => out.push(b';'),
            (Some(group), None) => {
                separate(&mut out);
                phrase(&group, &mut out);
                out.push(b':');
            }
            (Some(local), Some(host)) => {
                separate(&mut out);
                if let Some(name) = item.name {
                    phrase(&name, &mut out);
                    out.push(b' ');
                }
                out.push(b'<');
                if local.iter().all(|octet| is_atext(*octet) || *octet == b'.') {
                    out.extend_from_slice(&local);
                } else {
                    quoted(&local, &mut out);
                }
                out.push(b'@');
                out.extend_from_slice(&host);
                out.push(b'>');
            }
        }
    }
    out
}

fn separate(out: &mut Vec<u8>) {
    match out.last() {
        None => {}
        Some(b':') => out.push(b' '),
        Some(_) => out.extend_from_slice(b", "),
    }
}

fn phrase(name: &[u8], out: &mut Vec<u8>) {
    // Encoded words are made of atom octets, so they stay bare (RFC 2047 §5).
    if !name.is_empty() && name.iter().all(|octet| is_atext(*octet) || *octet == b' ') {
        out.extend_from_slice(name);
    } else {
        quoted(name, out);
    }
}

/// The value with the parameters that are ASCII; the others are left out (RFC 6858 §2.2).
fn parameters(value: &[u8]) -> Vec<u8> {
    let parsed = Parameterised::parse(value);
    let mut out: Vec<u8> = parsed.value.into_iter().filter(u8::is_ascii).collect();
    for (name, value) in parsed.parameters {
        if name.is_ascii() && value.is_ascii() {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(&name);
            out.push(b'=');
            // RFC 2231 §7: an extended value is never quoted.
            if name.ends_with(b"*") {
                out.extend_from_slice(&value);
            } else {
                quoted(&value, &mut out);
            }
        }
    }
    out
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for octet in text {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
}

/// RFC 5322 §3.2.3.
fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// Breaks lines before words that would pass 78 octets (RFC 5322 §2.1.1), where there is white space already.
fn folded(value: &[u8], out: &mut Vec<u8>) {
    let mut column = out.len() - memchr::memrchr(b'\n', out).map_or(0, |at| at + 1);
    for (number, word) in value.split(|octet| *octet == b' ').enumerate() {
        if number > 0 {
            if column + 1 + word.len() > 78 && !word.is_empty() {
                out.extend_from_slice(b"\r\n");
                column = 0;
            }
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word);
        column += word.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::text;

    #[test]
    fn words() {
        // rule 24
        assert_eq!(surrogate("Jörg".as_bytes()), b"=?UTF-8?B?SsO2cmc=?=");
        assert_eq!(surrogate(b"caf\xe9"), b"=?UTF-8?B?Y2Fmw6k=?=");
        let long = surrogate("ü".repeat(50).as_bytes());
        assert!(long.is_ascii() && long.split(|octet| *octet == b' ').all(|word| word.len() <= 75));
        assert_eq!(text(&long), "ü".repeat(50));
    }

    #[test]
    fn headers() {
        // rule 24
        let table = [
            ("A: b\r\n\r\n", "A: b\r\n\r\n"),
            ("Subject: Jörg\r\nA: b\r\n c\r\n\r\n", "Subject: =?UTF-8?B?SsO2cmc=?=\r\nA: b\r\n c\r\n\r\n"),
            (
                "From: Jörg <j@x.example>, \"Doe, J\" <\"a b\"@y>\r\n",
                "From: =?UTF-8?B?SsO2cmc=?= <j@x.example>, \"Doe, J\" <\"a b\"@y>\r\n",
            ),
            (
                "To: Team: jörg@x, Ann <ann@ü>; b@c\r\n",
                "To: Team: =?UTF-8?B?asO2cmdAeA==?= <internationalized-address@invalid>, Ann\r\n <internationalized-address@invalid>;, <b@c>\r\n",
            ),
            ("Cc: Größe:;\r\n", "Cc: =?UTF-8?B?R3LDtsOfZQ==?=:;\r\n"),
            (
                "Content-Disposition: attachment; filename=ü; size=\"1\"; x*=utf-8''%C3\r\n",
                "Content-Disposition: attachment; size=\"1\"; x*=utf-8''%C3\r\n",
            ),
            ("X-Other: ü\r\nB: c\r\n\r\n", "B: c\r\n\r\n"),
        ];
        for (header, expected) in table {
            assert_eq!(String::from_utf8_lossy(&surrogate_header(header.as_bytes())), expected);
        }
    }
}
