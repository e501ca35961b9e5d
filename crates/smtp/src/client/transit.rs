//! One transaction on its way: MAIL, RCPT, DATA or BDAT, and who got what (RFC 5321 §3.3, RFC 2033 §4.2).

use std::time::Instant;

use address::ForwardPath;
use wire::BodyCoding;

use super::{
    Answer, Client, ClientMode, Event, Expected, Extensions, Failure, Outcome, Queued, Stage, Transaction, Unsupported,
};
use crate::command::Command;
use crate::parameter::{BodyType, RcptParameters};
use crate::reply::{Reply, Severity};

/// A transaction between its first command and its last reply.
#[derive(Debug)]
pub(super) struct Transit<B> {
    mail: Option<Command>,
    recipients: std::vec::IntoIter<(ForwardPath, RcptParameters)>,
    /// RCPT commands sent.
    asked: usize,
    answers: Vec<Option<Answer>>,
    /// Recipients whose RCPT was accepted, and who wait for the end of the content.
    accepted: Vec<usize>,
    refused_at_mail: Option<Reply>,
    mail_accepted: bool,
    body: Option<B>,
    octets: u64,
    /// By BDAT, not DATA.
    chunked: bool,
    content_begun: bool,
    content_sent: bool,
}

/// The outcome of a transaction of which nothing was sent.
pub(super) fn unsent(recipients: usize, failure: Failure) -> Outcome {
    Outcome { recipients: vec![None; recipients], failure: Some(failure), content_sent: false }
}

impl<B> Transit<B> {
    /// The outcome when the connection ends under way. A 421 answers those who wait for the reply it came as.
    pub(super) fn broken(mut self, failure: Failure, closing: Option<(Reply, Option<Expected>)>) -> Outcome {
        if let Some((reply, expected)) = closing {
            let stage = match expected {
                Some(Expected::Rcpt(_)) => Stage::Rcpt,
                Some(Expected::Data) => Stage::Data,
                Some(Expected::Content(_)) => Stage::Content,
                _ => Stage::Mail,
            };
            for answer in self.answers.iter_mut().filter(|answer| answer.is_none()) {
                *answer = Some(Answer { stage, reply: reply.clone() });
            }
        }
        Outcome { recipients: self.answers, failure: Some(failure), content_sent: self.content_sent }
    }

    fn answer(&mut self, at: usize, stage: Stage, reply: &Reply) {
        if let Some(place) = self.answers.get_mut(at) {
            place.get_or_insert_with(|| Answer { stage, reply: reply.clone() });
        }
    }

    fn answer_all(&mut self, stage: Stage, reply: &Reply) {
        for at in 0..self.answers.len() {
            self.answer(at, stage, reply);
        }
    }
}

/// What the message needs and the server does not offer.
fn unsupported<B>(transaction: &Transaction<B>, extensions: &Extensions) -> Option<Unsupported> {
    let parameters = &transaction.parameters;
    let addresses =
        transaction.reverse_path.is_ascii() && transaction.recipients.iter().all(|(path, _)| path.is_ascii());
    let utf8 = parameters.smtputf8 || !addresses;
    match parameters.body {
        _ if transaction.recipients.is_empty() => Some(Unsupported::Recipients),
        _ if utf8 && !extensions.smtputf8 => Some(Unsupported::SmtpUtf8),
        Some(BodyType::EightBitMime) if !extensions.eight_bit_mime => Some(Unsupported::EightBitMime),
        Some(BodyType::BinaryMime) if !(extensions.binary_mime && extensions.chunking) => Some(Unsupported::BinaryMime),
        _ if extensions.max_size.is_some_and(|limit| transaction.octets > limit) => Some(Unsupported::Size),
        _ => None,
    }
}

impl<B> Client<B> {
    pub(super) fn begin(&mut self, now: Instant, transaction: Transaction<B>) {
        if let Some(unsupported) = unsupported(&transaction, &self.extensions) {
            let outcome = unsent(transaction.recipients.len(), Failure::Unsupported(unsupported));
            self.tell(Event::Sent(outcome));
            self.turn(now);
            return;
        }
        let Transaction { reverse_path, mut parameters, recipients, body, octets } = transaction;
        let offered = &self.extensions;
        parameters.size = offered.size.then_some(octets);
        parameters.smtputf8 |= !reverse_path.is_ascii() || recipients.iter().any(|(path, _)| !path.is_ascii());
        if !offered.eight_bit_mime && parameters.body == Some(BodyType::SevenBit) {
            parameters.body = None;
        }
        if offered.auth.is_empty() {
            parameters.auth = None;
        }
        if !offered.dsn {
            parameters.ret = None;
            parameters.envid = None;
        }
        // `unsupported` lets BINARYMIME pass only where CHUNKING is offered; it has no other way (RFC 3030 §3).
        let binary = parameters.body == Some(BodyType::BinaryMime);
        let chunked = offered.chunking && (self.config.chunking || binary);
        self.transit = Some(Transit {
            mail: Some(Command::Mail { reverse_path, parameters }),
            answers: vec![None; recipients.len()],
            recipients: recipients.into_iter(),
            asked: 0,
            accepted: Vec::new(),
            refused_at_mail: None,
            mail_accepted: false,
            body: Some(body),
            octets,
            chunked,
            content_begun: false,
            content_sent: false,
        });
        if self.dirty {
            self.command(now, &Command::Rset, Expected::Rset);
        }
        self.advance(now);
    }

