//! What each response means.

use std::time::Instant;

use wire::{DataDecoder, Secret, base64_decode};

use super::{BATCH, Client, ClientError, Event, Expected, Queued, Reading, StartTls, State};
use crate::capability::Capability;
use crate::command::Command;
use crate::error::ResponseError;
use crate::listing::{scan, two_numbers, unique_id};
use crate::response::Response;

impl Client {
    pub(super) fn on_line(&mut self, now: Instant, line: &[u8]) {
        self.restart_deadline(now);
        let result = match self.reading {
            Reading::Status => self.on_status_line(now, line),
            _ => self.on_listing_line(now, line),
        };
        if let Err(error) = result {
            self.finish(Err(ClientError::Response(error)));
        }
    }

    /// The oldest command has its answer.
    pub(super) fn on_answered(&mut self, now: Instant) {
        self.outstanding.pop_front();
        if self.outstanding.is_empty() {
            self.deadline = None;
        }
        self.send_commands(now);
    }

    pub(super) fn is_challenged(&self) -> bool {
        self.asked && matches!(self.outstanding.front(), Some(Expected::Auth(_)))
    }

    fn on_status_line(&mut self, now: Instant, line: &[u8]) -> Result<(), ResponseError> {
        if let Some(Expected::Auth(held)) = self.outstanding.front_mut()
            && let [b'+', challenge @ ..] = line
            && (challenge.is_empty() || challenge.starts_with(b" "))
        {
            let held = held.take();
            self.on_challenge(challenge.get(1..).unwrap_or_default(), held.as_ref());
            return Ok(());
        }
        let response = Response::parse(line)?;
        if self.state == State::Greeting {
            if response.is_positive() {
                self.state = State::Settling;
                self.queue.push_front((Command::Capa, Expected::Capabilities { told: false }));
                self.send_commands(now);
            } else {
                self.finish(Err(ClientError::Dismissed(response)));
            }
            return Ok(());
        }
        let Some(expected) = self.outstanding.front_mut() else {
            if response.is_positive() {
                return Err(ResponseError::Unasked);
            }
            // A server that stops says so.
            self.finish(Err(ClientError::Dismissed(response)));
            return Ok(());
        };
        let expected = std::mem::replace(expected, Expected::Other);
        if response.is_positive() {
            self.on_positive(now, expected, response)
        } else {
            self.on_negative(now, &expected, response)
        }
    }

    fn on_positive(&mut self, now: Instant, expected: Expected, response: Response) -> Result<(), ResponseError> {
        match expected {
            Expected::Capabilities { told } => {
                self.reading = Reading::Capabilities(Vec::new());
                if let Some(front) = self.outstanding.front_mut() {
                    *front = Expected::Capabilities { told };
                }
                return Ok(());
            }
            Expected::Sizes { all: true } => {
                self.reading = Reading::Sizes(Vec::new());
                return Ok(());
            }
            Expected::UniqueIds { all: true } => {
                self.reading = Reading::UniqueIds(Vec::new());
                return Ok(());
            }
            Expected::Content => {
                self.reading = Reading::Content(DataDecoder::new());
                return Ok(());
            }
            Expected::Stls => {
                self.outstanding.pop_front();
                self.deadline = None;
                self.state = State::Handshake;
                self.push(Queued::StartTls);
                return Ok(());
            }
            Expected::User(password) => {
                self.queue.push_front((Command::Pass(password), Expected::Pass));
            }
            Expected::Pass => self.tell(Event::LoggedIn(response)),
            Expected::Auth(_) => {
                self.lines.set_limit(self.config.limits.response_line_octets);
                self.tell(Event::LoggedIn(response));
            }
            Expected::Stat => {
                let numbers = two_numbers(response.text().as_bytes());
                let (messages, octets) = numbers.ok_or(ResponseError::Expected { expected: "drop listing" })?;
                self.tell(Event::Stat { messages, octets });
            }
            Expected::Sizes { all: false } => {
                let listed = scan(response.text().as_bytes())?;
                self.tell(Event::Sizes(vec![listed]));
                self.tell(Event::ListingEnd);
            }
            Expected::UniqueIds { all: false } => {
                let listed = unique_id(response.text().as_bytes())?;
                self.tell(Event::UniqueIds(vec![listed]));
                self.tell(Event::ListingEnd);
            }
            Expected::Other => self.tell(Event::Done(response)),
            Expected::Quit => {
                self.finish(Ok(()));
                return Ok(());
            }
        }
        self.on_answered(now);
        Ok(())
    }

