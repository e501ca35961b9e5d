//! Finds the records of a segment again, and tells a torn tail from a whole one.

use std::io;

use super::record::{self, HEADER, Header, Kind, TRAILER, UNKNOWN};
use crate::disk::File;

/// A record as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) header: Header,
    /// Where its payload begins in the file.
    pub(crate) offset: u64,
    /// Octets of head and body.
    pub(crate) octets: u64,
    pub(crate) hash: [u8; 32],
    /// The payload, unless it is a message.
    pub(crate) payload: Vec<u8>,
}

/// The whole records from the front of a segment up to its end or to the first that is not whole, and whether nothing
/// but zeros lies behind them.
pub(crate) fn scan(file: &dyn File, segment: i64) -> io::Result<(Vec<Found>, bool)> {
    let length = file.octets()?;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(record) = record_at(file, segment, at, length)? {
        at = record.offset + record.octets + TRAILER as u64;
        found.push(record);
    }
    let mut zeros = true;
    while zeros && at < length {
        let mut piece = vec![0; usize::try_from(length - at).unwrap_or(usize::MAX).min(1 << 20)];
        file.read_exact_at(&mut piece, at)?;
        zeros = piece.iter().all(|octet| *octet == 0);
        at += piece.len() as u64;
    }
    Ok((found, zeros))
}

fn record_at(file: &dyn File, segment: i64, at: u64, length: u64) -> io::Result<Option<Found>> {
    let overhead = (HEADER + TRAILER) as u64;
    if at.checked_add(overhead).is_none_or(|end| end > length) {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, at)?;
    let Some(decoded) = Header::decode(&header).filter(|header| header.segment == segment || header.segment == 0)
    else {
        return Ok(None);
    };
    let octets = if decoded.body == UNKNOWN {
        length - overhead - at
    } else {
        match decoded.body.checked_add(u64::from(decoded.head)) {
            Some(octets) if octets <= length - overhead - at => octets,
            _ => return Ok(None),
        }
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header);
    let mut payload = Vec::new();
    let keep = decoded.kind != Kind::Message;
    let offset = at + HEADER as u64;
    let mut done = 0;
    while done < octets {
        let step = usize::try_from(octets - done).unwrap_or(usize::MAX).min(1 << 20);
        let mut piece = vec![0; step];
        file.read_exact_at(&mut piece, offset + done)?;
        hasher.update(&piece);
        if keep {
            payload.extend_from_slice(&piece);
        }
        done += step as u64;
    }
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, offset + octets)?;
    let Some((body, hash)) = record::decode_trailer(&trailer) else {
        return Ok(None);
    };
    if hasher.finalize() != hash || body + u64::from(decoded.head) != octets {
        return Ok(None);
    }
    Ok(Some(Found { header: decoded, offset, octets, hash, payload }))
}
