//! A message on its way in: gathered, judged, given its fields.

use std::net::IpAddr;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use store::{NewBody, Staged, ZonedTime};

/// Octets kept in memory; beyond it a message goes to disk as it comes.
pub(crate) const IN_MEMORY: u64 = 1 << 20;

/// The octets gathered so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pieces: Vec<Bytes>,
    octets: u64,
    staged: Option<(Bytes, Staged)>,
}

impl Gathered {
    /// Whether the next octets belong on disk.
    pub(crate) fn is_large(&self) -> bool {
        self.staged.is_none() && self.octets > IN_MEMORY
    }

    /// Whether they are on disk already.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.staged.is_some()
    }

    /// Octets so far.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        self.octets += piece.len() as u64;
        self.pieces.push(piece);
    }

    /// What is in memory, as one.
    pub(crate) fn contiguous(&mut self) -> Bytes {
        if self.pieces.len() != 1 {
            let mut whole = BytesMut::with_capacity(usize::try_from(self.octets).unwrap_or(0));
            for piece in self.pieces.drain(..) {
                whole.extend_from_slice(&piece);
            }
            self.pieces.push(whole.freeze());
        }
        self.pieces.first().cloned().unwrap_or_default()
    }

    /// Moves to disk what was gathered: `cut` takes out what does not belong to the message any more.
    pub(crate) async fn move_to_disk(
        &mut self,
        head: Bytes,
        mut staged: Staged,
        cut: &[Range<usize>],
    ) -> store::Result<()> {
        let first = without(&self.contiguous(), cut);
        self.pieces.clear();
        let staged = blocking(move || {
            for piece in &first {
                staged.write(piece)?;
            }
            Ok(staged)
        })
        .await?;
        self.staged = Some((head, staged));
        Ok(())
    }

    /// Takes octets of a large message.
    pub(crate) async fn write(&mut self, piece: Bytes) -> store::Result<()> {
        let Some((head, mut staged)) = self.staged.take() else {
            self.push(piece);
            return Ok(());
        };
        self.octets += piece.len() as u64;
        let staged = blocking(move || staged.write(&piece).map(|()| staged)).await?;
        self.staged = Some((head, staged));
        Ok(())
    }

    /// The head and the body to be delivered, and all of it as one for whoever looks at it; `head` and `cut` count for a
    /// message in memory alone: a large one has had them.
    pub(crate) async fn finish(mut self, head: Bytes, cut: &[Range<usize>]) -> store::Result<(Bytes, NewBody, Bytes)> {
        if let Some((head, staged)) = self.staged {
            let octets = head.len() as u64 + staged.octets();
            let (whole, staged) = blocking(move || {
                let whole = staged.read(0, usize::try_from(octets).unwrap_or(usize::MAX))?;
                Ok((whole, staged))
            })
            .await?;
            return Ok((head, NewBody::Staged(staged), whole));
        }
        let body = without(&self.contiguous(), cut);
        let mut whole = BytesMut::from(&head[..]);
        for piece in &body {
            whole.extend_from_slice(piece);
        }
        Ok((head, NewBody::Memory(body), whole.freeze()))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> store::Result<T> + Send + 'static) -> store::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| store::Error::Busy)?
}

/// The octets outside some ranges.
fn without(octets: &Bytes, cut: &[Range<usize>]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for range in cut {
        if range.start > from {
            pieces.push(octets.slice(from..range.start));
        }
        from = range.end;
    }
    if from < octets.len() {
        pieces.push(octets.slice(from..));
    }
    pieces
}

/// A new queue id (rule 32).
pub(crate) fn queue_id() -> String {
    let now = jiff::Timestamp::now();
    trace::queue_id(now, getrandom::u64().unwrap_or_else(|_| u64::from(now.subsec_nanosecond().unsigned_abs())))
}

/// What Received tells (RFC 5321 §4.4).
#[derive(Debug)]
pub(crate) struct Trace<'a> {
    pub(crate) hello: &'a str,
    pub(crate) client: Option<IpAddr>,
    pub(crate) local: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) queue_id: &'a str,
    pub(crate) tls: Option<(&'a str, &'a str)>,
    /// The only recipient; none where there are several, since they are nobody else's business (rule 15).
    pub(crate) recipient: Option<String>,
}

/// The Received field, folded.
pub(crate) fn received(trace: &Trace<'_>, date: &str) -> String {
    let mut field = format!("Received: from {}", trace.hello);
    match trace.client {
        Some(IpAddr::V4(address)) => field.push_str(&format!(" ([{address}])")),
        Some(IpAddr::V6(address)) => field.push_str(&format!(" ([IPv6:{address}])")),
        None => {}
    }
    field.push_str(&format!("\r\n\tby {} with {}", trace.local, trace.protocol));
    if let Some((version, cipher)) = trace.tls {
        // RFC 8314 §4.3
        field.push_str(&format!("\r\n\t(version={version} cipher={cipher})"));
    }
    field.push_str(&format!("\r\n\tid {}", trace.queue_id));
    if let Some(recipient) = &trace.recipient {
        field.push_str(&format!("\r\n\tfor {recipient}"));
    }
    field.push_str(&format!(";\r\n\t{date}\r\n"));
    field
}

/// Now, as header fields write it (RFC 5322 §3.3) and as the store keeps it.
pub(crate) fn now() -> (String, ZonedTime) {
    let now = jiff::Zoned::now();
    let text = now.strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
    let minutes = i16::try_from(now.offset().seconds() / 60).unwrap_or_default();
    (text, ZonedTime { unix: now.timestamp().as_second(), offset_minutes: minutes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_says_what_is_known_and_no_more() {
        // rule 15
        let mut trace = Trace {
            hello: "client.example",
            client: Some("192.0.2.1".parse().unwrap()),
            local: "mx.example.org",
            protocol: "ESMTPS",
            queue_id: "id1",
            tls: Some(("TLS1.3", "TLS13_AES_256_GCM_SHA384")),
            recipient: Some("<ann@example.org>".into()),
        };
        let date = "Fri, 21 Nov 1997 09:55:06 -0600";
        assert_eq!(
            received(&trace, date),
            "Received: from client.example ([192.0.2.1])\r\n\tby mx.example.org with ESMTPS\r\n\t(version=TLS1.3 cipher=TLS13_AES_256_GCM_SHA384)\r\n\tid id1\r\n\tfor <ann@example.org>;\r\n\tFri, 21 Nov 1997 09:55:06 -0600\r\n"
        );
        (trace.client, trace.tls, trace.recipient) = (None, None, None);
        let short = "Received: from client.example\r\n\tby mx.example.org with ESMTPS\r\n\tid id1;\r\n\tx\r\n";
        assert_eq!(received(&trace, "x"), short);
    }

    #[test]
    fn ranges_are_cut_out() {
        let octets = Bytes::from_static(b"0123456789");
        let cut = |ranges: &[Range<usize>]| without(&octets, ranges).concat();
        assert_eq!(cut(&[]), b"0123456789");
        assert_eq!(cut(&[0..2, 5..6]), b"2346789");
        assert_eq!(cut(&[8..9, 9..10]), b"01234567");
    }
}