    fn on_negative(&mut self, now: Instant, expected: &Expected, response: Response) -> Result<(), ResponseError> {
        match expected {
            // A server without CAPA has no capabilities (RFC 2449 §5).
            Expected::Capabilities { told: false } => {
                self.outstanding.pop_front();
                self.on_capabilities(now, Vec::new());
                return Ok(());
            }
            Expected::Stls => {
                self.outstanding.pop_front();
                self.on_no_tls(now);
                return Ok(());
            }
            Expected::User(_) | Expected::Pass => self.tell(Event::LoginFailed(Some(response))),
            Expected::Auth(_) => {
                self.lines.set_limit(self.config.limits.response_line_octets);
                self.tell(Event::LoginFailed(Some(response)));
            }
            Expected::Quit => {
                // The connection is over in any case (RFC 1939 §6).
                self.tell(Event::Refused(response));
                self.finish(Ok(()));
                return Ok(());
            }
            _ => self.tell(Event::Refused(response)),
        }
        self.on_answered(now);
        Ok(())
    }

    fn on_listing_line(&mut self, now: Instant, line: &[u8]) -> Result<(), ResponseError> {
        if line == b"." {
            self.tell_batch();
            match std::mem::replace(&mut self.reading, Reading::Status) {
                Reading::Capabilities(capabilities) => {
                    let told = matches!(self.outstanding.pop_front(), Some(Expected::Capabilities { told: true }));
                    if told {
                        self.capabilities.clone_from(&capabilities);
                        self.tell(Event::Capabilities(capabilities));
                        if self.outstanding.is_empty() {
                            self.deadline = None;
                        }
                        self.send_commands(now);
                    } else {
                        self.on_capabilities(now, capabilities);
                    }
                }
                _ => {
                    self.tell(Event::ListingEnd);
                    self.on_answered(now);
                }
            }
            return Ok(());
        }
        let line = line.strip_prefix(b".").unwrap_or(line);
        let mut full = false;
        match &mut self.reading {
            Reading::Capabilities(capabilities) => {
                let limit = self.config.limits.capabilities;
                if capabilities.len() >= limit {
                    return Err(ResponseError::TooMany { limit });
                }
                capabilities.push(Capability::parse(line));
            }
            Reading::Sizes(batch) => {
                batch.push(scan(line)?);
                full = batch.len() >= BATCH;
            }
            Reading::UniqueIds(batch) => {
                batch.push(unique_id(line)?);
                full = batch.len() >= BATCH;
            }
            Reading::Status | Reading::Content(_) => {}
        }
        if full {
            self.tell_batch();
        }
        Ok(())
    }

    /// Tells what has gathered of a listing.
    pub(super) fn tell_batch(&mut self) {
        match &mut self.reading {
            Reading::Sizes(batch) if !batch.is_empty() => {
                let batch = std::mem::take(batch);
                self.tell(Event::Sizes(batch));
            }
            Reading::UniqueIds(batch) if !batch.is_empty() => {
                let batch = std::mem::take(batch);
                self.tell(Event::UniqueIds(batch));
            }
            _ => {}
        }
    }

    /// The answer to our own CAPA: TLS is settled by it.
    fn on_capabilities(&mut self, now: Instant, capabilities: Vec<Capability>) {
        self.capabilities = capabilities;
        if self.tls || self.config.stls == StartTls::Never {
            self.ready(now);
        } else if self.capabilities.contains(&Capability::Stls) {
            self.queue.push_front((Command::Stls, Expected::Stls));
            self.send_commands(now);
        } else {
            self.on_no_tls(now);
        }
    }

    fn on_no_tls(&mut self, now: Instant) {
        if self.config.stls == StartTls::Required {
            self.finish(Err(ClientError::TlsUnavailable));
        } else {
            self.ready(now);
        }
    }

    fn ready(&mut self, now: Instant) {
        self.state = State::Ready;
        self.deadline = None;
        let ready = Event::Ready { capabilities: self.capabilities.clone(), tls: self.tls };
        self.tell(ready);
        self.send_commands(now);
    }

    fn on_challenge(&mut self, challenge: &[u8], held: Option<&Secret>) {
        self.auth_rounds += 1;
        match base64_decode(challenge) {
            // The empty challenge asks for what could not be said at once.
            Some(challenge) if challenge.expose().is_empty() && held.is_some() => self.respond(held),
            Some(challenge) if self.auth_rounds <= self.config.limits.auth_rounds => {
                self.asked = true;
                self.tell(Event::Challenge(challenge.expose().to_vec()));
            }
            // RFC 5034 §4: what cannot be decoded is cancelled.
            _ => self.respond(None),
        }
    }
}
