//! Header fields (RFC 5322 §2.2), found without copying.

use std::ops::Range;

/// A header field where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// Its name, as it stands.
    pub name: &'a [u8],
    /// Its value with its folding, without the last line break.
    pub value: &'a [u8],
    /// Its first octet.
    pub start: usize,
    /// The octet behind its last line break.
    pub end: usize,
    /// White space stands before the colon: read differently by different readers (rule 13).
    pub spaced: bool,
}

impl Field<'_> {
    /// Whether it has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Its value on one line, without white space around it.
    #[must_use]
    pub fn unfolded(&self) -> Vec<u8> {
        unfold(self.value)
    }
}

/// A value on one line: its line breaks taken out (RFC 5322 §2.2.3), white space around it too.
#[must_use]
pub fn unfold(value: &[u8]) -> Vec<u8> {
    let joined: Vec<u8> = value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    joined.trim_ascii().to_vec()
}

/// The fields at the front of a message or part, up to the empty line, in order. Lines that are no fields are passed
/// over.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < message.len() {
            let start = at;
            let mut end = line_end(message, start);
            if is_empty_line(&message[start..end]) {
                at = message.len();
                return None;
            }
            while end < message.len() && matches!(message[end], b' ' | b'\t') {
                end = line_end(message, end);
            }
            at = end;
            if let Some(field) = field(message, start, end) {
                return Some(field);
            }
        }
        None
    })
}

fn field(message: &[u8], start: usize, end: usize) -> Option<Field<'_>> {
    let line = &message[start..end];
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    if name.is_empty() || name.iter().any(|octet| !matches!(octet, 33..=126)) {
        return None;
    }
    let value = line[colon + 1..].strip_suffix(b"\n").unwrap_or(&line[colon + 1..]);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    Some(Field { name, value, start, end, spaced: name.len() < colon })
}

/// The octet behind the line that begins at `from`.
pub(crate) fn line_end(octets: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &octets[from..]).map_or(octets.len(), |at| from + at + 1)
}

pub(crate) fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

/// The header of a message: its octets with the empty line, and without it where there is none.
#[must_use]
pub fn header_range(message: &[u8]) -> Range<usize> {
    let mut at = 0;
    while at < message.len() {
        let end = line_end(message, at);
        if is_empty_line(&message[at..end]) {
            return 0..end;
        }
        at = end;
    }
    0..message.len()
}

/// What SMTP asks of a header before it takes a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderFacts {
    /// Received fields (rule 14).
    pub received: usize,
    /// Delivered-To fields' values: whoever stands there has had the message already.
    pub delivered_to: Vec<Vec<u8>>,
    /// There is a Date.
    pub date: bool,
    /// The value of the first Message-ID.
    pub message_id: Option<Vec<u8>>,
    /// The values of From.
    pub from: Vec<Vec<u8>>,
    /// Where Return-Path fields stand, to be removed (rule 15).
    pub return_path: Vec<Range<usize>>,
    /// Where Bcc fields stand.
    pub bcc: Vec<Range<usize>>,
    /// `TLS-Required: No`: better delivered in clear than not at all (RFC 8689 §3).
    pub tls_optional: bool,
    /// A field whose name has white space before the colon (rule 13).
    pub spaced: bool,
    /// Fields in all.
    pub fields: usize,
}

/// Looks at a header once.
#[must_use]
pub fn header_facts(message: &[u8]) -> HeaderFacts {
    let mut facts = HeaderFacts::default();
    for field in fields(message) {
        facts.fields += 1;
        facts.spaced |= field.spaced;
        if field.is("Received") {
            facts.received += 1;
        } else if field.is("Delivered-To") {
            facts.delivered_to.push(field.unfolded());
        } else if field.is("Date") {
            facts.date = true;
        } else if field.is("Message-ID") {
            facts.message_id.get_or_insert_with(|| field.unfolded());
        } else if field.is("From") {
            facts.from.push(field.unfolded());
        } else if field.is("Return-Path") {
            facts.return_path.push(field.start..field.end);
        } else if field.is("TLS-Required") {
            facts.tls_optional |= field.unfolded().eq_ignore_ascii_case(b"no");
        } else if field.is("Bcc") {
            facts.bcc.push(field.start..field.end);
        }
    }
    facts
}

/// The header's fields of these names (`keep`) or of all others, with the empty line behind them (RFC 9051 §6.4.5.1,
/// HEADER.FIELDS).
#[must_use]
pub fn select_fields(header: &[u8], names: &[String], keep: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields(header) {
        if names.iter().any(|name| field.is(name)) == keep {
            out.extend_from_slice(&header[field.start..field.end]);
            if !out.ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_their_places() {
        let message = b"A: 1\r\nB : 2\r\n folded\r\nnonsense\r\nC:\n\r\nD: body\r\n";
        let found: Vec<_> = fields(message)
            .map(|field| (field.name.to_vec(), field.unfolded(), field.start, field.end, field.spaced))
            .collect();
        assert_eq!(
            found,
            [
                (b"A".to_vec(), b"1".to_vec(), 0, 6, false),
                (b"B".to_vec(), b"2 folded".to_vec(), 6, 22, true),
                (b"C".to_vec(), b"".to_vec(), 32, 35, false),
            ]
        );
        assert_eq!(header_range(message), 0..37);
        assert_eq!(header_range(b"A: 1\r\n"), 0..6);
        let names = ["c".to_owned(), "a".to_owned()];
        assert_eq!(select_fields(message, &names, true), b"A: 1\r\nC:\n\r\n");
        assert_eq!(select_fields(message, &names, false), b"B : 2\r\n folded\r\n\r\n");
        assert_eq!(select_fields(b"A: 1", &names, true), b"A: 1\r\n\r\n");
    }

    #[test]
    fn facts_for_the_gate() {
        let message =
            b"Return-Path: <x@y>\r\nReceived: a\r\nReceived: b\r\nFrom: a@b\r\nBcc: c\r\nX : y\r\n\r\nDate: no\r\n";
        let facts = header_facts(message);
        assert_eq!(
            (facts.received, facts.date, facts.message_id.is_some(), facts.spaced, facts.fields),
            (2, false, false, true, 6)
        );
        assert_eq!(facts.return_path.first(), Some(&(0..20)));
        assert_eq!((facts.from, facts.bcc.first()), (vec![b"a@b".to_vec()], Some(&(57..65))));
    }

    /// RFC 8689 appendix A.2; the words of the message are ours.
    #[test]
    fn a_message_that_may_go_in_clear() {
        let message = "From: Roger Reporter <roger@example.org>\r\nTo: Andy Admin <admin@example.com>\r\n\
             Subject: Certificate problem?\r\nTLS-Required: No\r\nDate: Fri, 18 Jan 2019 10:26:55 -0800\r\n\
             Message-ID: <5c421a6f79c0e_d153ff8286d45c468473@mail.example.org>\r\n\r\n\
             Andy, your mail server shows an old certificate.\r\n";
        assert!(header_facts(message.as_bytes()).tls_optional);
        for (value, expected) in [("No", true), ("\r\n no", true), ("Yes", false), ("", false), ("No, really", false)] {
            let other = message.replace("Required: No", &format!("Required: {value}"));
            assert_eq!(header_facts(other.as_bytes()).tls_optional, expected, "{value:?}");
        }
    }
}
