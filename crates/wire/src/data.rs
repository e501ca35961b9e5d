//! The content of a message between DATA and its end (RFC 5321 §4.5.2), both ways; POP3 has the same (RFC 1939 §3).
//!
//! Only CRLF `.` CRLF ends it, and a bare CR or LF never ends a line of it. That is not a setting.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr2, memmem};

/// What [`DataDecoder::decode`] found at the front of the input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data {
    /// Octets of the content, without the dots that transparency added.
    Octets(Bytes),
    /// The end of the content; what lies beyond stays in the input.
    End,
}

/// Undoes transparency and finds the end of the content, wherever the peer cuts.
#[derive(Clone, Debug)]
pub struct DataDecoder {
    at: At,
    octets: u64,
    bare_carriage_return: Option<u64>,
    bare_line_feed: Option<u64>,
    nul: Option<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    LineStart,
    Middle,
    AfterCr,
}

impl Default for DataDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl DataDecoder {
    /// A decoder before the first octet behind the 354.
    #[must_use]
    pub fn new() -> Self {
        Self { at: At::LineStart, octets: 0, bare_carriage_return: None, bare_line_feed: None, nul: None }
    }

    /// The octets of content seen so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The offset in the content of the first CR that no LF follows.
    #[must_use]
    pub fn bare_carriage_return(&self) -> Option<u64> {
        self.bare_carriage_return
    }

    /// The offset in the content of the first LF that no CR precedes.
    #[must_use]
    pub fn bare_line_feed(&self) -> Option<u64> {
        self.bare_line_feed
    }

    /// The offset in the content of the first NUL.
    #[must_use]
    pub fn nul(&self) -> Option<u64> {
        self.nul
    }

    /// Takes the next piece from the front of `input`; `None` when it needs more. At most two octets (a dot and a CR at
    /// the start of a line) stay in `input` then.
    pub fn decode(&mut self, input: &mut BytesMut) -> Option<Data> {
        if self.at == At::LineStart && input.first() == Some(&b'.') {
            match input.get(1..) {
                None | Some([] | [b'\r']) => return None,
                Some([b'\r', b'\n', ..]) => {
                    input.advance(3);
                    return Some(Data::End);
                }
                Some(_) => {
                    input.advance(1);
                    self.at = At::Middle;
                }
            }
        }
        if input.is_empty() {
            return None;
        }
        let length = self.scan(input);
        let octets = input.split_to(length).freeze();
        if self.nul.is_none() {
            self.nul = memchr(0, &octets).map(|at| self.octets + at as u64);
        }
        self.octets += length as u64;
        Some(Data::Octets(octets))
    }

    /// How many octets from the front are content as they are: up to a dot that begins a line.
    fn scan(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        while at < input.len() {
            match self.at {
                At::LineStart if input[at] == b'.' && at > 0 => return at,
                At::LineStart | At::Middle => match memchr2(b'\r', b'\n', &input[at..]) {
                    None => {
                        self.at = At::Middle;
                        return input.len();
                    }
                    Some(ahead) => {
                        at += ahead;
                        if input[at] == b'\r' {
                            self.at = At::AfterCr;
                        } else {
                            self.bare_line_feed.get_or_insert(self.octets + at as u64);
                            self.at = At::Middle;
                        }
                        at += 1;
                    }
                },
                At::AfterCr if input[at] == b'\n' => {
                    self.at = At::LineStart;
                    at += 1;
                }
                At::AfterCr => {
                    // Modular arithmetic, because the CR may have been the last octet of the piece before.
                    self.bare_carriage_return.get_or_insert((self.octets + at as u64).wrapping_sub(1));
                    self.at = At::Middle;
                }
            }
        }
        at
    }
}

/// Adds transparency: a line that begins with a dot gets another.
#[derive(Clone, Debug)]
pub struct DotStuffer {
    at: At,
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl DotStuffer {
    /// A stuffer before the first octet of the content.
    #[must_use]
    pub fn new() -> Self {
        Self { at: At::LineStart }
    }

    /// Appends the octets of `piece`, made transparent, to `out`.
    pub fn stuff(&mut self, piece: &[u8], out: &mut BytesMut) {
        out.reserve(piece.len() + 8);
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            match (self.at, first) {
                (At::LineStart, b'.') => {
                    out.put_slice(b"..");
                    self.at = At::Middle;
                    rest = &rest[1..];
                }
                (At::AfterCr, b'\n') => {
                    out.put_u8(b'\n');
                    self.at = At::LineStart;
                    rest = &rest[1..];
                }
                _ => {
                    // Up to the next line that begins with a dot, all is copied as it is.
                    let length = memmem::find(rest, b"\r\n.").map_or(rest.len(), |at| at + 2);
                    out.put_slice(&rest[..length]);
                    self.at = match rest[..length] {
                        [.., b'\r', b'\n'] => At::LineStart,
                        [.., b'\r'] => At::AfterCr,
                        _ => At::Middle,
                    };
                    rest = &rest[length..];
                }
            }
        }
    }

    /// Appends the end: the CRLF of the last line if it lacks one, and the line with the dot.
    pub fn finish(self, out: &mut BytesMut) {
        if self.at != At::LineStart {
            out.put_slice(b"\r\n");
        }
        out.put_slice(b".\r\n");
    }
}
/// Whole content with lines that end in CRLF: a bare LF becomes CRLF, a bare CR a space (rule 10), and the last line has an
/// end. Octets that are so already come back as they are.
#[must_use]
pub fn normalise_lines(octets: Bytes) -> Bytes {
    let mut normal: Option<BytesMut> = None;
    let mut from = 0;
    let mut at = 0;
    while let Some(found) = octets.get(at..).and_then(|rest| memchr2(b'\r', b'\n', rest)) {
        let here = at + found;
        if octets[here..].starts_with(b"\r\n") {
            at = here + 2;
            continue;
        }
        let out = normal.get_or_insert_with(|| BytesMut::with_capacity(octets.len() + octets.len() / 16 + 2));
        out.extend_from_slice(&octets[from..here]);
        out.extend_from_slice(if octets[here] == b'\n' { b"\r\n" } else { b" " });
        at = here + 1;
        from = at;
    }
    let ends = octets.is_empty() || octets.ends_with(b"\n");
    if normal.is_none() && ends {
        return octets;
    }
    let mut out = normal.unwrap_or_default();
    out.extend_from_slice(&octets[from..]);
    if !ends {
        out.extend_from_slice(b"\r\n");
    }
    out.freeze()
}
