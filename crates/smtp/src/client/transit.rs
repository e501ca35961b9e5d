//! One transaction on its way: MAIL, RCPT, DATA or BDAT, and who got what (RFC 5321 §3.3, RFC 2033 §4.2).

use std::time::Instant;

use address::{ForwardPath, ReversePath};
use wire::{BodyCoding, Notify};

use super::{
    Answer, Client, ClientMode, Event, Expected, Extensions, Failure, Outcome, Queued, Stage, Transaction, Unsupported,
    Waiting,
};
use crate::command::Command;
use crate::parameter::{BodyType, RcptParameters};
use crate::reply::{Reply, Severity};
use crate::schedule::{ByMode, Hold};

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
    /// BODY=BINARYMIME: its octets are no lines.
    binary: bool,
    /// SMTPUTF8 goes with MAIL.
    utf8: bool,
    /// BY cannot go on, so NOTIFY is to do what it can.
    asks_delay: bool,
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

    /// The content did not leave whole, and nothing more will.
    pub(super) fn withdraw_content(&mut self) {
        self.content_sent = false;
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

/// What keeps the message from being sent on this connection now.
fn obstacle<B>(client: &Client<B>, now: Instant, waiting: &Waiting<B>) -> Option<Failure> {
    let (transaction, extensions) = (&waiting.transaction, &client.extensions);
    let parameters = &transaction.parameters;
    let addresses =
        transaction.reverse_path.is_ascii() && transaction.recipients.iter().all(|(path, _)| path.is_ascii());
    let utf8 = parameters.smtputf8 || !addresses;
    let by = match parameters.deliver_by.filter(|by| by.mode() == ByMode::Return) {
        Some(by) => match by.after(waiting.age(now)) {
            Some(by) => Some(u32::try_from(by.seconds()).unwrap_or(0)),
            None => return Some(Failure::DeliverByPassed),
        },
        None => None,
    };
    let unsupported = match parameters.body {
        _ if transaction.recipients.is_empty() => Unsupported::Recipients,
        _ if utf8 && !extensions.smtputf8 => Unsupported::SmtpUtf8,
        Some(BodyType::EightBitMime) if !extensions.eight_bit_mime => Unsupported::EightBitMime,
        Some(BodyType::BinaryMime) if !(extensions.binary_mime && extensions.chunking) => Unsupported::BinaryMime,
        _ if extensions.max_size.is_some_and(|limit| transaction.octets > limit) => Unsupported::Size,
        _ if parameters.hold.is_some_and(|hold| !holds(extensions, hold)) => Unsupported::FutureRelease,
        // RFC 2852 §4.1.4.1
        _ if by.is_some_and(|left| extensions.deliver_by.is_none_or(|least| left < least)) => Unsupported::DeliverBy,
        _ if parameters.require_tls && !may_skip_tls(transaction) && !client.requires_tls() => Unsupported::RequireTls,
        _ if extensions.mail_max.is_some_and(|most| client.transactions >= most) => Unsupported::Transactions,
        _ => return None,
    };
    Some(Failure::Unsupported(unsupported))
}

/// RFC 4865 §4.1.
fn holds(extensions: &Extensions, hold: Hold) -> bool {
    extensions.future_release.is_some_and(|(most, until)| match hold {
        Hold::For(seconds) => seconds <= most,
        Hold::Until(time) => time <= until,
    })
}

/// RFC 8689 §5: a report of failure is not to be lost over it.
fn may_skip_tls<B>(transaction: &Transaction<B>) -> bool {
    transaction.reverse_path == ReversePath::Null
}

/// RFC 2852 §4.1.4.2: who asked to hear of a delay by BY, asks so by NOTIFY where BY cannot go on.
fn with_delay(notify: Option<Notify>) -> Notify {
    match notify {
        None => Notify { success: false, failure: true, delay: true },
        Some(never) if never == Notify::default() => never,
        Some(notify) => Notify { delay: true, ..notify },
    }
}

impl<B> Waiting<B> {
    /// Whole seconds since it was told.
    fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }
}

impl<B> Client<B> {
    /// RFC 8689 §2: over TLS alone, and where it is offered.
    fn requires_tls(&self) -> bool {
        self.tls.is_some() && self.extensions.require_tls
    }

    pub(super) fn begin(&mut self, now: Instant, waiting: Waiting<B>) {
        if let Some(failure) = obstacle(self, now, &waiting) {
            let outcome = unsent(waiting.transaction.recipients.len(), failure);
            self.tell(Event::Sent(outcome));
            self.turn(now);
            return;
        }
        self.transit = Some(self.prepare(now, waiting));
        if self.dirty {
            self.command(now, &Command::Rset, Expected::Rset);
        }
        self.advance(now);
    }

