//! The structure of a message: which octets are which part (RFC 2045, RFC 2046).
//!
//! One pass over the lines. Broken structure is read as Postel would: a multipart without a usable boundary is text, a
//! boundary that is never closed ends with what contains it.

use std::ops::Range;

use crate::header::{fields, is_empty_line, line_end};
use crate::value::Parameterised;

/// What a message may have; beyond it parts are leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Multiparts and messages within each other. Default 64.
    pub depth: usize,
    /// Parts in all. Default 1,000.
    pub parts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, parts: 1_000 }
    }
}

/// A part, or the whole message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// Its header, with the empty line behind it.
    pub header: Range<usize>,
    /// Its body, without the line break that belongs to the boundary behind it.
    pub body: Range<usize>,
    /// The body's lines.
    pub lines: u64,
    /// Media type and subtype, in lower case.
    pub media_type: (String, String),
    /// What is within it.
    pub inner: Inner,
}

/// What is within a part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Inner {
    /// Octets.
    Leaf,
    /// The parts of a multipart, at least one.
    Multipart(Vec<Part>),
    /// The message of a message/rfc822.
    Message(Box<Part>),
}

impl Part {
    /// Reads a message.
    #[must_use]
    pub fn parse(message: &[u8], limits: &Limits) -> Self {
        let mut scanner =
            Scanner { octets: message, at: 0, boundaries: Vec::new(), depth: 0, parts: 0, limits: *limits };
        scanner.entity(false).0
    }

    /// The value of the first field of this name, on one line.
    #[must_use]
    pub fn field(&self, message: &[u8], name: &str) -> Option<Vec<u8>> {
        fields(&message[self.header.clone()]).find(|field| field.is(name)).map(|field| field.unfolded())
    }

    /// Content-Type, read.
    #[must_use]
    pub fn content_type(&self, message: &[u8]) -> Parameterised {
        self.field(message, "Content-Type").map(|value| Parameterised::parse(&value)).unwrap_or_default()
    }

    /// The part that a client calls by these numbers (RFC 9051 §6.4.5.1); no numbers: itself.
    #[must_use]
    pub fn find(&self, numbers: &[u32]) -> Option<&Self> {
        let Some((&number, rest)) = numbers.split_first() else { return Some(self) };
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        match &self.inner {
            Inner::Multipart(parts) => parts.get(index)?.within(rest),
            // A message that is no multipart has one part: its body.
            _ => (index == 0).then_some(self)?.within(rest),
        }
    }

    /// From a part on: the numbers behind a message/rfc822 speak of the message in it.
    fn within(&self, rest: &[u32]) -> Option<&Self> {
        match (&self.inner, rest) {
            (_, []) => Some(self),
            (Inner::Message(message), rest) => message.find(rest),
            (Inner::Multipart(_), rest) => self.find(rest),
            (Inner::Leaf, _) => None,
        }
    }

    /// All parts, itself first.
    #[must_use]
    pub fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        let mut at = 0;
        while let Some(part) = all.get(at).copied() {
            match &part.inner {
                Inner::Leaf => {}
                Inner::Multipart(parts) => all.extend(parts),
                Inner::Message(message) => all.push(message),
            }
            at += 1;
        }
        all
    }
}

struct Scanner<'a> {
    octets: &'a [u8],
    at: usize,
    boundaries: Vec<Vec<u8>>,
    depth: usize,
    parts: usize,
    limits: Limits,
}

/// Why a part ended.
enum Stop {
    /// The message did.
    End,
    /// A boundary: of which multipart, the last one of it or not, and where its line began.
    Boundary { level: usize, last: bool, line: usize },
}

