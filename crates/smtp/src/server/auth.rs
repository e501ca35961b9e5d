//! AUTH (RFC 4954): lines and base64 here, the mechanism itself above.

use std::time::Instant;

use wire::{Mechanism, Secret, base64_decode, put_base64};

use super::{Asked, Event, Mode, Phase, Server};
use crate::error::CommandError;
use crate::reply::Reply;

impl Server {
    pub(super) fn on_auth(&mut self, now: Instant, mechanism: Mechanism, initial_response: Option<Secret>) {
        let refusal = if self.config.mode != Mode::Submission || self.mechanisms.is_empty() {
            // Rule 12: never on port 25.
            Some(Reply::new(502, "5.5.1 AUTH is not offered here; submit mail on port 587 or 465"))
        } else if self.hello.is_none() {
            Some(Reply::new(503, "5.5.1 say EHLO first"))
        } else if self.authenticated {
            Some(Reply::new(503, "5.5.1 you are logged in already"))
        } else if self.transaction.is_some() {
            Some(Reply::new(503, "5.5.1 AUTH is not allowed during a mail transaction"))
        } else if !self.offers_auth_now() {
            Some(Reply::new(538, "5.7.11 encryption is required for AUTH: use STARTTLS first"))
        } else if !self.mechanisms.contains(&mechanism) {
            Some(Reply::new(504, "5.5.4 this mechanism is not offered"))
        } else {
            None
        };
        match refusal {
            Some(reply) => self.refuse(&reply),
            None => {
                self.auth_rounds = 0;
                self.ask(now, Event::Authenticate { mechanism, initial_response }, Asked::Authenticate);
            }
        }
    }

    /// A line of the exchange.
    pub(super) fn on_response(&mut self, now: Instant, line: &[u8]) {
        if line == b"*" {
            self.cancel(&Reply::new(501, "5.7.0 authentication cancelled"));
            return;
        }
        match base64_decode(line) {
            None => self.on_bad_response(&CommandError::Base64),
            Some(response) => {
                self.phase = Phase::Command;
                self.ask(now, Event::AuthenticateResponse(response), Asked::Authenticate);
            }
        }
    }

    pub(super) fn on_bad_response(&mut self, error: &CommandError) {
        let reply = match error {
            // RFC 4954 §4: the reply to a line that is too long.
            CommandError::LineTooLong { limit } => {
                Reply::new(500, format!("5.5.6 authentication line longer than {limit} octets"))
            }
            other => Reply::new(
                501,
                other.reply().enhanced().map_or_else(String::new, |code| format!("{code} {}", other.reply().text())),
            ),
        };
        self.cancel(&reply);
    }

    fn cancel(&mut self, reply: &Reply) {
        self.phase = Phase::Command;
        self.tell(Event::AuthenticateCancelled);
        self.refuse(reply);
    }

    /// The application wants to hear more.
    pub(super) fn on_challenge(&mut self, challenge: &[u8]) {
        self.auth_rounds += 1;
        if self.auth_rounds > self.config.limits.auth_rounds {
            self.cancel(&Reply::new(535, "5.7.8 the authentication exchange does not end"));
            return;
        }
        self.replies.extend_from_slice(b"334 ");
        put_base64(challenge, &mut self.replies);
        self.replies.extend_from_slice(b"\r\n");
        self.phase = Phase::Authenticating;
    }
}
