//! What the store keeps of a message besides its octets: opaque, versioned facts, so that the common answers of IMAP need
//! neither the message nor a parser.
//!
//! ```
//! # use mailwright_digest as digest;
//! use digest::{Digest, DigestRef};
//!
//! let octets = Digest::of(b"Subject: hello\r\n\r\nworld\r\n").encode();
//! let digest = DigestRef::parse(&octets)?;
//! assert!(digest.envelope().starts_with(b"(NIL \"hello\""));
//! assert_eq!(digest.preview(), b"world");
//! # Ok::<(), digest::UnknownVersion>(())
//! ```

mod build;

pub use build::KEPT;
use bytes::BytesMut;

/// The version that is written. Others are not read: whoever meets one makes the digest anew from the message.
const VERSION: u8 = 2;
const SECTIONS: usize = 5;
const FIXED: usize = 1 + 1 + 8 + 8 + 4 * SECTIONS;
const HAS_SENT: u8 = 1;
const HAS_8BIT_HEADER: u8 = 2;
const HAS_ALL_KEPT: u8 = 4;
const IS_SURROGATE: u8 = 8;

/// The facts of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Digest {
    /// ENVELOPE, as it leaves.
    pub envelope: Vec<u8>,
    /// BODYSTRUCTURE, as it leaves.
    pub body_structure: Vec<u8>,
    /// BODY, as it leaves.
    pub body: Vec<u8>,
    /// The fields that searches and lists ask for, as they stand, without the empty line.
    pub header: Vec<u8>,
    /// The first words (RFC 8970), at most 200 characters.
    pub preview: Vec<u8>,
    /// Octets of the header, the empty line included.
    pub header_octets: u64,
    /// The moment of the Date field, in seconds since 1970.
    pub sent: Option<i64>,
    /// There are octets beyond ASCII in the header: clients without UTF-8 need another form (rule 24).
    pub header_is_8bit: bool,
    /// ENVELOPE, BODY or BODYSTRUCTURE hold surrogates of what is not ASCII (RFC 6858): clients with UTF-8 are told
    /// [`Utf8`] instead.
    pub is_surrogate: bool,
    /// Every field of a name in [`KEPT`] is in `header`; otherwise some were too long, and only the message has them.
    pub header_is_complete: bool,
}

/// What clients with UTF-8 are told of a message whose digest holds surrogates; it is not kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Utf8 {
    /// ENVELOPE, as it leaves.
    pub envelope: Vec<u8>,
    /// BODYSTRUCTURE, as it leaves.
    pub body_structure: Vec<u8>,
    /// BODY, as it leaves.
    pub body: Vec<u8>,
}

impl Utf8 {
    /// The facts of a message: all its shared octets, without the fields of one recipient.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        build::utf8(message)
    }
}

/// The digest is of another version: make it anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("digest of another version")]
pub struct UnknownVersion;

impl Digest {
    /// The facts of a message: all its shared octets, without the fields of one recipient.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        build::digest(message)
    }

    /// The facts as they are kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let sections = [&self.envelope, &self.body_structure, &self.body, &self.header, &self.preview];
        let mut out = Vec::with_capacity(FIXED + sections.iter().map(|section| section.len()).sum::<usize>());
        let flag = |yes, flag| if yes { flag } else { 0 };
        let flags = flag(self.sent.is_some(), HAS_SENT)
            | flag(self.header_is_8bit, HAS_8BIT_HEADER)
            | flag(self.header_is_complete, HAS_ALL_KEPT)
            | flag(self.is_surrogate, IS_SURROGATE);
        out.extend_from_slice(&[VERSION, flags]);
        out.extend_from_slice(&self.sent.unwrap_or_default().to_le_bytes());
        out.extend_from_slice(&self.header_octets.to_le_bytes());
        for section in sections {
            out.extend_from_slice(&u32::try_from(section.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
        for section in sections {
            out.extend_from_slice(section);
        }
        out
    }
}

/// A digest as it is kept, read in place.
#[derive(Clone, Copy, Debug)]
pub struct DigestRef<'a> {
    flags: u8,
    sent: i64,
    header_octets: u64,
    sections: [&'a [u8]; SECTIONS],
}

impl<'a> DigestRef<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// Another version, or octets that are no digest.
    pub fn parse(octets: &'a [u8]) -> Result<Self, UnknownVersion> {
        read(octets).ok_or(UnknownVersion)
    }

    /// ENVELOPE, as it leaves.
    #[must_use]
    pub fn envelope(&self) -> &'a [u8] {
        self.sections[0]
    }

    /// BODYSTRUCTURE, as it leaves.
    #[must_use]
    pub fn body_structure(&self) -> &'a [u8] {
        self.sections[1]
    }

    /// BODY, as it leaves.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.sections[2]
    }

    /// The fields that searches ask for, as they stand.
    #[must_use]
    pub fn header(&self) -> &'a [u8] {
        self.sections[3]
    }

    /// The first words, in UTF-8.
    #[must_use]
    pub fn preview(&self) -> &'a [u8] {
        self.sections[4]
    }

    /// Octets of the header, the empty line included.
    #[must_use]
    pub fn header_octets(&self) -> u64 {
        self.header_octets
    }

    /// The moment of the Date field, in seconds since 1970.
    #[must_use]
    pub fn sent(&self) -> Option<i64> {
        (self.flags & HAS_SENT != 0).then_some(self.sent)
    }

    /// Whether [`header`](Self::header) has every field of a name in [`KEPT`]; if not, read the message.
    #[must_use]
    pub fn header_is_complete(&self) -> bool {
        self.flags & HAS_ALL_KEPT != 0
    }

    /// Whether ENVELOPE, BODY or BODYSTRUCTURE hold surrogates, and [`Utf8`] says more.
    #[must_use]
    pub fn is_surrogate(&self) -> bool {
        self.flags & IS_SURROGATE != 0
    }

    /// Whether there are octets beyond ASCII in the header.
    #[must_use]
    pub fn header_is_8bit(&self) -> bool {
        self.flags & HAS_8BIT_HEADER != 0
    }
}

