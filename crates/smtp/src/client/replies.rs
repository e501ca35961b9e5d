//! What the server's replies do.

use std::time::Instant;

use wire::base64_decode;

use super::{Client, ClientMode, Event, Expected, Extensions, Failure, Phase, Queued, Ready, StartTls};
use crate::command::Command;
use crate::reply::{Reply, Severity};

impl<B> Client<B> {
    /// A whole reply; `more` tells whether octets stand behind it.
    pub(super) fn on_reply(&mut self, now: Instant, reply: Reply, more: bool) {
        let Some(expected) = self.expected.front().copied() else {
            self.fail(if reply.is_closing() { Failure::Closing(reply) } else { Failure::Unexpected(reply) });
            return;
        };
        if expected == Expected::Quit {
            self.end(Ok(()));
            return;
        }
        if reply.is_closing() {
            self.fail(Failure::Closing(reply));
            return;
        }
        // 3yz answers DATA and AUTH alone (RFC 5321 §4.2.1).
        let waits = matches!(expected, Expected::Data | Expected::Auth);
        if reply.severity() == Severity::Intermediate && !waits {
            self.fail(Failure::Unexpected(reply));
            return;
        }
        self.expected.pop_front();
        self.time(now);
        match expected {
            Expected::Greeting => self.on_greeting(now, reply),
            Expected::Ehlo => self.on_ehlo(now, &reply),
            Expected::Helo => self.on_helo(now, reply),
            Expected::StartTls => self.on_starttls(now, &reply, more),
            Expected::Auth => self.on_auth(now, reply),
            Expected::Rset => {
                if reply.is_positive() {
                    self.dirty = false;
                    self.advance(now);
                } else {
                    self.fail(Failure::Unexpected(reply));
                }
            }
            Expected::Mail => self.on_mail(now, reply),
            Expected::Rcpt(at) => self.on_rcpt(now, at, &reply),
            Expected::Data => self.on_data(now, reply, more),
            Expected::Content(at) => self.on_content(now, at, &reply),
            Expected::Quit => {}
        }
    }

    fn on_greeting(&mut self, now: Instant, reply: Reply) {
        if reply.is_positive() {
            self.greeting = Some(reply);
            self.hello(now);
        } else {
            // RFC 5321 §3.1: QUIT is what is left after 554.
            self.give_up(Failure::Refused(reply));
        }
    }

    fn on_ehlo(&mut self, now: Instant, reply: &Reply) {
        if reply.is_positive() {
            self.extensions = Extensions::from_reply(reply);
            self.opened(now);
        } else if reply.is_permanent() && self.config.mode == ClientMode::Smtp {
            // RFC 5321 §3.2: a server without EHLO is greeted by HELO.
            let name = self.config.hello_name.clone();
            self.command(now, &Command::Helo(name), Expected::Helo);
        } else {
            self.give_up(Failure::Refused(reply.clone()));
        }
    }

    fn on_helo(&mut self, now: Instant, reply: Reply) {
        if reply.is_positive() {
            self.extensions = Extensions::default();
            self.opened(now);
        } else {
            self.give_up(Failure::Refused(reply));
        }
    }

    /// EHLO is behind us: TLS, or the application's turn.
    fn opened(&mut self, now: Instant) {
        match self.config.starttls {
            _ if self.tls.is_some() => self.ready(now),
            StartTls::Opportunistic | StartTls::Required if self.extensions.starttls => {
                self.command(now, &Command::StartTls, Expected::StartTls);
            }
            StartTls::Required => self.give_up(Failure::TlsNotOffered),
            StartTls::Never | StartTls::Opportunistic => self.ready(now),
        }
    }

    fn on_starttls(&mut self, now: Instant, reply: &Reply, more: bool) {
        if reply.is_positive() {
            if more {
                // Rule 11.
                self.fail(Failure::InjectedOctets);
                return;
            }
            self.phase = Phase::Tls;
            self.extensions = Extensions::default();
            self.queue(Queued::StartTls);
            self.time_handshake(now);
        } else if self.config.starttls == StartTls::Required {
            self.give_up(Failure::TlsNotOffered);
        } else {
            self.ready(now);
        }
    }

    fn ready(&mut self, now: Instant) {
        self.phase = Phase::Open;
        let greeting = self.greeting.clone().unwrap_or_else(|| Reply::plain(220, ""));
        self.tell(Event::Ready(Box::new(Ready {
            extensions: self.extensions.clone(),
            greeting,
            tls: self.tls.clone(),
        })));
        self.turn(now);
    }

    fn on_auth(&mut self, now: Instant, reply: Reply) {
        if reply.severity() == Severity::Intermediate {
            self.on_challenge(now, &reply);
            return;
        }
        self.phase = Phase::Open;
        self.initial_response = None;
        self.lines.set_limit(self.config.limits.reply_line_octets);
        self.tell(if reply.is_positive() {
            Event::Authenticated(reply)
        } else {
            Event::AuthenticationFailed(Some(reply))
        });
        self.turn(now);
    }

    fn on_challenge(&mut self, now: Instant, reply: &Reply) {
        self.auth_rounds += 1;
        if let Some(response) = self.initial_response.take() {
            self.respond(now, Some(&response));
            return;
        }
        match base64_decode(reply.text().trim().as_bytes()) {
            Some(challenge) if self.auth_rounds <= self.config.limits.auth_rounds => {
                self.phase = Phase::Challenged;
                self.deadline = None;
                self.tell(Event::Challenge(challenge.expose().to_vec()));
            }
            // RFC 4954 §4: a challenge that is no base64 cancels the exchange; so does one too many.
            _ if self.auth_rounds <= self.config.limits.auth_rounds + 1 => self.respond(now, None),
            _ => self.fail(Failure::Unexpected(reply.clone())),
        }
    }
}
