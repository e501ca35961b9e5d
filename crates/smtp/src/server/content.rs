//! The content of one message on its way in: transparency undone, line ends judged, octets counted.
//!
//! RFC 5321 §4.1.1.4 and §4.5.2 for DATA, RFC 3030 §2 for BDAT. Trusts nothing: sizes are bounded by the session.

use bytes::{Bytes, BytesMut};
use wire::{Chunk, Data, DataDecoder, LineEnds};

use super::config::BareNewline;
use crate::reply::Reply;

/// What has been found in the content so far, and how to read on.
#[derive(Debug)]
pub(super) struct Content {
    source: Source,
    bare: BareNewline,
    /// Whether CR and LF are judged at all: not in BODY=BINARYMIME (RFC 3030 §3).
    lines: bool,
    /// A CR at the end of the last piece that has not been handed up, since an LF may follow.
    held_cr: bool,
    /// Octets taken off the wire, transparency undone.
    pub(super) received: u64,
    /// Octets handed up.
    pub(super) handed: u64,
    /// The answer at the end, once the content is refused; what still comes is thrown away.
    pub(super) refusal: Option<Reply>,
    /// Octets thrown away since then.
    pub(super) drained: u64,
}

#[derive(Debug)]
enum Source {
    Data { decoder: DataDecoder, ended: bool },
    Bdat { chunk: Chunk, last: bool, ends: LineEnds },
}

impl Content {
    pub(super) fn data(bare: BareNewline) -> Self {
        Self::new(bare, true, Source::Data { decoder: DataDecoder::new(), ended: false })
    }

    pub(super) fn chunks(bare: BareNewline, binary: bool) -> Self {
        let source = Source::Bdat { chunk: Chunk::new(0), last: false, ends: LineEnds::default() };
        Self::new(bare, !binary, source)
    }

    fn new(bare: BareNewline, lines: bool, source: Source) -> Self {
        Self { source, bare, lines, held_cr: false, received: 0, handed: 0, refusal: None, drained: 0 }
    }

    /// A further chunk begins.
    pub(super) fn begin_chunk(&mut self, octets: u64, is_last: bool) {
        if let Source::Bdat { chunk, last, .. } = &mut self.source {
            *chunk = Chunk::new(octets);
            *last = is_last;
        }
    }

    /// Whether the end was seen: of the whole content for DATA, of the chunk at hand for BDAT.
    pub(super) fn is_at_end(&self) -> bool {
        match &self.source {
            Source::Data { ended, .. } => *ended,
            Source::Bdat { chunk, .. } => chunk.left() == 0,
        }
    }

    /// Whether the end seen, or to come next, is that of the whole content.
    pub(super) fn is_last(&self) -> bool {
        match &self.source {
            Source::Data { .. } => true,
            Source::Bdat { last, .. } => *last,
        }
    }

    /// Whether a bare CR or LF was found where that means refusal (rule 10).
    pub(super) fn is_refusable(&self) -> bool {
        self.lines && self.bare == BareNewline::Refuse && self.has_bare()
    }

    fn has_bare(&self) -> bool {
        match &self.source {
            Source::Data { decoder, .. } => {
                decoder.bare_carriage_return().is_some() || decoder.bare_line_feed().is_some()
            }
            Source::Bdat { ends, last, chunk } => {
                ends.is_bare() || (*last && chunk.left() == 0 && ends.is_bare_at_end())
            }
        }
    }

    /// Takes what belongs to the content from the front of `input`: the octets to hand up, if there are any, in one
    /// piece.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        let piece = match &mut self.source {
            Source::Data { decoder, ended } => take_data(decoder, ended, input),
            Source::Bdat { chunk, ends, .. } => {
                let piece = chunk.take(input);
                if let Some(piece) = &piece
                    && self.lines
                {
                    ends.scan(piece);
                }
                piece
            }
        };
        let received = piece.as_ref().map_or(0, Bytes::len) as u64;
        self.received += received;
        if self.refusal.is_some() {
            self.drained += received;
            return None;
        }
        let piece = if self.lines && self.bare == BareNewline::Normalise {
            self.normalise(piece.unwrap_or_default())
        } else {
            piece?
        };
        self.handed += piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    }

    /// Rule 10: a bare LF becomes CRLF, a bare CR a space. A piece without either is passed on as it is.
    fn normalise(&mut self, mut piece: Bytes) -> Bytes {
        let at_end = self.is_at_end() && self.is_last();
        if !self.held_cr && !self.has_bare() {
            if piece.last() == Some(&b'\r') && !at_end {
                piece.truncate(piece.len() - 1);
                self.held_cr = true;
            }
            return piece;
        }
        let mut normal = BytesMut::with_capacity(piece.len() + piece.len() / 16 + 2);
        for octet in piece {
            let after_cr = std::mem::take(&mut self.held_cr);
            match octet {
                b'\n' => normal.extend_from_slice(b"\r\n"),
                _ => {
                    if after_cr {
                        normal.extend_from_slice(b" ");
                    }
                    if octet == b'\r' {
                        self.held_cr = true;
                    } else {
                        normal.extend_from_slice(&[octet]);
                    }
                }
            }
        }
        if at_end && std::mem::take(&mut self.held_cr) {
            normal.extend_from_slice(b" ");
        }
        normal.freeze()
    }
}

