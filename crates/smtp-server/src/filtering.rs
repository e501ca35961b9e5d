//! What filters decide of a whole message, and the changes they want.

use address::ForwardPath;
use bytes::{Bytes, BytesMut};
use filter::{FilterSession, Modifications, RecipientChange, Verdict};
use smtp::{RcptParameters, Reply};
use store::NewBody;

use crate::accept::{Addressee, Arrival, Manner, bare};
use crate::entrance::Entrance;
use crate::screening::notes;

impl Entrance {
    /// Asks the filters about a whole message, and makes the changes they want. They see it without our Received field.
    ///
    /// # Errors
    /// Their refusal.
    pub(crate) async fn filtered(
        &self,
        filters: &mut FilterSession,
        arrival: &mut Arrival,
        received_octets: usize,
    ) -> Result<(), Reply> {
        let whole = &arrival.whole;
        let from = received_octets.min(whole.len());
        let end = from + mime::header_range(&whole[from..]).end;
        let (header, mut body) = (whole.slice(from..end), whole.slice(end..));
        let decision = filters.message(&header, &mut body).await;
        arrival.judged.extend(notes(decision.notes));
        match decision.verdict {
            Verdict::Reject(reply) | Verdict::TempFail(reply) => return Err(reply),
            Verdict::Discard => arrival.manner = Manner::Discard,
            Verdict::Quarantine(_) => arrival.manner = Manner::Quarantine,
            Verdict::Hold(_) => arrival.manner = Manner::Hold,
            Verdict::Continue | Verdict::Accept => {}
        }
        let Modifications { header: changes, body: new_body, sender, recipients } = decision.modifications;
        if !changes.is_empty() || new_body.is_some() {
            let mut head = BytesMut::from(&whole[..from]);
            head.extend_from_slice(&filter::apply(&changes, &header));
            let head = head.freeze();
            let pieces = new_body.unwrap_or_else(|| vec![body]);
            let mut changed = BytesMut::from(&head[..]);
            pieces.iter().for_each(|piece| changed.extend_from_slice(piece));
            (arrival.head, arrival.body, arrival.whole) = (head, NewBody::Memory(pieces), changed.freeze());
        }
        if let Some((sender, parameters)) = sender {
            let known = &mut arrival.parameters;
            known.ret = parameters.ret.or(known.ret);
            known.envid = parameters.envid.or(known.envid.take());
            arrival.sender = sender;
        }
        for change in recipients {
            match change {
                RecipientChange::Delete(path) => {
                    let gone = bare(&path).to_lowercase();
                    arrival.recipients.retain(|addressee| bare(&addressee.path).to_lowercase() != gone);
                }
                RecipientChange::Add(path, parameters) => self.add_recipient(arrival, path, parameters).await?,
            }
        }
        Ok(())
    }

    /// One more recipient: a filter is trusted to send anywhere.
    async fn add_recipient(
        &self,
        arrival: &mut Arrival,
        path: ForwardPath,
        parameters: RcptParameters,
    ) -> Result<(), Reply> {
        let octets = arrival.whole.len() as u64;
        let is_report = arrival.sender.mailbox().is_none();
        match self.reach(&path, octets, is_report, None).await {
            Ok(reached) => {
                arrival.recipients.push(Addressee {
                    path,
                    parameters,
                    accounts: reached.accounts,
                    onward: reached.onward,
                });
                Ok(())
            }
            Err(reply) if reply.is_permanent() => {
                let why = format!("{}: {}", bare(&path), reply.text());
                arrival.judged.push(crate::transaction::judged("recipient of a filter", "ignored", why));
                Ok(())
            }
            // Now or never: the client tries again.
            Err(reply) => Err(reply),
        }
    }
}

/// The octets of a message as one.
pub(crate) fn joined(pieces: &[&[u8]]) -> Bytes {
    pieces.concat().into()
}
