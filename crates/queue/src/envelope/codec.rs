//! Octets of a record: a version, then fields that differ from their default, each a tag, a length and a value.

use std::net::IpAddr;

use jiff::Timestamp;

use super::EnvelopeError;

/// Octets of a whole record, and so of any field. What is written is cut, what is read is refused.
pub(super) const RECORD_OCTETS: usize = 64 * 1024;

/// The version written here, and the only one read.
const VERSION: u8 = 1;

pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![VERSION])
    }

    pub(super) fn octets(&mut self, tag: u8, value: &[u8]) {
        self.0.push(tag);
        varint(&mut self.0, u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(value);
    }

    /// At most `limit` octets of it, cut between characters.
    pub(super) fn text(&mut self, tag: u8, value: &str, limit: usize) {
        let end = (0..=limit.min(value.len())).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
        if end > 0 {
            self.octets(tag, value.get(..end).unwrap_or_default().as_bytes());
        }
    }

    pub(super) fn option(&mut self, tag: u8, value: Option<&str>, limit: usize) {
        match value {
            Some("") => self.octets(tag, &[]),
            Some(value) => self.text(tag, value, limit),
            None => {}
        }
    }

    pub(super) fn number(&mut self, tag: u8, value: i64) {
        let mut octets = Vec::new();
        // Zigzag: small numbers of either sign are short.
        varint(&mut octets, (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned());
        self.octets(tag, &octets);
    }

    pub(super) fn time(&mut self, tag: u8, value: Timestamp) {
        self.number(tag, value.as_microsecond());
    }

    pub(super) fn flag(&mut self, tag: u8, value: bool) {
        if value {
            self.octets(tag, &[]);
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7F).unwrap_or_default();
        value >>= 7;
        out.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return;
        }
    }
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, behind) = rest.split_first()?;
        *rest = behind;
        let low = u64::from(first & 0x7F);
        if shift == 63 && low > 1 {
            return None;
        }
        value |= low << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A field as it was read.
pub(super) struct Field<'a> {
    pub(super) tag: u8,
    value: &'a [u8],
}

impl Field<'_> {
    pub(super) fn text(&self) -> Result<String, EnvelopeError> {
        std::str::from_utf8(self.value).map(str::to_owned).map_err(|_| EnvelopeError::Value { tag: self.tag })
    }

    pub(super) fn number(&self) -> Result<i64, EnvelopeError> {
        let mut rest = self.value;
        let number = read_varint(&mut rest).filter(|_| rest.is_empty());
        let number = number.ok_or(EnvelopeError::Value { tag: self.tag })?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of a smaller kind.
    pub(super) fn small<T: TryFrom<i64>>(&self) -> Result<T, EnvelopeError> {
        T::try_from(self.number()?).map_err(|_| EnvelopeError::Value { tag: self.tag })
    }

    pub(super) fn time(&self) -> Result<Timestamp, EnvelopeError> {
        Timestamp::from_microsecond(self.number()?).map_err(|_| EnvelopeError::Value { tag: self.tag })
    }

    pub(super) fn address(&self) -> Result<IpAddr, EnvelopeError> {
        let v4 = <[u8; 4]>::try_from(self.value).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(self.value).map(IpAddr::from)).map_err(|_| self.wrong())
    }

    pub(super) fn flag(&self) -> Result<bool, EnvelopeError> {
        if self.value.is_empty() { Ok(true) } else { Err(EnvelopeError::Value { tag: self.tag }) }
    }

    pub(super) fn wrong(&self) -> EnvelopeError {
        EnvelopeError::Value { tag: self.tag }
    }

    pub(super) fn unknown(&self) -> EnvelopeError {
        EnvelopeError::Field { tag: self.tag }
    }
}

/// Reads a record: its fields in order. No octets at all are a record without fields.
pub(super) fn fields(
    octets: &[u8],
    mut each: impl FnMut(&Field<'_>) -> Result<(), EnvelopeError>,
) -> Result<(), EnvelopeError> {
    let Some((version, mut rest)) = octets.split_first() else { return Ok(()) };
    if octets.len() > RECORD_OCTETS {
        return Err(EnvelopeError::TooLong { limit: RECORD_OCTETS });
    }
    if *version != VERSION {
        return Err(EnvelopeError::Version { found: *version });
    }
    while let Some((tag, behind)) = rest.split_first() {
        rest = behind;
        let length = read_varint(&mut rest).and_then(|length| usize::try_from(length).ok());
        let (value, behind) = length.and_then(|length| rest.split_at_checked(length)).ok_or(EnvelopeError::Cut)?;
        rest = behind;
        each(&Field { tag: *tag, value })?;
    }
    Ok(())
}
