//! The protocol's strings: octets without NUL, which ends them on the wire.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// Octets without NUL. Made from anything: NULs are left out, so that every value can be written.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Text(Bytes);

impl Text {
    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As characters; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn to_string_lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn put(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.0);
        out.extend_from_slice(b"\0");
    }
}

impl From<Bytes> for Text {
    fn from(octets: Bytes) -> Self {
        if octets.contains(&0) {
            Self(octets.iter().copied().filter(|octet| *octet != 0).collect())
        } else {
            Self(octets)
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Bytes::copy_from_slice(text.as_bytes()).into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Text {
    fn from(octets: Vec<u8>) -> Self {
        Bytes::from(octets).into()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_string_lossy().fmt(f)
    }
}

/// Takes strings off the front of a packet's data.
#[derive(Debug)]
pub(crate) struct Reader {
    code: u8,
    data: Bytes,
}

impl Reader {
    pub(crate) fn new(code: u8, data: Bytes) -> Self {
        Self { code, data }
    }

    pub(crate) fn wrong(&self, expected: &'static str) -> crate::PacketError {
        crate::PacketError::Data { code: self.code, expected }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// All the rest, as it is.
    pub(crate) fn rest(self) -> Bytes {
        self.data
    }

    pub(crate) fn octet(&mut self, expected: &'static str) -> Result<u8, crate::PacketError> {
        let octet = *self.data.first().ok_or_else(|| self.wrong(expected))?;
        let _ = self.data.split_to(1);
        Ok(octet)
    }

    pub(crate) fn u16(&mut self, expected: &'static str) -> Result<u16, crate::PacketError> {
        let octets = self.data.first_chunk::<2>().ok_or_else(|| self.wrong(expected))?;
        let number = u16::from_be_bytes(*octets);
        let _ = self.data.split_to(2);
        Ok(number)
    }

    pub(crate) fn u32(&mut self, expected: &'static str) -> Result<u32, crate::PacketError> {
        let octets = self.data.first_chunk::<4>().ok_or_else(|| self.wrong(expected))?;
        let number = u32::from_be_bytes(*octets);
        let _ = self.data.split_to(4);
        Ok(number)
    }

    /// A string.
    ///
    /// LENIENT: the last string of a packet may lack its NUL; some filters that do without libmilter leave it out.
    pub(crate) fn text(&mut self, expected: &'static str) -> Result<Text, crate::PacketError> {
        if self.data.is_empty() {
            return Err(self.wrong(expected));
        }
        let end = self.data.iter().position(|octet| *octet == 0);
        let text = self.data.split_to(end.unwrap_or(self.data.len()));
        if end.is_some() {
            let _ = self.data.split_to(1);
        }
        Ok(Text(text))
    }

    /// All strings that are left.
    pub(crate) fn texts(&mut self) -> Vec<Text> {
        let mut texts = Vec::new();
        while let Ok(text) = self.text("") {
            texts.push(text);
        }
        texts
    }
}