impl Scanner<'_> {
    /// A header and a body, up to a boundary of what contains it.
    fn entity(&mut self, in_digest: bool) -> (Part, Stop) {
        self.parts += 1;
        let start = self.at;
        let mut early = None;
        let mut header_end = self.octets.len();
        while self.at < self.octets.len() {
            let line = self.at;
            if let Some(stop) = self.boundary() {
                header_end = line;
                early = Some(stop);
                break;
            }
            let end = line_end(self.octets, line);
            self.at = end;
            if is_empty_line(&self.octets[line..end]) {
                header_end = end;
                break;
            }
        }
        let header = start..header_end;
        let content_type = fields(&self.octets[header.clone()])
            .find(|field| field.is("Content-Type"))
            .map(|field| Parameterised::parse(field.value))
            .unwrap_or_default();
        let default = if in_digest { ("message", "rfc822") } else { ("text", "plain") };
        let mut media_type = media_type(&content_type.value, default);
        if let Some(stop) = early {
            if media_type.0 == "multipart" || is_message(&media_type) {
                // Nothing is within.
                media_type = ("text".into(), "plain".into());
            }
            // The line break behind the last field is the boundary's.
            let header = self.trimmed(start, &stop);
            let body = header.end..header.end;
            return (Part { header, body, lines: 0, media_type, inner: Inner::Leaf }, stop);
        }
        let body_start = self.at;
        let room = self.depth < self.limits.depth && self.parts < self.limits.parts;
        let boundary = content_type.octets("boundary").map(|boundary| boundary.trim_ascii_end().to_vec());
        let (inner, stop) = match (media_type.0.as_str(), boundary) {
            ("multipart", Some(boundary)) if room && !boundary.is_empty() => {
                self.multipart(boundary, media_type.1 == "digest")
            }
            _ if room && is_message(&media_type) => {
                self.depth += 1;
                let (message, stop) = self.entity(false);
                self.depth -= 1;
                (Inner::Message(Box::new(message)), stop)
            }
            _ => (Inner::Leaf, self.skip()),
        };
        if media_type.0 == "multipart" && inner == Inner::Leaf {
            media_type = ("text".into(), "plain".into());
        }
        if inner == Inner::Leaf && is_message(&media_type) {
            // Clients expect the structure of the message in it (RFC 9051 §7.5.2); beyond the limits there is none.
            media_type = ("application".into(), "octet-stream".into());
        }
        let mut body = self.trimmed(body_start, &stop);
        // An empty line may end a part's header and belong to the boundary behind it, both at once.
        body.end = body.end.max(match &inner {
            Inner::Leaf => 0,
            Inner::Message(message) => message.body.end,
            Inner::Multipart(parts) => parts.last().map_or(0, |part| part.body.end),
        });
        let lines = match &inner {
            Inner::Multipart(_) => 0,
            _ => lines(&self.octets[body.clone()]),
        };
        (Part { header, body, lines, media_type, inner }, stop)
    }

    fn multipart(&mut self, boundary: Vec<u8>, digest: bool) -> (Inner, Stop) {
        let level = self.boundaries.len();
        self.boundaries.push(boundary);
        self.depth += 1;
        let mut parts = Vec::new();
        let mut stop = self.skip();
        while matches!(stop, Stop::Boundary { level: found, last: false, .. } if found == level)
            && self.parts < self.limits.parts
        {
            // Between a boundary and the next, or the end, there may be nothing at all: no part then.
            if self.at == self.octets.len() {
                stop = Stop::End;
                break;
            }
            if let Some(next) = self.boundary() {
                stop = next;
                continue;
            }
            let (part, behind) = self.entity(digest);
            parts.push(part);
            stop = behind;
        }
        self.boundaries.truncate(level);
        self.depth -= 1;
        if matches!(stop, Stop::Boundary { level: found, .. } if found >= level) {
            // The epilogue (or, at the limit, the parts that are too many).
            stop = self.skip();
        }
        (if parts.is_empty() { Inner::Leaf } else { Inner::Multipart(parts) }, stop)
    }

    /// Up to the next boundary, behind whose line it stops.
    fn skip(&mut self) -> Stop {
        while self.at < self.octets.len() {
            if let Some(stop) = self.boundary() {
                return stop;
            }
            self.at = line_end(self.octets, self.at);
        }
        Stop::End
    }

    /// Takes the line at hand if it is a boundary's (RFC 2046 §5.1.1).
    fn boundary(&mut self) -> Option<Stop> {
        if self.boundaries.is_empty() || !self.octets[self.at..].starts_with(b"--") {
            return None;
        }
        let line = self.at;
        let end = line_end(self.octets, line);
        let text = self.octets[line + 2..end].trim_ascii_end();
        let closed = text.strip_suffix(b"--");
        // A boundary may itself end with two dashes, so the plain reading comes first.
        let found = self.boundaries.iter().rposition(|boundary| boundary == text).map(|level| (level, false));
        let found = found.or_else(|| {
            let closed = closed?;
            self.boundaries.iter().rposition(|boundary| boundary == closed).map(|level| (level, true))
        });
        let (level, last) = found?;
        self.at = end;
        Some(Stop::Boundary { level, last, line })
    }

    /// A body up to where its part stopped: the line break in front of a boundary is the boundary's.
    fn trimmed(&self, start: usize, stop: &Stop) -> Range<usize> {
        let end = match stop {
            Stop::End => self.octets.len(),
            Stop::Boundary { line, .. } => {
                let before = &self.octets[start.min(*line)..*line];
                let before = before.strip_suffix(b"\n").map_or(before, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
                start + before.len()
            }
        };
        start.min(end)..end
    }
}

/// Whether a message is within (RFC 2046 §5.2.1, RFC 6532 §3.7).
fn is_message((media, subtype): &(String, String)) -> bool {
    media == "message" && matches!(subtype.as_str(), "rfc822" | "global")
}

fn media_type(value: &[u8], default: (&str, &str)) -> (String, String) {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    match text.split_once('/') {
        Some((media, sub)) if is_token(media.trim()) && is_token(sub.trim()) => {
            (media.trim().to_owned(), sub.trim().to_owned())
        }
        _ => (default.0.to_owned(), default.1.to_owned()),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet))
}

