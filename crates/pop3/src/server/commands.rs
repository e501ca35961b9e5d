//! What each command does.

use std::time::Instant;

use super::transaction::{Listing, ListingOf, Transaction};
use super::{Asked, Closed, Event, Queued, Server, State};
use crate::capability::Capability;
use crate::command::{Command, MessageNumber, Password, UserName, put};
use crate::response::{Response, ResponseCode};

impl<B> Server<B> {
    pub(super) fn on_command(&mut self, _now: Instant, command: Command) {
        match (&mut self.state, command) {
            (_, Command::Capa) => self.on_capa(),
            (_, Command::Quit) => self.on_quit(),
            (State::Authorization(_), Command::User(user)) => self.on_user(user),
            (State::Authorization(user), Command::Pass(password)) => {
                let user = user.take();
                self.on_pass(user, password);
            }
            (State::Authorization(_), Command::Auth { mechanism, initial_response }) => {
                self.on_auth(mechanism, initial_response);
            }
            (State::Authorization(_), Command::AuthList) => self.on_auth_list(),
            (State::Authorization(_), Command::Stls) => self.on_stls(),
            (State::Authorization(_), Command::Utf8) => self.on_utf8(),
            (State::Transaction(transaction), command) => {
                let response = match command {
                    Command::Stat => Response::ok(format!("{} {}", transaction.messages(), transaction.octets())),
                    Command::Noop => Response::ok(""),
                    Command::Rset => {
                        transaction.reset();
                        holds(transaction)
                    }
                    Command::Dele(message) if transaction.delete(message) => Response::ok("marked as deleted"),
                    Command::Dele(message) => missing(transaction, message),
                    Command::List(None) => return self.on_list(ListingOf::Sizes),
                    Command::Uidl(None) => return self.on_list(ListingOf::UniqueIds),
                    Command::List(Some(message)) => match transaction.message(message) {
                        Some(listed) => Response::ok(format!("{message} {}", listed.octets)),
                        None => missing(transaction, message),
                    },
                    Command::Uidl(Some(message)) => match transaction.message(message) {
                        Some(listed) => Response::ok(format!("{message} {}", listed.unique_id)),
                        None => missing(transaction, message),
                    },
                    Command::Retr(message) => return self.on_retrieve(message, None),
                    Command::Top { message, lines } => return self.on_retrieve(message, Some(lines)),
                    command => {
                        let response = Response::err(format!("{} comes before the login", command.verb()));
                        return self.refuse(&response);
                    }
                };
                self.say(&response);
            }
            (_, command) => self.refuse(&Response::err(format!("{} comes after the login", command.verb()))),
        }
    }

    /// RFC 2449 §5.
    fn on_capa(&mut self) {
        self.say(&Response::ok("capabilities follow"));
        let config = &self.config;
        let mut capabilities = vec![
            Capability::Top,
            Capability::Uidl,
            Capability::RespCodes,
            Capability::AuthRespCode,
            Capability::Pipelining,
            Capability::Expire { after: config.expire, user: false },
        ];
        if config.utf8 {
            capabilities.push(Capability::Utf8 { user: true });
        }
        if self.allows_login() {
            if config.user {
                capabilities.push(Capability::User);
            }
            if !self.mechanisms.is_empty() {
                capabilities.push(Capability::Sasl(self.mechanisms.clone()));
            }
        }
        if self.offers_stls() {
            capabilities.push(Capability::Stls);
        }
        if let Some(implementation) = &config.implementation {
            capabilities.push(Capability::Implementation(implementation.to_string()));
        }
        for capability in capabilities {
            put(&mut self.responses, format_args!("{capability}\r\n"));
        }
        self.responses.extend_from_slice(b".\r\n");
    }

    /// RFC 1939 §4 and §6.
    fn on_quit(&mut self) {
        let deleted = match &self.state {
            State::Transaction(transaction) => transaction.deleted(),
            _ => Vec::new(),
        };
        if deleted.is_empty() {
            self.say(&Response::ok("goodbye"));
            self.finish(Closed::Quit);
        } else {
            self.ask(Event::Commit { deleted }, Asked::Commit);
        }
    }

    /// RFC 1939 §7. Nothing here says whether the name is known.
    fn on_user(&mut self, user: UserName) {
        if !self.config.user {
            self.refuse(&Response::err("USER is not offered here"));
        } else if !self.allows_login() {
            self.refuse(&Response::err("encryption is required: use STLS or the port with TLS"));
        } else {
            self.state = State::Authorization(Some(user));
            self.say(&Response::ok("send PASS"));
        }
    }

    fn on_pass(&mut self, user: Option<UserName>, password: Password) {
        match user {
            None if !self.allows_login() => {
                self.refuse(&Response::coded(
                    ResponseCode::Auth,
                    "encryption is required: use STLS or the port with TLS",
                ));
            }
            None => self.refuse(&Response::err("USER comes before PASS")),
            Some(user) => {
                let login = Event::Login { user: user.into_string(), password: password.into_secret() };
                self.ask(login, Asked::Login);
            }
        }
    }

    /// RFC 2595 §4.
    fn on_stls(&mut self) {
        if self.tls {
            self.refuse(&Response::err("TLS is active already"));
        } else if !self.config.stls {
            self.refuse(&Response::err("STLS is not offered here"));
        } else if self.utf8 {
            // RFC 6856 §2.1.
            self.refuse(&Response::err("STLS comes before UTF8"));
        } else {
            self.say(&Response::ok("begin TLS"));
            self.state = State::Handshake;
            self.push(Queued::StartTls);
        }
    }

    /// RFC 6856 §2.1.
    fn on_utf8(&mut self) {
        if self.config.utf8 {
            self.utf8 = true;
            self.say(&Response::ok("UTF-8 from here on"));
        } else {
            self.refuse(&Response::err("UTF8 is not offered here"));
        }
    }

    fn on_list(&mut self, of: ListingOf) {
        let State::Transaction(transaction) = &self.state else { return };
        let first = Response::ok(format!("{} messages", transaction.messages()));
        self.say(&first);
        self.listing = Some(Listing { of, next: 0 });
        self.sent_long = true;
    }

    fn on_retrieve(&mut self, message: MessageNumber, top: Option<u64>) {
        let State::Transaction(transaction) = &self.state else { return };
        match transaction.message(message) {
            Some(listed) => {
                let octets = top.is_none().then_some(listed.octets);
                self.ask(Event::Retrieve { message, top, utf8: self.utf8 }, Asked::Retrieve { octets });
            }
            None => {
                let response = missing(transaction, message);
                self.say(&response);
            }
        }
    }

    pub(super) fn allows_login(&self) -> bool {
        self.tls || self.config.allow_plaintext_auth
    }

    fn offers_stls(&self) -> bool {
        self.config.stls && !self.tls && !self.utf8 && matches!(self.state, State::Authorization(_))
    }
}

/// What RSET and a login answer.
pub(super) fn holds(transaction: &Transaction) -> Response {
    Response::ok(format!("maildrop has {} messages ({} octets)", transaction.messages(), transaction.octets()))
}

fn missing(transaction: &Transaction, message: MessageNumber) -> Response {
    Response::err(if transaction.is_deleted(message) { "message is marked as deleted" } else { "no such message" })
}