    /// The next transaction, once the content of this one is on its way (RFC 2920 §3.1). Not behind BDAT: if that is
    /// refused, RSET comes first (RFC 3030 §2).
    pub(super) fn look_ahead(&mut self, now: Instant) {
        let is_sent = self.transit.as_ref().is_some_and(|transit| transit.content_sent && !transit.chunked);
        let may = self.config.pipeline_transactions
            && self.config.mode == ClientMode::Smtp
            && self.extensions.pipelining
            && self.ahead.is_none();
        if !(is_sent && may) {
            return;
        }
        // What cannot be sent is said in its turn.
        let fits = self.waiting.front().is_some_and(|next| obstacle(self, now, next).is_none());
        if let Some(next) = if fits { self.waiting.pop_front() } else { None } {
            self.ahead = Some(self.prepare(now, next));
            self.advance(now);
        }
    }

    fn prepare(&self, now: Instant, waiting: Waiting<B>) -> Transit<B> {
        let age = waiting.age(now);
        let may_skip_tls = may_skip_tls(&waiting.transaction);
        let Transaction { reverse_path, mut parameters, recipients, body, octets } = waiting.transaction;
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
        if !offered.mt_priority {
            parameters.priority = None;
        }
        // RFC 2852 §4.1.4: what is left, as close to MAIL as may be.
        let by = parameters.deliver_by.and_then(|by| by.after(age));
        parameters.deliver_by = by.filter(|_| offered.deliver_by.is_some());
        let asks_delay = parameters.deliver_by.is_none() && by.is_some_and(|by| by.seconds() > 0);
        parameters.require_tls &= !may_skip_tls || self.requires_tls();
        // `obstacle` lets BINARYMIME pass only where CHUNKING is offered; it has no other way (RFC 3030 §3).
        let binary = parameters.body == Some(BodyType::BinaryMime);
        let chunked = offered.chunking && (self.config.chunking || binary);
        Transit {
            utf8: parameters.smtputf8,
            mail: Some(Command::Mail { reverse_path, parameters }),
            answers: vec![None; recipients.len()],
            recipients: recipients.into_iter(),
            asks_delay,
            asked: 0,
            accepted: Vec::new(),
            refused_at_mail: None,
            mail_accepted: false,
            body: Some(body),
            octets,
            chunked,
            binary,
            content_begun: false,
            content_sent: false,
        }
    }

    /// Sends what may be sent now.
    pub(super) fn advance(&mut self, now: Instant) {
        let window = if self.extensions.pipelining { self.config.limits.pipelined_commands.max(1) } else { 1 };
        let dsn = self.extensions.dsn;
        let ahead = self.ahead.is_some();
        while self.expected.len() < window {
            let Some(transit) = self.ahead.as_mut().or(self.transit.as_mut()) else { return };
            if let Some(mail) = transit.mail.take() {
                self.transactions = self.transactions.saturating_add(1);
                self.command(now, &mail, Expected::Mail);
                continue;
            }
            let is_refused = transit.refused_at_mail.is_some();
            if !is_refused && let Some((forward_path, mut parameters)) = transit.recipients.next() {
                if !dsn {
                    parameters = RcptParameters::default();
                } else if transit.asks_delay {
                    parameters.notify = Some(with_delay(parameters.notify));
                }
                if !transit.utf8 {
                    // RFC 6533 §3. What is longer than ORCPT may be stays behind.
                    parameters.orcpt = parameters.orcpt.and_then(|orcpt| orcpt.to_ascii());
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
            // A chunk may follow at once, since it is taken off the line whatever became of MAIL and RCPT.
            let at_once = self.extensions.pipelining
                && self.config.mode == ClientMode::Smtp
                && transit.octets <= self.config.limits.pipelined_content_octets;
            if is_refused || (transit.chunked && (ahead || !(answered || at_once))) {
                return;
            }
            transit.content_begun = true;
            if transit.chunked {
                let octets = transit.octets;
                Command::Bdat { octets, last: true }.encode(&mut self.commands);
                let coding = if transit.binary { BodyCoding::Raw } else { BodyCoding::Lines };
                self.send_content(now, coding);
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

    /// `more`: octets stand behind the reply.
    pub(super) fn on_data(&mut self, now: Instant, reply: Reply, more: bool) {
        let Some(transit) = &mut self.transit else { return };
        match reply.severity() {
            Severity::Positive => self.fail(Failure::Unexpected(reply)),
            // An answer to content that has not been sent is worth nothing.
            Severity::Intermediate if more => self.fail(Failure::Unexpected(reply)),
            Severity::Intermediate if transit.accepted.is_empty() => {
                // RFC 2920 §3.1: DATA was pipelined, nobody is left, and the server waits all the same.
                self.commands.extend_from_slice(b".\r\n");
                self.expect(now, Expected::Content(None));
            }
            Severity::Intermediate => {
                self.send_content(now, BodyCoding::DotStuffedLines);
                self.look_ahead(now);
            }
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
        if !matches!(self.expected.front(), Some(Expected::Content(_))) {
            // RFC 3030 §2: a refused chunk leaves the transaction to RSET; the end of DATA ends it in any case
            // (RFC 5321 §4.1.1.4).
            self.dirty = transit.chunked && transit.mail_accepted && !reply.is_positive();
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
        self.transit = self.ahead.take();
        if self.transit.is_some() {
            self.advance(now);
        } else {
            self.turn(now);
        }
    }
}
