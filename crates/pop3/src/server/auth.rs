//! AUTH (RFC 5034): lines and base64 here, the mechanism itself above.

use wire::{Mechanism, Secret, base64_decode, put_base64};

use super::{Asked, Event, Server, State};
use crate::command::put;
use crate::error::CommandError;
use crate::response::{Response, ResponseCode};

impl<B> Server<B> {
    pub(super) fn on_auth(&mut self, mechanism: Mechanism, initial_response: Option<Secret>) {
        if self.mechanisms.is_empty() {
            self.refuse(&Response::err("AUTH is not offered here"));
        } else if !self.allows_login() {
            self.refuse(&Response::coded(ResponseCode::Auth, "encryption is required: use STLS or the port with TLS"));
        } else if !self.mechanisms.contains(&mechanism) {
            self.refuse(&Response::err("this mechanism is not offered"));
        } else {
            self.state = State::Authorization(None);
            self.auth_rounds = 0;
            self.ask(Event::Authenticate { mechanism, initial_response }, Asked::Authenticate);
        }
    }

    /// LENIENT `auth_list`: what clients older than CAPA expect.
    pub(super) fn on_auth_list(&mut self) {
        if self.mechanisms.is_empty() || !self.allows_login() {
            self.refuse(&Response::err("AUTH is not offered here"));
            return;
        }
        self.say(&Response::ok("mechanisms follow"));
        for mechanism in &self.mechanisms {
            put(&mut self.responses, format_args!("{mechanism}\r\n"));
        }
        self.responses.extend_from_slice(b".\r\n");
    }

    /// A line of the exchange.
    pub(super) fn on_auth_line(&mut self, line: &[u8]) {
        if line == b"*" {
            self.cancel(&Response::err("authentication cancelled"));
            return;
        }
        match base64_decode(line) {
            None => self.cancel(&Response::err("cannot decode that base64")),
            Some(response) => {
                self.state = State::Authorization(None);
                self.ask(Event::AuthenticateResponse(response), Asked::Authenticate);
            }
        }
    }

    pub(super) fn on_bad_auth_line(&mut self, error: CommandError) {
        self.cancel(&error.response());
    }

    fn cancel(&mut self, response: &Response) {
        self.state = State::Authorization(None);
        self.push_event(Event::AuthenticateCancelled);
        self.refuse(response);
    }

    /// The application wants to hear more.
    pub(super) fn on_challenge(&mut self, challenge: &[u8]) {
        self.auth_rounds += 1;
        if self.auth_rounds > self.config.limits.auth_rounds {
            self.cancel(&Response::coded(ResponseCode::Auth, "the authentication exchange does not end"));
            return;
        }
        self.responses.extend_from_slice(b"+ ");
        put_base64(challenge, &mut self.responses);
        self.responses.extend_from_slice(b"\r\n");
        self.state = State::Authenticating;
    }
}
