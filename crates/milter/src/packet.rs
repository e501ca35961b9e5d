//! Packets: four octets of length, most significant first, then a code and its data.

use bytes::{Bytes, BytesMut};

use crate::PacketError;

/// One packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Which command or response it is.
    pub code: u8,
    /// What belongs to it.
    pub data: Bytes,
}

impl Packet {
    /// Writes it.
    pub fn encode(&self, out: &mut BytesMut) {
        put(self.code, out, |out| out.extend_from_slice(&self.data));
    }
}

/// Writes a packet whose data `data` writes.
pub(crate) fn put(code: u8, out: &mut BytesMut, data: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, code]);
    data(out);
    // Nothing that is written here comes near 4 GiB.
    let octets = u32::try_from(out.len() - start - LENGTH).unwrap_or(u32::MAX);
    out[start..start + LENGTH].copy_from_slice(&octets.to_be_bytes());
}

/// Cuts input into packets. Takes memory as octets arrive, not as a length announces them.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    gathered: BytesMut,
    /// The octets behind the length, once it is known.
    announced: Option<usize>,
}

impl Framer {
    /// For packets with at most `limit` octets of data.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, gathered: BytesMut::new(), announced: None }
    }

    /// The next packet from the front of `input`; `None`: more is needed, and all of `input` was taken.
    ///
    /// # Errors
    /// A packet that is too long, or empty; what follows cannot be read any more.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, PacketError> {
        loop {
            let whole = LENGTH + self.announced.unwrap_or(0);
            let missing = whole - self.gathered.len();
            let piece = input.split_to(missing.min(input.len()));
            self.gathered.extend_from_slice(&piece);
            if piece.len() < missing {
                return Ok(None);
            }
            if self.announced.is_some() {
                self.announced = None;
                let data = std::mem::take(&mut self.gathered).freeze().slice(LENGTH..);
                let code = *data.first().ok_or(PacketError::Empty)?;
                return Ok(Some(Packet { code, data: data.slice(1..) }));
            }
            let length = self.gathered.first_chunk::<LENGTH>().copied().unwrap_or_default();
            let octets = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if octets == 0 {
                return Err(PacketError::Empty);
            }
            if octets - 1 > self.limit {
                return Err(PacketError::TooLong { octets, limit: self.limit });
            }
            self.announced = Some(octets);
        }
    }
}

/// Octets of the length.
const LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_their_ends() {
        let error = |octets: &[u8]| Framer::new(3).take(&mut BytesMut::from(octets)).unwrap_err();
        assert_eq!(error(b"\0\0\0\0"), PacketError::Empty);
        assert_eq!(error(b"\0\0\0\x05"), PacketError::TooLong { octets: 5, limit: 3 });
        assert_eq!(error(b"\xff\xff\xff\xff"), PacketError::TooLong { octets: 0xffff_ffff, limit: 3 });
        let octets = b"\0\0\0\x01c\0\0\0\x04babc\0\0\0";
        for cut in 1..octets.len() {
            let mut framer = Framer::new(3);
            let mut found = Vec::new();
            for piece in octets.chunks(cut) {
                let mut input = BytesMut::from(piece);
                while let Some(packet) = framer.take(&mut input).unwrap() {
                    found.push((packet.code, packet.data.to_vec()));
                }
                assert!(input.is_empty());
            }
            assert_eq!(found, [(b'c', b"".to_vec()), (b'b', b"abc".to_vec())], "{cut}");
        }
    }
}
