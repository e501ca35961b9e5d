//! A message for a system that takes lines of US-ASCII alone: parts re-encoded, their meaning kept (RFC 6152 §3, RFC 2045
//! §6, RFC 3030 §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::header::{fields, header_range, line_end};
use crate::tree::{Inner, Limits, Part};

/// Octets of a line, without its CRLF, that every system takes (RFC 5321 §4.5.3.1.6).
const LINE_OCTETS: usize = 998;
/// Characters of an encoded line (RFC 2045 §6.7, §6.8).
const ENCODED_LINE: usize = 76;

/// Why a message has no 7-bit form that means the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotSevenBit {
    /// What would change is signed or encrypted (RFC 1847 §2.1): a change would break it (rule 10).
    Signed,
    /// A header holds octets beyond US-ASCII.
    Header,
    /// A part says that it is encoded already, or is of a type that may not be encoded (RFC 2045 §6.4).
    Part,
}

/// Whether every octet of this may stand in DATA sent to any system: US-ASCII without NUL, every CR and LF one of a pair,
/// no line over 998 octets.
#[must_use]
pub fn is_seven_bit(octets: &[u8]) -> bool {
    let mut line = 0;
    let mut at = 0;
    while let Some(&octet) = octets.get(at) {
        match octet {
            b'\r' if octets.get(at + 1) == Some(&b'\n') => {
                line = 0;
                at += 1;
            }
            0 | b'\r' | b'\n' | 0x80.. => return false,
            _ => line += 1,
        }
        if line > LINE_OCTETS {
            return false;
        }
        at += 1;
    }
    true
}

/// The message with every part that needs it in quoted-printable or base64; parts that need nothing stay as they are.
///
/// # Errors
/// Why there is no such form.
pub fn seven_bit(message: &[u8]) -> Result<Vec<u8>, NotSevenBit> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8);
    put(message, &Part::parse(message, &Limits::default()), true, &mut out)?;
    Ok(out)
}

fn put(message: &[u8], part: &Part, top: bool, out: &mut Vec<u8>) -> Result<(), NotSevenBit> {
    let octets = &message[part.header.start..part.body.end.max(part.header.end)];
    if is_seven_bit(octets) {
        out.extend_from_slice(octets);
        return Ok(());
    }
    let header = &message[part.header.clone()];
    if !is_seven_bit(header) {
        return Err(NotSevenBit::Header);
    }
    let body = &message[part.body.clone()];
    match &part.inner {
        Inner::Leaf => put_leaf(header, body, part, top, out),
        Inner::Message(inner) => {
            put_header(header, "7bit", None, out);
            put(message, inner, false, out)
        }
        Inner::Multipart(parts) => {
            if matches!(part.media_type.1.as_str(), "signed" | "encrypted") {
                return Err(NotSevenBit::Signed);
            }
            put_header(header, "7bit", None, out);
            let mut at = part.body.start;
            for inner in parts {
                put_unseen(&message[at..inner.header.start.max(at)], out);
                put(message, inner, false, out)?;
                at = inner.body.end.max(inner.header.end);
            }
            put_unseen(&message[at..part.body.end.max(at)], out);
            Ok(())
        }
    }
}

/// What stands between the parts: boundaries, and words that no reader shows.
fn put_unseen(octets: &[u8], out: &mut Vec<u8>) {
    out.extend(octets.iter().map(|&octet| if octet == 0 || octet > 127 { b'?' } else { octet }));
}

