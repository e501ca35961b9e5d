//! Changes to the header of a message (RFC 5322 §2.2), which leave every other octet as it is.

use bytes::Bytes;

/// One change. Values are what comes behind the colon, lines parted by LF or CRLF.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeaderChange {
    /// A field behind all others.
    Add {
        /// Its name.
        name: String,
        /// Its value.
        value: Bytes,
    },
    /// A field in front of the one at this place; behind all others if there are not so many.
    Insert {
        /// The place, from 0.
        index: u32,
        /// Its name.
        name: String,
        /// Its value.
        value: Bytes,
    },
    /// Another value for a field; where there is no such field, it is added behind all others.
    Change {
        /// Which of the fields of this name, from 1.
        index: u32,
        /// Its name, in any case.
        name: String,
        /// Its value.
        value: Bytes,
    },
    /// A field taken out, if it is there.
    Delete {
        /// Which of the fields of this name, from 1.
        index: u32,
        /// Its name, in any case.
        name: String,
    },
}

impl HeaderChange {
    /// The name of the field.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Add { name, .. }
            | Self::Insert { name, .. }
            | Self::Change { name, .. }
            | Self::Delete { name, .. } => name,
        }
    }

    /// Whether the name is one of a header field: printable US-ASCII without a colon (RFC 5322 §2.2).
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let name = self.name();
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':')
    }
}

/// Makes the changes of each filter in turn to a header: its octets, with or without the empty line behind it.
///
/// Within one list a deleted field still counts, as it does in Sendmail, for whose filters delete by the numbers they
/// were told. A change with an impossible name is not made. A value cannot end its field: its lines become lines of that
/// field.
#[must_use]
pub fn apply(lists: &[Vec<HeaderChange>], header: &[u8]) -> Bytes {
    let mut octets = Bytes::copy_from_slice(header);
    for list in lists {
        octets = apply_list(list, &octets);
    }
    octets
}

#[derive(Debug)]
struct Part {
    /// The name, if it is a field.
    name: Option<String>,
    octets: Bytes,
}

fn apply_list(list: &[HeaderChange], header: &Bytes) -> Bytes {
    let mut parts = Vec::new();
    let mut end = 0;
    for field in mime::fields(header) {
        if field.start > end {
            // Lines that are no fields stay where they are.
            parts.push(Part { name: None, octets: header.slice(end..field.start) });
        }
        let name = String::from_utf8_lossy(field.name).into_owned();
        parts.push(Part { name: Some(name), octets: header.slice(field.start..field.end) });
        end = field.end;
    }
    let rest = header.slice(end..);
    for change in list.iter().filter(|change| change.is_possible()) {
        change_parts(&mut parts, change);
    }
    let mut out = Vec::with_capacity(header.len());
    for part in parts.iter().filter(|part| !part.octets.is_empty()) {
        // The last field may lack its line break, where a message is nothing but a header.
        if out.last().is_some_and(|octet| *octet != b'\n') {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(&part.octets);
    }
    out.extend_from_slice(&rest);
    out.into()
}

fn change_parts(parts: &mut Vec<Part>, change: &HeaderChange) {
    let part = |name: &str, value: &[u8]| Part { name: Some(name.to_owned()), octets: field(name, value) };
    match change {
        HeaderChange::Add { name, value } => parts.push(part(name, value)),
        HeaderChange::Insert { index, name, value } => {
            let mut fields = parts.iter().enumerate().filter(|(_, part)| part.name.is_some());
            let at = fields.nth(usize::try_from(*index).unwrap_or(usize::MAX)).map_or(parts.len(), |(at, _)| at);
            parts.insert(at, part(name, value));
        }
        HeaderChange::Change { index, name, value } => match find(parts, *index, name) {
            Some(at) => {
                // The name stays as its author wrote it.
                let name = parts[at].name.clone().unwrap_or_default();
                parts[at] = part(&name, value);
            }
            None => parts.push(part(name, value)),
        },
        HeaderChange::Delete { index, name } => {
            if let Some(at) = find(parts, *index, name) {
                parts[at].octets = Bytes::new();
            }
        }
    }
}

fn find(parts: &[Part], index: u32, name: &str) -> Option<usize> {
    let same = |part: &Part| part.name.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name));
    let mut found = parts.iter().enumerate().filter(|(_, part)| same(part));
    found.nth(usize::try_from(index.max(1) - 1).unwrap_or(usize::MAX)).map(|(at, _)| at)
}

