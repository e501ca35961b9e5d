//! The shape of a record.
//!
//! ```text
//! header   magic "MWs1" · kind u8 · codec u8 · key id u16 · segment i64 · content id i64 · internal date i64 (s)
//!          · zone i16 (min) · reserved u16 · head octets u32 · body octets u64                        (52 octets)
//! payload  head, body
//! trailer  body octets u64 · BLAKE3 of header and payload (32) · magic "MWe1"                         (44 octets)
//! ```
//! Numbers are little-endian. A record that is streamed, whose length is not known when it begins, is alone in its
//! segment, has [`UNKNOWN`] body octets in the header, and the number in the trailer at the end of the file. A message
//! of `n` octets costs 96 more.

/// Octets of a header.
pub(crate) const HEADER: usize = 52;
/// Octets of a trailer.
pub(crate) const TRAILER: usize = 44;
/// The length in the header of a streamed record.
pub(crate) const UNKNOWN: u64 = u64::MAX;
const BEGIN: &[u8; 4] = b"MWs1";
const END: &[u8; 4] = b"MWe1";

/// What a record tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The octets of a message.
    Message = 1,
    /// A message is in a mailbox under a UID.
    Placement = 2,
    /// Messages have other flags.
    Flags = 3,
    /// Messages are gone.
    Expunge = 4,
    /// Domains, accounts, aliases, mailboxes, keywords.
    Catalogue = 5,
    /// The spool.
    Spool = 6,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Message, Self::Placement, Self::Flags, Self::Expunge, Self::Catalogue, Self::Spool]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What stands in front of a record's octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) segment: i64,
    pub(crate) content: i64,
    pub(crate) date: i64,
    pub(crate) zone: i16,
    pub(crate) head: u32,
    pub(crate) body: u64,
}

impl Header {
    /// A header of a record that is no message; `at` is the moment of its commit, in milliseconds since 1970.
    pub(crate) fn fact(kind: Kind, segment: i64, at: i64, octets: usize) -> Self {
        Self { kind, segment, content: 0, date: at, zone: 0, head: 0, body: octets as u64 }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(BEGIN);
        out[4] = self.kind as u8;
        out[8..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.content.to_le_bytes());
        out[24..32].copy_from_slice(&self.date.to_le_bytes());
        out[32..34].copy_from_slice(&self.zone.to_le_bytes());
        out[36..40].copy_from_slice(&self.head.to_le_bytes());
        out[40..48].copy_from_slice(&self.body.to_le_bytes());
        // Octets 48–51 are zero until a use for them is found.
        out
    }

    /// The header in `octets`, if there is one of this codec (0: as it is) and key (0: none).
    pub(crate) fn decode(octets: &[u8; HEADER]) -> Option<Self> {
        if &octets[..4] != BEGIN || octets[5..8] != [0; 3] {
            return None;
        }
        let eight = |at: usize| -> Option<[u8; 8]> { octets.get(at..at + 8)?.try_into().ok() };
        Some(Self {
            kind: Kind::from_number(octets[4])?,
            segment: i64::from_le_bytes(eight(8)?),
            content: i64::from_le_bytes(eight(16)?),
            date: i64::from_le_bytes(eight(24)?),
            zone: i16::from_le_bytes([octets[32], octets[33]]),
            head: u32::from_le_bytes([octets[36], octets[37], octets[38], octets[39]]),
            body: u64::from_le_bytes(eight(40)?),
        })
    }
}

/// What stands behind a record's octets.
pub(crate) fn trailer(body: u64, hash: &blake3::Hash) -> [u8; TRAILER] {
    let mut out = [0; TRAILER];
    out[..8].copy_from_slice(&body.to_le_bytes());
    out[8..40].copy_from_slice(hash.as_bytes());
    out[40..].copy_from_slice(END);
    out
}

/// The body's octets and the hash in a trailer.
pub(crate) fn decode_trailer(octets: &[u8; TRAILER]) -> Option<(u64, [u8; 32])> {
    if &octets[40..] != END {
        return None;
    }
    Some((u64::from_le_bytes(octets[..8].try_into().ok()?), octets[8..40].try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_trailers_come_back() {
        let header =
            Header { kind: Kind::Message, segment: 7, content: -1, date: i64::MIN, zone: -720, head: 9, body: UNKNOWN };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        let mut other = header.encode();
        other[5] = 1;
        assert_eq!(Header::decode(&other), None, "an unknown codec is not read as octets");
        assert_eq!(Header::decode(&[0; HEADER]), None);
        let hash = blake3::hash(b"x");
        assert_eq!(decode_trailer(&trailer(5, &hash)), Some((5, *hash.as_bytes())));
    }
}
