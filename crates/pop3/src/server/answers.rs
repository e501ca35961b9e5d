//! What the application's answers do.

use std::time::Instant;

use super::commands::holds;
use super::transaction::Transaction;
use super::{Asked, Closed, Event, Queued, Server, State, Told};
use crate::response::{Response, ResponseCode};

impl<B> Server<B> {
    pub(super) fn on_told(&mut self, now: Instant, told: Told<B>) {
        if matches!(self.state, State::Over) {
            return;
        }
        let told = match told {
            Told::Mechanisms(mechanisms) => {
                self.mechanisms = mechanisms;
                return;
            }
            Told::Close(response) => return self.on_close(&response),
            told => told,
        };
        let Some(asked) = self.asked.take() else { return };
        if asked != Asked::Commit {
            self.restart_deadline(now);
        }
        match (asked, told) {
            (Asked::Login | Asked::Authenticate, Told::Maildrop(maildrop)) => {
                let transaction = Transaction::new(maildrop);
                let response = holds(&transaction);
                self.state = State::Transaction(transaction);
                self.errors = 0;
                self.lines.set_limit(self.config.limits.command_line_octets);
                self.restart_deadline(now);
                self.say(&response);
            }
            (Asked::Authenticate, Told::Challenge(challenge)) => self.on_challenge(&challenge),
            (Asked::Login | Asked::Authenticate, told) => {
                let response = refusal(told);
                self.failed_logins += 1;
                if self.failed_logins >= self.config.limits.failed_logins {
                    self.say(&response);
                    self.finish(Closed::TooManyErrors);
                } else {
                    self.say(&response);
                }
            }
            (Asked::Retrieve { octets }, Told::Body(body)) => {
                match octets {
                    Some(octets) => self.say(&Response::ok(format!("{octets} octets"))),
                    None => self.say(&Response::ok("")),
                }
                self.push(Queued::Body(body));
                self.sent_long = true;
            }
            (Asked::Retrieve { .. }, told) => self.say(&refusal(told)),
            (Asked::Commit, told) => {
                let response = match told {
                    Told::Done => Response::ok("goodbye, the messages are deleted"),
                    told => refusal(told),
                };
                self.say(&response);
                self.finish(if self.closing { Closed::Refused } else { Closed::Quit });
            }
        }
    }

    fn on_close(&mut self, response: &Response) {
        if self.asked == Some(Asked::Commit) {
            self.closing = true;
            return;
        }
        // In the middle of a listing a response would be a line of it.
        if self.listing.is_none() {
            self.say(&response.clone().negative());
        }
        self.finish(Closed::Refused);
    }

    pub(super) fn push_event(&mut self, event: Event) {
        self.push(Queued::Event(event));
    }
}

/// What the client hears where the answer is not the one hoped for; an answer to another question is our own trouble.
fn refusal<B>(told: Told<B>) -> Response {
    match told {
        Told::Refuse(response) => response.negative(),
        _ => Response::coded(ResponseCode::SysTemp, "internal error"),
    }
}