/// Lines of a body: its line breaks, and one for a last line without.
fn lines(octets: &[u8]) -> u64 {
    let breaks = memchr::memchr_iter(b'\n', octets).count() as u64;
    breaks + u64::from(!octets.is_empty() && !octets.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(part: &Part, message: &[u8]) -> String {
        let body = String::from_utf8_lossy(&message[part.body.clone()]).into_owned();
        match &part.inner {
            Inner::Leaf => format!("{}/{}:{body:?}:{}", part.media_type.0, part.media_type.1, part.lines),
            Inner::Multipart(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| shape(part, message)).collect();
                format!("{}[{}]", part.media_type.1, parts.join(" "))
            }
            Inner::Message(inner) => format!("message({})", shape(inner, message)),
        }
    }

    #[test]
    fn structures_whole_and_broken() {
        let table = [
            ("A: b\r\n\r\nhello\r\n", "text/plain:\"hello\\r\\n\":1"),
            ("A: b\r\n", "text/plain:\"\":0"),
            ("", "text/plain:\"\":0"),
            ("Content-Type: nonsense\r\n\r\nx", "text/plain:\"x\":1"),
            (
                "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: TEXT/HTML\r\n\r\ntwo\r\n\r\n--b--\r\nepilogue\r\n",
                "mixed[text/plain:\"one\":1 text/html:\"two\\r\\n\":1]",
            ),
            ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n", "mixed[text/plain:\"one\":1]"),
            (
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nnever closed\r\n",
                "mixed[text/plain:\"never closed\\r\\n\":1]",
            ),
            ("Content-Type: multipart/mixed; boundary=b\r\n\r\nno part\r\n", "text/plain:\"no part\\r\\n\":1"),
            (
                "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
                "text/plain:\"--b\\r\\n\\r\\nx\\r\\n--b--\\r\\n\":4",
            ),
            (
                "Content-Type: multipart/a; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/b; boundary=oo\r\n\r\n--oo\r\n\r\nx\r\n--o\r\n\r\ny\r\n--o--\r\n",
                "a[b[text/plain:\"x\":1] text/plain:\"y\":1]",
            ),
            (
                "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n",
                "digest[message(text/plain:\"x\":1)]",
            ),
            (
                "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/x; boundary=i\r\n\r\n--i\r\n\r\nz\r\n--i--\r\n",
                "message(x[text/plain:\"z\":1])",
            ),
            ("Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nA: no body\r\n--b--\r\n", "x[text/plain:\"\":0]"),
            (
                "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n--b\r\n\r\none\r\n--b\r\n--b\r\n",
                "x[text/plain:\"one\":1]",
            ),
            // No semicolon before the parameter; a boundary in the form of RFC 2231 §4.
            ("Content-Type: multipart/x\r\n\tboundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n", "x[text/plain:\"one\":1]"),
            (
                "Content-Type: multipart/x; boundary*=us-ascii''%62%3d\r\n\r\n--b=\r\n\r\none\r\n--b=--\r\n",
                "x[text/plain:\"one\":1]",
            ),
            (
                "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n--b--\r\n",
                "x[message(text/plain:\"\":0)]",
            ),
        ];
        for (message, expected) in table {
            let part = Part::parse(message.as_bytes(), &Limits::default());
            assert_eq!(shape(&part, message.as_bytes()), expected, "{message:?}");
        }
    }

    #[test]
    fn parts_are_found_by_their_numbers() {
        // RFC 9051 §6.4.5.1
        let message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/x; boundary=i\r\n\r\n--i\r\n\r\ndeep\r\n--i--\r\n--b--\r\n";
        let root = Part::parse(message, &Limits::default());
        let body = |numbers: &[u32]| root.find(numbers).map(|part| &message[part.body.clone()]);
        assert_eq!(body(&[1]), Some(&b"one"[..]));
        assert_eq!(body(&[2, 1]), Some(&b"deep"[..]));
        assert!(body(&[2]).is_some_and(|body| body.starts_with(b"Content-Type: multipart/x")));
        assert_eq!((body(&[3]), body(&[1, 1]), body(&[0]), body(&[2, 2])), (None, None, None, None));
        let plain = Part::parse(b"\r\nx", &Limits::default());
        assert!(plain.find(&[1]).is_some() && plain.find(&[2]).is_none());
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let mut many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
        for _ in 0..2_000 {
            many.extend_from_slice(b"--b\r\n\r\nx\r\n");
        }
        let limits = Limits { depth: 3, parts: 10 };
        assert_eq!(Part::parse(&many, &limits).all().len(), 10);
        let mut deep = Vec::new();
        for level in 0..50 {
            deep.extend_from_slice(
                format!("Content-Type: multipart/x; boundary=b{level}\r\n\r\n--b{level}\r\n").as_bytes(),
            );
        }
        assert_eq!(Part::parse(&deep, &limits).all().len(), 4);
        // A message beyond the limit is octets: its structure is not known.
        let messages = b"Content-Type: message/rfc822\r\n\r\n".repeat(9);
        let root = Part::parse(&messages, &limits);
        let innermost = root.all().pop().map(|part| (part.media_type.1.clone(), part.inner.clone()));
        assert_eq!(innermost, Some(("octet-stream".to_owned(), Inner::Leaf)));
    }
}