    /// Sends what may be sent now.
    pub(super) fn advance(&mut self, now: Instant) {
        let window = if self.extensions.pipelining { self.config.limits.pipelined_commands.max(1) } else { 1 };
        let dsn = self.extensions.dsn;
        while self.expected.len() < window {
            let Some(transit) = &mut self.transit else { return };
            if let Some(mail) = transit.mail.take() {
                self.command(now, &mail, Expected::Mail);
                continue;
            }
            let is_refused = transit.refused_at_mail.is_some();
            if !is_refused && let Some((forward_path, mut parameters)) = transit.recipients.next() {
                if !dsn {
                    parameters = RcptParameters::default();
                }
                let at = transit.asked;
                transit.asked += 1;
                self.command(now, &Command::Rcpt { forward_path, parameters }, Expected::Rcpt(at));
                continue;
            }
            if transit.content_begun {
                return;
            }
            let answered = self.expected.is_empty();
            if answered && transit.accepted.is_empty() {
                // Nobody wants it; the transaction is left open, if there is one.
                self.dirty = transit.mail_accepted;
                self.finish(now);
                return;
            }
            if is_refused || (transit.chunked && !answered) {
                return;
            }
            transit.content_begun = true;
            if transit.chunked {
                let octets = transit.octets;
                Command::Bdat { octets, last: true }.encode(&mut self.commands);
                self.send_content(now, BodyCoding::Raw);
            } else {
                // RFC 2920 §3.1: DATA may be the last command of a group.
                self.command(now, &Command::Data, Expected::Data);
            }
            return;
        }
    }

    fn send_content(&mut self, now: Instant, coding: BodyCoding) {
        let Some(transit) = &mut self.transit else { return };
        let Some(body) = transit.body.take() else { return };
        transit.content_sent = true;
        let accepted = std::mem::take(&mut transit.accepted);
        self.queue(Queued::Body(body, coding));
        match self.config.mode {
            ClientMode::Smtp => {
                if let Some(transit) = &mut self.transit {
                    transit.accepted = accepted;
                }
                self.expect(now, Expected::Content(None));
            }
            ClientMode::Lmtp => {
                for at in accepted {
                    self.expect(now, Expected::Content(Some(at)));
                }
            }
        }
    }

    pub(super) fn on_mail(&mut self, now: Instant, reply: Reply) {
        if let Some(transit) = &mut self.transit {
            if reply.is_positive() {
                transit.mail_accepted = true;
            } else {
                transit.refused_at_mail = Some(reply);
            }
        }
        self.advance(now);
    }

    pub(super) fn on_rcpt(&mut self, now: Instant, at: usize, reply: &Reply) {
        if let Some(transit) = &mut self.transit
            && transit.refused_at_mail.is_none()
        {
            if reply.is_positive() {
                transit.accepted.push(at);
            } else {
                transit.answer(at, Stage::Rcpt, reply);
            }
        }
        self.advance(now);
    }

    pub(super) fn on_data(&mut self, now: Instant, reply: Reply) {
        let Some(transit) = &mut self.transit else { return };
        match reply.severity() {
            Severity::Positive => self.fail(Failure::Unexpected(reply)),
            Severity::Intermediate if transit.accepted.is_empty() => {
                // RFC 2920 §3.1: DATA was pipelined, nobody is left, and the server waits all the same.
                self.commands.extend_from_slice(b".\r\n");
                self.expect(now, Expected::Content(None));
            }
            Severity::Intermediate => self.send_content(now, BodyCoding::DotStuffed),
            Severity::Transient | Severity::Permanent => {
                for at in std::mem::take(&mut transit.accepted) {
                    transit.answer(at, Stage::Data, &reply);
                }
                self.dirty = transit.mail_accepted;
                self.finish(now);
            }
        }
    }

    pub(super) fn on_content(&mut self, now: Instant, at: Option<usize>, reply: &Reply) {
        let Some(transit) = &mut self.transit else { return };
        match at {
            Some(at) => transit.answer(at, Stage::Content, reply),
            None => {
                for at in std::mem::take(&mut transit.accepted) {
                    transit.answer(at, Stage::Content, reply);
                }
            }
        }
        if self.expected.is_empty() {
            // RFC 3030 §2: a refused chunk leaves the transaction to RSET.
            self.dirty = !reply.is_positive();
            self.finish(now);
        }
    }

    fn finish(&mut self, now: Instant) {
        if let Some(mut transit) = self.transit.take() {
            if let Some(reply) = transit.refused_at_mail.take() {
                transit.answer_all(Stage::Mail, &reply);
            }
            self.tell(Event::Sent(Outcome {
                recipients: transit.answers,
                failure: None,
                content_sent: transit.content_sent,
            }));
        }
        self.turn(now);
    }
}
