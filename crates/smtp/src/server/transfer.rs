//! DATA (RFC 5321 §4.1.1.4) and BDAT (RFC 3030 §2): how content is begun, taken and ended.

use std::time::Instant;

use bytes::BytesMut;
use wire::Chunk;

use super::commands::too_big;
use super::{Asked, Closed, Content, DataStart, Event, Mode, Phase, Server};
use crate::parameter::BodyType;
use crate::reply::Reply;

impl Server {
    pub(super) fn on_data(&mut self, now: Instant) {
        let refusal = match &self.transaction {
            None => Some(Reply::new(503, "5.5.1 MAIL and RCPT come before DATA")),
            Some(transaction) if transaction.content.is_some() => {
                // RFC 3030 §2: DATA and BDAT do not mix.
                Some(Reply::new(503, "5.5.1 the content was begun by BDAT"))
            }
            Some(transaction) if transaction.body == BodyType::BinaryMime => {
                // RFC 3030 §3
                Some(Reply::new(503, "5.5.1 BODY=BINARYMIME needs BDAT"))
            }
            Some(_) => self.no_recipients(),
        };
        match (refusal, self.data_start(false)) {
            (Some(reply), _) => self.refuse(&reply),
            (None, Some(start)) => self.ask(now, Event::Data(start), Asked::Data),
            (None, None) => {}
        }
    }

    /// Whatever the answer, the chunk's octets follow the line (RFC 3030 §2).
    pub(super) fn on_bdat(&mut self, now: Instant, octets: u64, last: bool) {
        let refusal = if !self.config.chunking {
            Some(Reply::new(502, "5.5.1 BDAT is not offered here"))
        } else if self.needs_tls() {
            Some(Reply::new(530, "5.7.0 use STARTTLS first"))
        } else if self.transaction.is_none() {
            Some(Reply::new(503, "5.5.1 MAIL and RCPT come before BDAT"))
        } else {
            self.no_recipients()
        };
        if let Some(reply) = refusal {
            self.discard(now, octets, reply, 1);
            return;
        }
        let limit = self.config.limits.message_octets;
        let received = self.content().map_or(0, |content| content.received);
        if received.saturating_add(octets) > limit {
            let replies = self.replies_at_end(last);
            self.end_transaction();
            self.discard(now, octets, too_big(limit), replies);
            return;
        }
        if let Some(content) = self.content() {
            content.begin_chunk(octets, last);
            self.phase = Phase::Content;
            self.deadline = None;
            self.time_content(now, 0);
            self.at_end_of_piece(now);
        } else if let Some(start) = self.data_start(true) {
            self.ask(now, Event::Data(start), Asked::Bdat { octets, last });
        }
    }

    fn data_start(&self, chunked: bool) -> Option<DataStart> {
        let transaction = self.transaction.as_ref()?;
        Some(DataStart { chunked, body: transaction.body, size: transaction.size, recipients: transaction.recipients })
    }

    fn no_recipients(&self) -> Option<Reply> {
        let transaction = self.transaction.as_ref()?;
        match (transaction.recipients, transaction.refused) {
            (1.., _) => None,
            // RFC 2033 §4.2 has 503 in either case.
            (0, 1..) if self.config.mode != Mode::Lmtp => Some(Reply::new(554, "5.5.1 no valid recipients")),
            _ => Some(Reply::new(503, "5.5.1 RCPT comes first: no valid recipients")),
        }
    }

    /// RFC 2033 §4.2: at the end of the content there is one reply for each recipient.
    pub(super) fn replies_at_end(&self, last: bool) -> usize {
        match &self.transaction {
            Some(transaction) if last && self.config.mode == Mode::Lmtp => transaction.recipients.max(1),
            _ => 1,
        }
    }

    pub(super) fn content(&mut self) -> Option<&mut Content> {
        self.transaction.as_mut()?.content.as_mut()
    }

    /// The application lets the content come.
    pub(super) fn begin_data(&mut self, now: Instant) {
        self.begin(now, Content::data(self.config.bare_newline));
    }