fn put_leaf(header: &[u8], body: &[u8], part: &Part, top: bool, out: &mut Vec<u8>) -> Result<(), NotSevenBit> {
    let encoding = fields(header).find(|field| field.is("Content-Transfer-Encoding")).map(|field| field.unfolded());
    let encoding = String::from_utf8_lossy(&encoding.unwrap_or_default()).to_ascii_lowercase();
    let kind = part.media_type.0.as_str();
    if !matches!(encoding.as_str(), "" | "7bit" | "8bit" | "binary") || matches!(kind, "message" | "multipart") {
        return Err(NotSevenBit::Part);
    }
    // RFC 1428 §3: what says nothing of itself is text of a charset that nobody knows.
    let is_mime = !top || fields(header).any(|field| field.is("MIME-Version"));
    let untold = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n";
    let more = if is_mime { None } else { Some(untold) };
    if kind == "text" {
        put_header(header, "quoted-printable", more, out);
        put_quoted_printable(body, out);
    } else {
        put_header(header, "base64", more, out);
        for line in STANDARD.encode(body).as_bytes().chunks(ENCODED_LINE) {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
    Ok(())
}

/// The header with another Content-Transfer-Encoding.
fn put_header(header: &[u8], encoding: &str, more: Option<&str>, out: &mut Vec<u8>) {
    let end = header_range(header).end;
    let empty_line = header[..end].ends_with(b"\r\n\r\n") || header[..end] == b"\r\n"[..];
    let fields_end = if empty_line { end - 2 } else { end };
    let mut at = 0;
    for field in fields(header) {
        let replaced = field.is("Content-Transfer-Encoding") || (more.is_some() && field.is("Content-Type"));
        if replaced {
            out.extend_from_slice(&header[at..field.start]);
            at = field.end.min(fields_end);
        }
    }
    out.extend_from_slice(&header[at..fields_end]);
    out.extend_from_slice(more.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"Content-Transfer-Encoding: ");
    out.extend_from_slice(encoding.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// `quoted-printable` (RFC 2045 §6.7) of text; a CR or LF that stands alone is an octet like any other.
fn put_quoted_printable(body: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        let line = body[at..end].strip_suffix(b"\r\n");
        put_line(line.unwrap_or(&body[at..end]), out);
        if line.is_some() {
            out.extend_from_slice(b"\r\n");
        }
        at = end;
    }
}

fn put_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, &octet) in line.iter().enumerate() {
        let last = at + 1 == line.len();
        let plain = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !last);
        // RFC 2045 §6.7: "From " and a lone dot are changed on the way by systems older than this one.
        let plain = plain && !(column == 0 && matches!(octet, b'F' | b'.'));
        let width = if plain { 1 } else { 3 };
        // Room for the soft line break, unless this is the end.
        if column + width > ENCODED_LINE - usize::from(!last) {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if plain {
            out.push(octet);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'=', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
        }
        column += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decoded;
    use proptest::prelude::*;

    #[test]
    fn what_needs_nothing_stays_as_it_is() {
        let message = b"Subject: x\r\n\r\nplain\r\n";
        assert_eq!(seven_bit(message).as_deref(), Ok(&message[..]));
    }

    #[test]
    fn text_becomes_quoted_printable() {
        for (message, expected) in [
            (
                "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\u{fc}\u{df}e \r\n.\r\n",
                "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=20\r\n=2E\r\n",
            ),
            (
                "Subject: x\r\n\r\n\u{fc}",
                "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC",
            ),
        ] {
            let found = seven_bit(message.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&found), expected);
        }
    }

    #[test]
    fn only_the_parts_that_need_it_change() {
        let message = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npre\u{e9}\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n\u{e9}\r\n--b--\r\n";
        let found = String::from_utf8(seven_bit(message.as_bytes()).unwrap()).unwrap();
        let expected = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npre??\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw6k=\r\n\r\n--b--\r\n";
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_signed_encoded_or_has_such_a_header_is_not_changed() {
        // rule 10
        let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{e9}\r\n--b\r\n\r\ns\r\n--b--\r\n";
        assert_eq!(seven_bit(signed.as_bytes()), Err(NotSevenBit::Signed));
        assert_eq!(seven_bit("Subject: \u{e9}\r\n\r\n".as_bytes()), Err(NotSevenBit::Header));
        let encoded = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n\u{e9}\r\n";
        assert_eq!(seven_bit(encoded.as_bytes()), Err(NotSevenBit::Part));
    }

    proptest! {
        #[test]
        fn the_form_is_seven_bit_and_means_the_same(body in prop::collection::vec(any::<u8>(), 0..400), text: bool) {
            let kind = if text { "text/plain" } else { "application/octet-stream" };
            let mut message = format!("MIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n").into_bytes();
            message.extend_from_slice(&body);
            let found = seven_bit(&message).unwrap();
            prop_assert!(is_seven_bit(&found), "{}", String::from_utf8_lossy(&found));
            let part = Part::parse(&found, &Limits::default());
            prop_assert_eq!(decoded(&part, &found), Some(body));
        }
    }
}
