//! Octets behind a transfer encoding, and the text a reader sees.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use crate::value::latin;
use crate::{Inner, Part};

/// The body's octets without their transfer encoding (RFC 3516 §4.3); `None`: the encoding is unknown or broken.
#[must_use]
pub fn decoded(part: &Part, message: &[u8]) -> Option<Vec<u8>> {
    unencoded(part, message, &message[part.body.clone()])
}

fn unencoded(part: &Part, message: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let encoding = part.field(message, "Content-Transfer-Encoding").unwrap_or_default();
    // RFC 2045 §6.1 has one token; hyphens, spaces and parameters are added by some.
    let token = encoding.split(|octet| *octet == b';').next().unwrap_or_default();
    let token: Vec<u8> = token.iter().filter(|octet| !b"- ".contains(octet)).map(u8::to_ascii_lowercase).collect();
    match token.as_slice() {
        b"" | b"7bit" | b"8bit" | b"8bits" | b"binary" => Some(body.to_vec()),
        b"base64" => base64_decode(body),
        b"quotedprintable" => quoted_printable_decode(body),
        _ => None,
    }
}

/// The text of a text part, in Unicode; HTML without its marks. What cannot be decoded is read as it stands.
#[must_use]
pub fn part_text(part: &Part, message: &[u8]) -> String {
    text_of(part, message, &message[part.body.clone()])
}

/// As [`part_text`], of the front of its body.
fn text_of(part: &Part, message: &[u8], body: &[u8]) -> String {
    if part.media_type.0 != "text" || part.inner != Inner::Leaf {
        return String::new();
    }
    // The library's decoders only: its parser would take a body apart once more, without a limit on parts.
    let octets = unencoded(part, message, body).unwrap_or_else(|| body.to_vec());
    let content_type = part.content_type(message);
    let charset = content_type.parameter("charset");
    let text = match charset.and_then(charset_decoder) {
        Some(decode) => decode(&octets),
        None if charset.is_some() => String::from_utf8_lossy(&octets).into_owned(),
        None => String::from_utf8(octets).unwrap_or_else(|error| latin(error.as_bytes())),
    };
    if part.media_type.1 == "html" { html_to_text(&text) } else { text }
}

/// Octets of a body that are looked at for a preview; mails that are all style sheet have about 100 KB of it.
const PREVIEW_OCTETS: usize = 256 << 10;

/// The first text a reader would see, on one line, at most `characters` (RFC 8970 §3.1).
#[must_use]
pub fn preview(root: &Part, message: &[u8], characters: usize) -> String {
    let all = root.all();
    let texts = || all.iter().filter(|part| part.media_type.0 == "text" && part.inner == Inner::Leaf);
    let Some(part) = texts().find(|part| part.media_type.1 == "plain").or_else(|| texts().next()) else {
        return String::new();
    };
    let mut body = &message[part.body.clone()];
    if body.len() > PREVIEW_OCTETS {
        body = &body[..PREVIEW_OCTETS];
        // Cut behind a line, so that no encoded octet is cut through.
        body = memchr::memrchr(b'\n', body).map_or(body, |end| &body[..=end]);
    }
    let mut preview = String::new();
    for word in text_of(part, message, body).split_whitespace() {
        if !preview.is_empty() {
            preview.push(' ');
        }
        preview.push_str(word);
        if preview.len() >= characters * 4 {
            break;
        }
    }
    preview.chars().filter(|character| !character.is_control()).take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn texts_and_octets() {
        let table: [(&str, &str, Option<&[u8]>); 8] = [
            (
                "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 =\r\nau lait\r\n",
                "caf\u{e9} au lait",
                Some(b"caf\xe9 au lait\r\n"),
            ),
            ("Content-Transfer-Encoding: BASE64\r\n\r\naGVsbG8=\r\n", "hello", Some(b"hello")),
            ("Content-Type: text/html\r\n\r\n<p>a <b>b</b>", "a b", Some(b"<p>a <b>b</b>")),
            ("Content-Transfer-Encoding: x-odd\r\n\r\nx", "x", None),
            ("Content-Transfer-Encoding: quoted-printable\r\n\r\n100 =% sure\r\n", "100 =% sure", None),
            ("Content-Transfer-Encoding: 7-Bit;\r\n\r\n=20", "=20", Some(b"=20")),
            ("Content-Transfer-Encoding: quoted printable\r\n\r\n=41", "A", Some(b"A")),
            // A multipart without boundary is text, whatever its field says.
            ("Content-Type: multipart/mixed\r\n\r\n--b\r\n", "--b", Some(b"--b\r\n")),
        ];
        for (message, text, octets) in table {
            let root = Part::parse(message.as_bytes(), &Limits::default());
            assert_eq!(preview(&root, message.as_bytes(), 200), text, "{message:?}");
            assert_eq!(decoded(&root, message.as_bytes()).as_deref(), octets, "{message:?}");
        }
    }

    #[test]
    fn text_without_a_charset_is_read_all_the_same() {
        for (body, expected) in [(&b"caf\xc3\xa9"[..], "caf\u{e9}"), (b"caf\xe9", "caf\u{e9}")] {
            let message = [b"\r\n", body].concat();
            assert_eq!(part_text(&Part::parse(&message, &Limits::default()), &message), expected);
        }
    }

    #[test]
    fn a_preview_looks_at_the_front_alone() {
        for line in ["Zm9vYmFyCg==\r\n", "foobar=20=\r\n"] {
            let encoding = if line.ends_with("==\r\n") { "base64" } else { "quoted-printable" };
            let mut message = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n").into_bytes();
            while message.len() < 3 * PREVIEW_OCTETS {
                message.extend_from_slice(line.as_bytes());
            }
            // Far behind, octets that no encoding has.
            message.extend_from_slice(b"=\xff\xff\r\n");
            let root = Part::parse(&message, &Limits::default());
            assert!(preview(&root, &message, 13).starts_with("foobar foobar"), "{encoding}");
        }
    }

    #[test]
    fn a_preview_ends_at_its_limit() {
        let message = format!("\r\n{}", "ü ".repeat(500));
        let root = Part::parse(message.as_bytes(), &Limits::default());
        assert_eq!(preview(&root, message.as_bytes(), 200).chars().count(), 200);
    }
}