/// One piece: the decoder cuts before each line that begins with a dot, and those cuts are mended here.
fn take_data(decoder: &mut DataDecoder, ended: &mut bool, input: &mut BytesMut) -> Option<Bytes> {
    if *ended {
        return None;
    }
    let mut first: Option<Bytes> = None;
    let mut merged: Option<BytesMut> = None;
    loop {
        match decoder.decode(input) {
            Some(Data::Octets(octets)) => match (&mut merged, first.take()) {
                (Some(merged), _) => merged.extend_from_slice(&octets),
                (None, None) => first = Some(octets),
                (None, Some(before)) => {
                    let mut both = BytesMut::with_capacity(before.len() + octets.len() + input.len());
                    both.extend_from_slice(&before);
                    both.extend_from_slice(&octets);
                    merged = Some(both);
                }
            },
            Some(Data::End) => {
                *ended = true;
                break;
            }
            None => break,
        }
    }
    merged.map(BytesMut::freeze).or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(mut content: Content, wire: &[u8], cut: usize) -> (Vec<u8>, bool, bool) {
        let mut handed = Vec::new();
        let mut kept = BytesMut::new();
        for piece in wire.chunks(cut) {
            kept.extend_from_slice(piece);
            while let Some(octets) = content.take(&mut kept) {
                handed.extend_from_slice(&octets);
            }
        }
        (handed, content.is_at_end(), content.is_refusable())
    }

    #[test]
    fn rule_10_line_ends_at_every_cut() {
        type Row = (&'static [u8], &'static [u8], bool);
        let table: [Row; 9] = [
            (b"a\r\nb\r\n", b"a\r\nb\r\n", false),
            (b"a\nb\r\n", b"a\r\nb\r\n", true),
            (b"a\rb\r\n", b"a b\r\n", true),
            (b"a\r\r\n", b"a \r\n", true),
            (b"\n\n\r\n", b"\r\n\r\n\r\n", true),
            (b"\r\n", b"\r\n", false),
            (b"", b"", false),
            (b"a\n.\n\r\n", b"a\r\n.\r\n\r\n", true),
            (b"\xff\0\r\n", b"\xff\0\r\n", false),
        ];
        for (octets, normal, is_bare) in table {
            let mut data = octets.to_vec();
            data.extend_from_slice(b".\r\n");
            for cut in 1..=data.len() {
                let (handed, ended, _) = through(Content::data(BareNewline::Normalise), &data, cut);
                assert_eq!((handed.as_slice(), ended), (normal, true), "{octets:?} cut at {cut}");
                let (handed, ended, refusable) = through(Content::data(BareNewline::Refuse), &data, cut);
                assert_eq!((handed.as_slice(), ended, refusable), (octets, true, is_bare), "{octets:?} cut at {cut}");

                let mut chunks = Content::chunks(BareNewline::Normalise, false);
                chunks.begin_chunk(octets.len() as u64, true);
                assert_eq!(through(chunks, octets, cut).0, normal, "{octets:?} cut at {cut}");
                let mut chunks = Content::chunks(BareNewline::Refuse, false);
                chunks.begin_chunk(octets.len() as u64, true);
                assert_eq!(through(chunks, octets, cut), (octets.to_vec(), true, is_bare), "{octets:?} cut at {cut}");
                let mut chunks = Content::chunks(BareNewline::Refuse, true);
                chunks.begin_chunk(octets.len() as u64, true);
                assert_eq!(through(chunks, octets, cut), (octets.to_vec(), true, false), "{octets:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_chunk_may_end_in_a_bare_cr() {
        for (bare, handed, refusable) in
            [(BareNewline::Normalise, &b"a "[..], false), (BareNewline::Refuse, b"a\r", true)]
        {
            let mut chunks = Content::chunks(bare, false);
            chunks.begin_chunk(2, true);
            assert_eq!(through(chunks, b"a\r", 1), (handed.to_vec(), true, refusable));
        }
    }

    #[test]
    fn pieces_are_large_even_between_dots() {
        let mut content = Content::data(BareNewline::Refuse);
        let mut input = BytesMut::from("..a\r\n..b\r\nc\r\n.\r\nQUIT\r\n");
        assert_eq!(content.take(&mut input).as_deref(), Some(&b".a\r\n.b\r\nc\r\n"[..]));
        assert!(content.is_at_end());
        assert_eq!(&input[..], b"QUIT\r\n");
    }
}
