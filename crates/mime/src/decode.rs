//! Octets behind a transfer encoding, and the text a reader sees.

use mail_parser::MessageParser;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use crate::{Inner, Part};

/// The body's octets without their transfer encoding (RFC 3516 §4.3); `None`: the encoding is unknown or broken.
#[must_use]
pub fn decoded(part: &Part, message: &[u8]) -> Option<Vec<u8>> {
    let body = &message[part.body.clone()];
    let encoding = part.field(message, "Content-Transfer-Encoding").unwrap_or_default();
    match encoding.trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"7bit" | b"8bit" | b"binary" => Some(body.to_vec()),
        b"base64" => base64_decode(body),
        b"quoted-printable" => quoted_printable_decode(body),
        _ => None,
    }
}

/// The text of a text part, in Unicode; HTML without its marks.
#[must_use]
pub fn part_text(part: &Part, message: &[u8]) -> String {
    if part.media_type.0 != "text" || part.inner != Inner::Leaf {
        return String::new();
    }
    // As a message of its own, which the library decodes as it would any.
    let whole = [&message[part.header.clone()], &message[part.body.clone()]].concat();
    MessageParser::new()
        .parse(&whole[..])
        .and_then(|message| message.body_text(0).map(std::borrow::Cow::into_owned))
        .unwrap_or_default()
}

/// The first text a reader would see, on one line, at most `characters` (RFC 8970 §3.1).
#[must_use]
pub fn preview(root: &Part, message: &[u8], characters: usize) -> String {
    let all = root.all();
    let texts = || all.iter().filter(|part| part.media_type.0 == "text" && part.inner == Inner::Leaf);
    let Some(part) = texts().find(|part| part.media_type.1 == "plain").or_else(|| texts().next()) else {
        return String::new();
    };
    let mut preview = String::new();
    for word in part_text(part, message).split_whitespace() {
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
        let table: [(&str, &str, Option<&[u8]>); 4] = [
            (
                "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 =\r\nau lait\r\n",
                "caf\u{e9} au lait",
                Some(b"caf\xe9 au lait\r\n"),
            ),
            ("Content-Transfer-Encoding: BASE64\r\n\r\naGVsbG8=\r\n", "hello", Some(b"hello")),
            ("Content-Type: text/html\r\n\r\n<p>a <b>b</b>", "a b", Some(b"<p>a <b>b</b>")),
            ("Content-Transfer-Encoding: x-odd\r\n\r\nx", "x", None),
        ];
        for (message, text, octets) in table {
            let root = Part::parse(message.as_bytes(), &Limits::default());
            assert_eq!(preview(&root, message.as_bytes(), 200), text, "{message:?}");
            assert_eq!(decoded(&root, message.as_bytes()).as_deref(), octets, "{message:?}");
        }
    }

    #[test]
    fn a_preview_ends_at_its_limit() {
        let message = format!("\r\n{}", "ü ".repeat(500));
        let root = Part::parse(message.as_bytes(), &Limits::default());
        assert_eq!(preview(&root, message.as_bytes(), 200).chars().count(), 200);
    }
}