fn read(octets: &[u8]) -> Option<DigestRef<'_>> {
    let (&[VERSION, flags], rest) = octets.split_first_chunk()? else { return None };
    let (sent, rest) = rest.split_first_chunk()?;
    let (header_octets, mut rest) = rest.split_first_chunk()?;
    let mut lengths = [0; SECTIONS];
    for length in &mut lengths {
        let (number, behind) = rest.split_first_chunk()?;
        *length = usize::try_from(u32::from_le_bytes(*number)).ok()?;
        rest = behind;
    }
    let mut sections = [&[][..]; SECTIONS];
    for (section, length) in sections.iter_mut().zip(lengths) {
        (*section, rest) = rest.split_at_checked(length)?;
    }
    rest.is_empty().then_some(DigestRef {
        flags,
        sent: i64::from_le_bytes(*sent),
        header_octets: u64::from_le_bytes(*header_octets),
        sections,
    })
}

/// The number that messages of one thread share: that of the first message-id they refer to, else of their own.
#[must_use]
pub fn thread(message: &[u8]) -> i64 {
    let mut own = None;
    let mut reply = None;
    for field in mime::fields(message) {
        let first = || mime::message_ids(field.value).into_iter().next();
        if field.is("References")
            && let Some(root) = first()
        {
            return number(&root);
        } else if field.is("In-Reply-To") {
            reply = reply.or_else(first);
        } else if field.is("Message-ID") {
            own = own.or_else(first);
        }
    }
    reply.or(own).map_or(0, |id| number(&id))
}

/// FNV-1a: stable for ever, which is all that is asked of it.
fn number(octets: &[u8]) -> i64 {
    let hash = octets
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 1).cast_signed()
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_in_place() {
        let message = b"Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nFrom: John Doe <jdoe@machine.example>\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\nX-Other: y\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n";
        let digest = Digest::of(message);
        let octets = digest.encode();
        let read = DigestRef::parse(&octets).unwrap();
        assert_eq!(read.envelope(), &digest.envelope[..]);
        let expected = r#"("Fri, 21 Nov 1997 09:55:06 -0600" "=?UTF-8?B?R3LDvMOfZQ==?=" (("John Doe" NIL "jdoe" "machine.example")) (("John Doe" NIL "jdoe" "machine.example")) (("John Doe" NIL "jdoe" "machine.example")) NIL NIL NIL NIL "<1@x>")"#;
        assert_eq!(String::from_utf8_lossy(read.envelope()), expected);
        let body = r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 7 1)"#;
        assert_eq!(String::from_utf8_lossy(read.body()), body);
        assert_eq!(read.sent(), Some(880_127_706));
        assert_eq!(read.header_octets(), message.len() as u64 - 7);
        let utf8 = Utf8::of(message);
        assert!(read.is_surrogate() && utf8.body == digest.body);
        let subject = "{7}\r\nGrüße ((";
        assert!(
            String::from_utf8_lossy(&utf8.envelope).contains(subject),
            "{}",
            String::from_utf8_lossy(&utf8.envelope)
        );
        assert!(read.header_is_8bit() && !String::from_utf8_lossy(read.header()).contains("X-Other"));
    }

    #[test]
    fn other_versions_and_other_octets_are_refused() {
        let octets = Digest::of(b"\r\n").encode();
        let mut other = octets.clone();
        other[0] = VERSION + 1;
        assert_eq!(DigestRef::parse(&other).err(), Some(UnknownVersion));
        for cut in 0..octets.len() {
            assert!(DigestRef::parse(&octets[..cut]).is_err());
        }
        assert!(DigestRef::parse(&[&octets[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_thread_begins_with_its_first_message() {
        let first = thread(b"Message-ID: <1@x>\r\n\r\n");
        assert_eq!(thread(b"Message-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\n\r\n"), first);
        assert_eq!(thread(b"Message-ID: <3@x>\r\nIn-Reply-To: <2@x>\r\nReferences: <1@x> <2@x>\r\n\r\n"), first);
        assert_ne!(thread(b"Message-ID: <4@x>\r\n\r\n"), first);
        assert_eq!(thread(b"\r\n"), 0);
    }
}