/// A field in octets: each line of the value after the first begins with white space (RFC 5322 §2.2.3).
fn field(name: &str, value: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(name.len() + value.len() + 3);
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    for (at, line) in value.trim_ascii_end().split(|octet| *octet == b'\n').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\r\n");
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                out.push(b'\t');
            }
        }
        out.extend(line.iter().filter(|octet| !matches!(octet, b'\r' | 0)));
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, value: &str) -> HeaderChange {
        HeaderChange::Add { name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    fn insert(index: u32, name: &str, value: &str) -> HeaderChange {
        HeaderChange::Insert { index, name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    fn change(index: u32, name: &str, value: &str) -> HeaderChange {
        HeaderChange::Change { index, name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    fn delete(index: u32, name: &str) -> HeaderChange {
        HeaderChange::Delete { index, name: name.to_owned() }
    }

    #[test]
    fn changes_and_what_they_leave() {
        let header =
            "Received: by a\r\n\twith b\r\nSubject:  odd\t folding \r\n \r\n x\r\nX-A: 1\r\nx-a: 2\r\nX-A:3\r\n\r\n";
        let (received, subject) = ("Received: by a\r\n\twith b\r\n", "Subject:  odd\t folding \r\n \r\n x\r\n");
        let table: Vec<(Vec<HeaderChange>, String)> = vec![
            (vec![], header.to_owned()),
            (vec![add("X-B", " b")], header.replace("X-A:3\r\n", "X-A:3\r\nX-B: b\r\n")),
            (vec![insert(0, "X-B", " b")], format!("X-B: b\r\n{header}")),
            (vec![insert(1, "X-B", "b")], header.replace("Subject:", "X-B:b\r\nSubject:")),
            (vec![insert(99, "X-B", " b")], header.replace("X-A:3\r\n", "X-A:3\r\nX-B: b\r\n")),
            (vec![insert(0, "A", " 1"), insert(0, "B", " 2")], format!("B: 2\r\nA: 1\r\n{header}")),
            (vec![change(2, "X-A", " new")], header.replace("x-a: 2", "x-a: new")),
            (vec![change(0, "X-A", " new")], header.replace("X-A: 1", "X-A: new")),
            (vec![change(4, "X-A", " 4")], header.replace("X-A:3\r\n", "X-A:3\r\nX-A: 4\r\n")),
            (vec![delete(1, "subject")], header.replace(subject, "")),
            (vec![delete(4, "X-A"), delete(1, "None")], header.to_owned()),
            // By the numbers that the filter was told.
            (vec![delete(1, "X-A"), delete(3, "X-A")], header.replace("X-A: 1\r\n", "").replace("X-A:3\r\n", "")),
            (
                vec![delete(1, "Received"), insert(0, "X-B", " b")],
                format!("X-B: b\r\n{}", header.replace(received, "")),
            ),
            // A value cannot begin a field or end the header.
            (
                vec![add("X-B", " b\nBcc: x\n\n\nbody")],
                header.replace("X-A:3\r\n", "X-A:3\r\nX-B: b\r\n\tBcc: x\r\n\t\r\n\t\r\n\tbody\r\n"),
            ),
            (vec![add("X-B", " b\r\n c\r\n")], header.replace("X-A:3\r\n", "X-A:3\r\nX-B: b\r\n c\r\n")),
            (vec![add("X-B", " b\rc\0d")], header.replace("X-A:3\r\n", "X-A:3\r\nX-B: bcd\r\n")),
            // A name that is none.
            (vec![add("X B", " b"), add("", " b"), add("X:Y", " b"), add("X\r\nY", "b")], header.to_owned()),
        ];
        for (changes, expected) in table {
            let found = apply(std::slice::from_ref(&changes), header.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), expected, "{changes:?}");
        }
    }

    #[test]
    fn headers_that_end_oddly() {
        let changes = [vec![add("B", " 2")]];
        let table = [
            ("A: 1\r\n", "A: 1\r\nB: 2\r\n"),
            ("A: 1", "A: 1\r\nB: 2\r\n"),
            ("", "B: 2\r\n"),
            ("\r\n", "B: 2\r\n\r\n"),
            ("A: 1\r\nno field\r\n\r\n", "A: 1\r\nB: 2\r\nno field\r\n\r\n"),
            ("From x\r\nA: 1\r\n\r\n", "From x\r\nA: 1\r\nB: 2\r\n\r\n"),
        ];
        for (header, expected) in table {
            assert_eq!(String::from_utf8_lossy(&apply(&changes, header.as_bytes())), expected, "{header:?}");
            assert_eq!(apply(&[], header.as_bytes()), header);
            assert_eq!(apply(&[vec![delete(1, "Z")]], header.as_bytes()), header);
        }
    }

    #[test]
    fn each_filter_counts_for_itself() {
        let lists = [vec![delete(1, "A"), insert(0, "N", " 0")], vec![change(1, "A", " x"), insert(1, "M", " 1")]];
        assert_eq!(apply(&lists, b"A: 1\r\nA: 2\r\n\r\n"), &b"N: 0\r\nM: 1\r\nA: x\r\n\r\n"[..]);
    }

    proptest::proptest! {
        #[test]
        fn no_change_adds_more_than_its_field(
            header in proptest::collection::vec(proptest::sample::select(b"A:b \t\r\n".to_vec()), 0..60),
            value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..30),
            index in 0_u32..4,
        ) {
            // A header as the server has it: line breaks are CRLF.
            let text = String::from_utf8_lossy(&header).replace('\r', "").replace('\n', "\r\n");
            let before = mime::fields(text.as_bytes()).count();
            let change = HeaderChange::Insert { index, name: "X".to_owned(), value: value.into() };
            let after = apply(&[vec![change]], text.as_bytes());
            proptest::prop_assert_eq!(mime::fields(&after).count(), before + 1);
            let fields = |octets: &[u8]| {
                let octets = octets.to_vec();
                mime::fields(&octets).filter(|f| !f.is("X")).map(|f| f.value.to_vec()).collect::<Vec<_>>()
            };
            proptest::prop_assert_eq!(fields(&after), fields(text.as_bytes()));
        }
    }
}
