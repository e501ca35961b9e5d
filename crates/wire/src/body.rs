//! Bodies on their way out: coded, and kept from leaving with a line end that is none (rule 10).

use bytes::BytesMut;
use memchr::memchr2;

use crate::data::DotStuffer;
use crate::session::BodyCoding;

/// A CR or LF stands alone in a body whose coding forbids it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a CR or LF that is not part of a CRLF")]
pub struct BareNewline;

/// Looks for a CR without LF and an LF without CR, wherever the pieces are cut.
#[derive(Clone, Debug, Default)]
pub struct LineEnds {
    after_cr: bool,
    bare: bool,
}

impl LineEnds {
    /// Whether one was found; a CR at the very end of what was scanned is none yet.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// Whether one was found in the whole, of which nothing follows.
    #[must_use]
    pub fn is_bare_at_end(&self) -> bool {
        self.bare || self.after_cr
    }

    /// Reads a further piece.
    pub fn scan(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if rest.is_empty() || self.bare {
            return;
        }
        if std::mem::take(&mut self.after_cr) {
            match rest.split_first() {
                Some((b'\n', behind)) => rest = behind,
                _ => self.bare = true,
            }
        }
        while let Some(at) = memchr2(b'\r', b'\n', rest) {
            rest = match rest.get(at..).unwrap_or_default() {
                [b'\r', b'\n', behind @ ..] => behind,
                [b'\r'] => {
                    self.after_cr = true;
                    return;
                }
                _ => {
                    self.bare = true;
                    return;
                }
            };
        }
    }
}

/// Codes one body, piece by piece, for whoever drives a session.
#[derive(Clone, Debug)]
pub struct BodyCoder {
    ends: Option<LineEnds>,
    stuffer: Option<DotStuffer>,
    held_cr: bool,
}

impl BodyCoder {
    /// A coder before the first octet.
    #[must_use]
    pub fn new(coding: BodyCoding) -> Self {
        let strict = matches!(coding, BodyCoding::Lines | BodyCoding::DotStuffedLines);
        let stuffed = matches!(coding, BodyCoding::DotStuffed | BodyCoding::DotStuffedLines);
        Self { ends: strict.then(LineEnds::default), stuffer: stuffed.then(DotStuffer::new), held_cr: false }
    }

    /// Appends a piece; a CR at its end waits for the LF in the next, where it must not stand alone.
    ///
    /// # Errors
    /// The piece does not fit the coding; nothing of it was appended, and nothing more may be.
    pub fn code(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), BareNewline> {
        if let Some(ends) = &mut self.ends {
            ends.scan(piece);
            if ends.is_bare() {
                return Err(BareNewline);
            }
        }
        if self.ends.is_some() {
            if piece.is_empty() {
                return Ok(());
            }
            if std::mem::take(&mut self.held_cr) {
                self.append(b"\r", out);
            }
            self.held_cr = piece.last() == Some(&b'\r');
        }
        let whole = piece.len() - usize::from(self.held_cr);
        self.append(piece.get(..whole).unwrap_or_default(), out);
        Ok(())
    }

    fn append(&mut self, octets: &[u8], out: &mut BytesMut) {
        match &mut self.stuffer {
            Some(stuffer) => stuffer.stuff(octets, out),
            None => out.extend_from_slice(octets),
        }
    }

    /// Appends what ends the body.
    ///
    /// # Errors
    /// The body ends with a CR, where that is forbidden.
    pub fn finish(self, out: &mut BytesMut) -> Result<(), BareNewline> {
        if self.ends.is_some_and(|ends| ends.is_bare_at_end()) {
            return Err(BareNewline);
        }
        if let Some(stuffer) = self.stuffer {
            stuffer.finish(out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(coding: BodyCoding, body: &[u8], cut: usize) -> Result<Vec<u8>, BareNewline> {
        let (mut coder, mut out) = (BodyCoder::new(coding), BytesMut::new());
        for piece in body.chunks(cut) {
            coder.code(piece, &mut out)?;
        }
        coder.finish(&mut out)?;
        Ok(out.to_vec())
    }

    #[test]
    fn rule_10_no_bare_newline_is_coded_at_any_cut() {
        type Row = (&'static [u8], bool, &'static [u8]);
        let table: [Row; 11] = [
            (b"", true, b".\r\n"),
            (b"a", true, b"a\r\n.\r\n"),
            (b"a\r\n.b\r\n", true, b"a\r\n..b\r\n.\r\n"),
            (b"\r\n\r\n", true, b"\r\n\r\n.\r\n"),
            (b"\xff\0\r\n", true, b"\xff\0\r\n.\r\n"),
            (b"a\nb\r\n", false, b""),
            (b"a\rb\r\n", false, b""),
            (b"a\r\r\n", false, b""),
            (b"a\r\n\n", false, b""),
            // The end of smuggled content.
            (b"a\r\n.\n", false, b""),
            (b"a\r", false, b""),
        ];
        for (body, fits, stuffed) in table {
            for cut in 1..=body.len().max(1) {
                let place = format!("{:?} cut at {cut}", body.escape_ascii().to_string());
                let wanted = if fits { Ok(stuffed.to_vec()) } else { Err(BareNewline) };
                assert_eq!(code(BodyCoding::DotStuffedLines, body, cut), wanted, "{place}");
                let wanted = if fits { Ok(body.to_vec()) } else { Err(BareNewline) };
                assert_eq!(code(BodyCoding::Lines, body, cut), wanted, "{place}");
                assert_eq!(code(BodyCoding::Raw, body, cut), Ok(body.to_vec()), "{place}");
                assert!(code(BodyCoding::DotStuffed, body, cut).is_ok(), "{place}");
                let (mut coder, mut out) = (BodyCoder::new(BodyCoding::Lines), BytesMut::new());
                let _ = body.chunks(cut).try_for_each(|piece| coder.code(piece, &mut out));
                let mut sent = LineEnds::default();
                sent.scan(&out);
                assert!(!sent.is_bare_at_end(), "{place}: what was sent until then is clean");
            }
        }
    }
}
