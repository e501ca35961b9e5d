//! APPEND: messages stream to the application, in pieces, each accepted before more is read (RFC 9051 §6.3.12).

use std::time::Instant;

use bytes::BytesMut;
use wire::{Chunk, Discard, Framed, LiteralHeader};

use super::{Done, Event, Input, LITERAL_MINUS, Server};
use crate::parse;

/// Where APPEND is.
#[derive(Debug)]
pub(super) enum Progress {
    /// The application decides about the message announced.
    Announced(LiteralHeader),
    /// Its octets come.
    Octets(Chunk),
    /// Between messages, or at the end.
    Between,
    /// The command was refused; octets that come all the same are dropped.
    Dropping(Discard),
    /// The rest of a refused command.
    DroppingLine,
    /// The application answers the whole.
    Ending,
}

impl<B> Server<B> {
    /// Whether the command that pauses at this literal is APPEND at a message; then it has begun.
    pub(super) fn begins_append(&mut self, now: Instant, literal: LiteralHeader) -> bool {
        let so_far = self.framer.so_far();
        let Some(prefix) = before_announcement(so_far, literal) else { return false };
        let Some((tag, Some(append))) = parse::append(prefix, self.mode()) else { return false };
        self.tag = tag;
        self.framer.clear();
        self.append_open = append.utf8;
        self.append_count = 1;
        self.announce(now, append, literal);
        true
    }

    fn announce(&mut self, now: Instant, append: crate::Append, literal: LiteralHeader) {
        self.input = Input::Append(Progress::Announced(literal));
        self.deadline = Some(now + self.message_wait(literal.octets));
        if literal.octets == 0 {
            // RFC 3502 §6.3.11: a message of no octets cancels the whole.
            return self.append_refused_by_us(Done::no("a message has at least one octet"));
        }
        if append.utf8 && !self.enabled.utf8 {
            // RFC 9755 §4
            return self.append_refused_by_us(Done::bad("ENABLE UTF8=ACCEPT comes first"));
        }
        if literal.non_synchronizing && !self.config.literal_plus && literal.octets > LITERAL_MINUS {
            let words = format!("a literal of more than {LITERAL_MINUS} octets waits for the server");
            return self.append_refused_by_us(Done::bad(words).code("TOOBIG"));
        }
        if literal.octets > self.config.limits.append_octets {
            let words = format!("a message may have at most {} octets", self.config.limits.append_octets);
            return self.append_refused_by_us(Done::no(words).code("TOOBIG"));
        }
        if self.append_count > self.config.limits.append_messages {
            return self.append_refused_by_us(Done::no("too many messages in one APPEND").code("LIMIT"));
        }
        self.ask(Event::Append { append, octets: literal.octets });
    }

    fn append_refused_by_us(&mut self, done: Done) {
        if self.append_count > 1 {
            self.event(Event::AppendAborted);
        }
        self.append_refused(done);
    }

    pub(super) fn append_accepted(&mut self) {
        if let Input::Append(Progress::Announced(literal)) = &self.input {
            let literal = *literal;
            self.input = Input::Append(Progress::Octets(Chunk::new(literal.octets)));
            if !literal.non_synchronizing {
                self.send("+ go on");
            }
        }
    }

    /// The command is over: its answer goes out at once where the client waits, else behind what it sends anyway.
    pub(super) fn append_refused(&mut self, done: Done) {
        let Input::Append(progress) = std::mem::replace(&mut self.input, Input::Commands) else { return };
        let left = match progress {
            Progress::Announced(literal) if literal.non_synchronizing => literal.octets,
            Progress::Octets(chunk) => chunk.left(),
            _ => return self.done(done),
        };
        self.refused = Some(done);
        self.input = Input::Append(Progress::Dropping(Discard::new(left)));
    }

    pub(super) fn take_append(&mut self, now: Instant, input: &mut BytesMut) {
        let Input::Append(progress) = &mut self.input else { return };
        match progress {
            Progress::Announced(_) | Progress::Ending => {}
            Progress::Octets(chunk) => {
                let Some(octets) = chunk.take(input) else { return };
                if chunk.left() == 0 {
                    self.input = Input::Append(Progress::Between);
                    self.append_whole = true;
                }
                self.ask(Event::AppendOctets(octets));
                if std::mem::take(&mut self.append_whole) {
                    self.event(Event::AppendMessageEnd);
                    self.expect_command(now);
                }
            }
            Progress::Dropping(discard) => {
                if discard.take(input) {
                    self.input = Input::Append(Progress::DroppingLine);
                }
            }
            Progress::Between | Progress::DroppingLine => self.take_between(now, input),
        }
    }

    fn take_between(&mut self, now: Instant, input: &mut BytesMut) {
        let dropping = matches!(self.input, Input::Append(Progress::DroppingLine));
        match self.framer.take(input) {
            Ok(None) => {}
            Ok(Some(Framed::Command(_))) if dropping => self.append_dropped(),
            Ok(Some(Framed::Literal(literal))) if dropping => {
                self.framer.clear();
                if literal.non_synchronizing {
                    self.input = Input::Append(Progress::Dropping(Discard::new(literal.octets)));
                } else {
                    self.append_dropped();
                }
            }
            Ok(Some(Framed::Command(line))) => {
                let closed = if self.append_open { &b")"[..] } else { b"" };
                if &line[..] == closed {
                    self.input = Input::Append(Progress::Ending);
                    self.ask(Event::AppendEnd(self.enabled));
                } else {
                    self.append_broken("a message is followed by another, or by the end of the line");
                }
            }
            Ok(Some(Framed::Literal(literal))) => {
                let so_far = self.framer.so_far();
                let prefix = before_announcement(so_far, literal).unwrap_or_default();
                let prefix = if self.append_open { prefix.strip_prefix(b")").unwrap_or(prefix) } else { prefix };
                let next = parse::next_message(prefix);
                self.framer.clear();
                match next {
                    Some(append) => {
                        self.append_open = append.utf8;
                        self.append_count += 1;
                        self.announce(now, append, literal);
                    }
                    None if literal.non_synchronizing => {
                        self.event(Event::AppendAborted);
                        self.refused = Some(Done::bad("syntax error behind a message"));
                        self.input = Input::Append(Progress::Dropping(Discard::new(literal.octets)));
                    }
                    None => self.append_broken("syntax error behind a message"),
                }
            }
            Err(error) => {
                self.event(Event::AppendAborted);
                self.input = Input::Commands;
                self.on_frame_error(error);
            }
        }
    }

    fn append_broken(&mut self, words: &str) {
        self.event(Event::AppendAborted);
        self.input = Input::Commands;
        self.done(Done::bad(words));
    }

    fn append_dropped(&mut self) {
        self.input = Input::Commands;
        let done = self.refused.take().unwrap_or_else(|| Done::no("refused"));
        self.done(done);
    }
}

/// What stands before the announcement of a literal at the end of what was taken.
fn before_announcement(so_far: &[u8], literal: LiteralHeader) -> Option<&[u8]> {
    let brace = so_far.iter().rposition(|octet| *octet == b'{')?;
    so_far.get(..brace.checked_sub(usize::from(literal.binary))?)
}