    /// The application lets the content come, whose first chunk follows.
    pub(super) fn begin_chunks(&mut self, now: Instant, octets: u64, last: bool) {
        let binary = self.transaction.as_ref().is_some_and(|transaction| transaction.body == BodyType::BinaryMime);
        let mut content = Content::chunks(self.config.bare_newline, binary);
        content.begin_chunk(octets, last);
        self.begin(now, content);
        self.at_end_of_piece(now);
    }

    fn begin(&mut self, now: Instant, content: Content) {
        if let Some(transaction) = &mut self.transaction {
            transaction.content = Some(content);
            self.phase = Phase::Content;
            self.deadline = None;
            self.time_content(now, 0);
        }
    }

    /// Takes content; false when there is nothing more to take from this input.
    pub(super) fn take_content(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        let limit = self.config.limits.message_octets;
        let Some(content) = self.content() else {
            self.phase = Phase::Command;
            return true;
        };
        let before = (input.len(), content.received);
        let piece = content.take(input);
        let taken = content.received - before.1;
        let too_much = content.refusal.is_none() && content.received > limit;
        if before.0 == input.len() && piece.is_none() {
            return false;
        }
        self.time_content(now, taken);
        if too_much {
            self.refuse_content(too_big(limit));
        } else if let Some(piece) = piece {
            self.ask(now, Event::Content(piece), Asked::Content);
            return true;
        }
        self.at_end_of_piece(now);
        true
    }

    /// The content is refused; what still comes of it is thrown away, up to a bound.
    pub(super) fn refuse_content(&mut self, reply: Reply) {
        if let Some(content) = self.content()
            && content.refusal.is_none()
        {
            content.refusal = Some(reply);
            self.tell(Event::Reset);
        }
    }

    /// After a piece has been dealt with.
    pub(super) fn at_end_of_piece(&mut self, now: Instant) {
        let bound = self.config.limits.drain_octets;
        let Some(content) = self.content() else { return };
        if content.refusal.is_some() && content.drained > bound {
            let reply = content.refusal.clone().unwrap_or_else(|| too_big(bound));
            self.send(&reply);
            self.close(Closed::Limit);
            return;
        }
        if !content.is_at_end() {
            return;
        }
        let last = content.is_last();
        if last && content.refusal.is_none() && content.is_refusable() {
            // Rule 10.
            self.refuse_content(Reply::new(550, "5.6.0 the message has a CR or LF that is not part of a CR LF pair"));
        }
        let replies = self.replies_at_end(last);
        let Some(content) = self.content() else { return };
        let (received, handed) = (content.received, content.handed);
        match content.refusal.clone() {
            Some(reply) => {
                self.end_transaction();
                self.phase = Phase::Command;
                self.send_times(&reply, replies);
                self.count_error(&reply);
                self.settle(now);
            }
            None if last => self.ask(now, Event::ContentEnd { octets: handed }, Asked::ContentEnd),
            None => {
                self.phase = Phase::Command;
                self.send(&Reply::new(250, format!("2.0.0 {received} octets received")));
                self.settle(now);
            }
        }
    }

    // --- chunks that nobody wants

    pub(super) fn discard(&mut self, now: Instant, octets: u64, reply: Reply, replies: usize) {
        if octets > self.config.limits.drain_octets {
            self.send_times(&reply, replies);
            self.close(Closed::Limit);
            return;
        }
        self.phase = Phase::Discard { chunk: Chunk::new(octets), reply, replies };
        self.deadline = None;
        self.time_content(now, 0);
        self.at_end_of_discard(now);
    }

    pub(super) fn take_discarded(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        let Phase::Discard { chunk, .. } = &mut self.phase else {
            return false;
        };
        let taken = chunk.take(input).map_or(0, |octets| octets.len() as u64);
        self.time_content(now, taken);
        self.at_end_of_discard(now);
        taken > 0
    }

    fn at_end_of_discard(&mut self, now: Instant) {
        if let Phase::Discard { chunk, reply, replies } = &self.phase
            && chunk.left() == 0
        {
            let (reply, replies) = (reply.clone(), *replies);
            self.phase = Phase::Command;
            self.send_times(&reply, replies);
            self.count_error(&reply);
            self.settle(now);
        }
    }
}
