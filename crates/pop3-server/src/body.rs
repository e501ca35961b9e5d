//! A message's octets on their way out: all of them, or its first lines.

use std::io;

use bytes::Bytes;
use daemon::Share;
use net::ReadBody;
use pop3::TopCounter;
use store::Body;

/// The octets of RETR or TOP.
#[derive(Debug)]
pub struct Octets {
    source: Source,
    top: Option<TopCounter>,
}

#[derive(Debug)]
enum Source {
    /// What is large counts until it is sent.
    Memory {
        octets: Bytes,
        _share: Option<Share>,
    },
    Stored(Body),
}

impl Octets {
    /// What is in memory already, up to so many lines of the body.
    pub(crate) fn memory(octets: Bytes, top: Option<u64>, share: Option<Share>) -> Self {
        Self { source: Source::Memory { octets, _share: share }, top: top.map(TopCounter::new) }
    }

    /// What is read as it is sent.
    pub(crate) fn stored(body: Body, top: Option<u64>) -> Self {
        Self { source: Source::Stored(body), top: top.map(TopCounter::new) }
    }
}

impl ReadBody for Octets {
    async fn read(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        if self.top.as_ref().is_some_and(TopCounter::is_done) {
            return Ok(None);
        }
        let piece = match &mut self.source {
            Source::Memory { octets, .. } => octets.read(most).await?,
            Source::Stored(body) => body.next(most).await.map_err(io::Error::other)?,
        };
        let Some(mut piece) = piece else { return Ok(None) };
        if let Some(top) = &mut self.top {
            piece.truncate(top.count(&piece));
        }
        Ok(Some(piece))
    }
}

/// A message whose header holds nothing beyond ASCII, for clients that could not read it (rule 24, RFC 6856 §5).
pub(crate) fn with_ascii_header(message: &[u8]) -> Bytes {
    let (header, body) = message.split_at(mime::header_range(message).end);
    [&mime::surrogate_header(header)[..], body].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_made_plain_and_the_body_is_not_touched() {
        // rule 24
        let message = "Subject: Grüße\r\nFrom: a@b\r\n\r\nGrüße\r\n";
        let plain = with_ascii_header(message.as_bytes());
        assert_eq!(String::from_utf8_lossy(&plain), "Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\nFrom: a@b\r\n\r\nGrüße\r\n");
    }
}
