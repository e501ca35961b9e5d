//! What the application's answers do.

use std::time::{Duration, Instant};

use super::{Answered as Answer, Asked, Closed, Phase, Server, Told};
use crate::command::Verb;
use crate::reply::{Reply, Severity};

impl Server {
    pub(super) fn on_answer(&mut self, now: Instant, told: Told) {
        // An answer that nobody asked for: the session closed, or reset, in between.
        let Some(asked) = self.asked.take() else { return };
        if let (Asked::ContentEnd, Told::Replies(replies)) = (&asked, &told) {
            self.end_content(now, replies);
            return;
        }
        let answer = match (told, &asked) {
            (Told::Challenge(challenge), Asked::Authenticate) => {
                self.on_challenge(&challenge);
                return;
            }
            (Told::Accept, _) => Answer::Yes(None),
            (Told::Reply(reply), Asked::Data) if reply.severity() == Severity::Intermediate => Answer::Yes(Some(reply)),
            (Told::Reply(reply), Asked::Data) if reply.is_positive() => Answer::Yes(None),
            (Told::Reply(reply), _) if reply.is_positive() => Answer::Yes(Some(reply)),
            (Told::Reply(reply), _) if reply.severity() != Severity::Intermediate => Answer::No(reply),
            // No answer to this question: our own trouble, and no reason to lose mail.
            _ => Answer::No(Reply::new(451, "4.3.0 internal trouble, try again later")),
        };
        match asked {
            Asked::Connected => self.on_connected(now, answer, self.config.greeting_delay),
            Asked::EarlyTalker => match answer {
                Answer::Yes(_) => {}
                Answer::No(reply) => self.turn_away(now, &reply),
            },
            Asked::Client { login } => match answer {
                Answer::Yes(reply) => {
                    self.hello = None;
                    self.authenticated = login.unwrap_or(self.authenticated);
                    self.on_connected(now, Answer::Yes(reply.filter(|reply| reply.code() == 220)), Duration::ZERO);
                }
                Answer::No(reply) if reply.code() == 554 => self.turn_away(now, &reply),
                Answer::No(reply) => self.refuse(&reply),
            },
            Asked::Verify => {
                self.answer(answer, "2.1.5 will not verify, but will take mail and try to deliver it", 252);
            }
            Asked::Hello(verb) => self.on_hello_answer(now, verb, answer),
            Asked::Authenticate => self.on_authenticated(answer),
            Asked::Mail(transaction) => {
                let words = match transaction.lowered {
                    true => "2.3.6 0 is the priority of clients who have not logged in",
                    false => "2.1.0 sender ok",
                };
                if self.answer(answer, words, 250) {
                    self.transaction = Some(*transaction);
                }
            }
            Asked::Recipient => {
                if matches!(&answer, Answer::No(reply) if !reply.is_closing()) {
                    self.slow_down_recipients();
                }
                let accepted = self.answer(answer, "2.1.5 recipient ok", 250);
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += usize::from(accepted);
                    transaction.refused += usize::from(!accepted);
                }
            }
            Asked::Data => match answer {
                Answer::Yes(reply) => {
                    self.send(&reply.unwrap_or_else(|| {
                        Reply::new(354, "send the message, end it with a dot on a line of its own")
                    }));
                    self.begin_data(now);
                }
                Answer::No(reply) => self.refuse(&reply),
            },
            Asked::Bdat { octets, last } => match answer {
                Answer::Yes(_) => self.begin_chunks(now, octets, last),
                Answer::No(reply) if reply.is_closing() => self.refuse(&reply),
                Answer::No(reply) => {
                    // RFC 3030 §2: after a refused chunk the transaction has failed.
                    let replies = self.replies_at_end(last);
                    self.end_transaction();
                    self.discard(now, octets, reply, replies);
                }
            },
            Asked::Content => {
                // Back-pressure is ours, not the client's delay.
                self.deadline = self.deadline.map(|deadline| deadline + now.saturating_duration_since(self.asked_at));
                match answer {
                    Answer::Yes(_) => {}
                    Answer::No(reply) if reply.is_closing() => {
                        self.refuse(&reply);
                        return;
                    }
                    Answer::No(reply) => self.refuse_content(reply),
                }
                self.at_end_of_piece(now);
            }
            Asked::ContentEnd => {
                let reply = match answer {
                    Answer::Yes(Some(reply)) | Answer::No(reply) => reply,
                    Answer::Yes(None) => Reply::new(250, "2.0.0 message accepted"),
                };
                self.end_content(now, &[reply]);
            }
        }
    }

    /// The plain case: yes is this code with these words. Gives whether it was yes.
    fn answer(&mut self, answer: Answer, words: &'static str, code: u16) -> bool {
        match answer {
            Answer::Yes(reply) => {
                self.send(&reply.unwrap_or_else(|| Reply::new(code, words)));
                true
            }
            Answer::No(reply) => {
                self.refuse(&reply);
                false
            }
        }
    }

    pub(super) fn on_connected(&mut self, now: Instant, answer: Answer, delay: Duration) {
        match answer {
            Answer::Yes(_) if self.shutdown => {
                self.goodbye("4.3.2 the service is stopping", Closed::Shutdown);
            }
            Answer::Yes(reply) => {
                let greeting = reply
                    .unwrap_or_else(|| Reply::plain(220, format!("{} {}", self.config.hostname, self.config.greeting)));
                self.greet_after(now, delay, greeting);
            }
            Answer::No(reply) => self.turn_away(now, &reply),
        }
    }

    /// RFC 5321 §3.1: a client that is not welcome may say QUIT.
    fn turn_away(&mut self, now: Instant, reply: &Reply) {
        self.send(reply);
        if reply.is_closing() {
            self.close(Closed::Refused);
        } else {
            self.phase = Phase::Refused;
            self.deadline = Some(now + self.config.limits.refused_wait);
        }
    }

    fn on_hello_answer(&mut self, now: Instant, verb: Verb, answer: Answer) {
        match answer {
            Answer::Yes(_) => {
                self.hello = Some(verb);
                let reply = self.hello_reply(now, verb);
                self.send(&reply);
            }
            Answer::No(reply) => {
                self.hello = None;
                self.refuse(&reply);
            }
        }
    }

    fn on_authenticated(&mut self, answer: Answer) {
        match answer {
            Answer::Yes(reply) => {
                self.authenticated = true;
                let accepted = Reply::new(235, "2.7.0 authentication succeeded");
                self.send(&reply.filter(|reply| reply.code() == 235).unwrap_or(accepted));
            }
            Answer::No(reply) => self.refuse(&reply),
        }
    }

    /// The promise, or its refusal: one reply, or in LMTP one for each recipient.
    fn end_content(&mut self, now: Instant, replies: &[Reply]) {
        let due = self.replies_at_end(true);
        let trouble = Reply::new(451, "4.3.0 internal trouble, try again later");
        let mut accepted = false;
        let mut closing = false;
        for at in 0..due {
            // One answer stands for all; more than one stand each for its own.
            let reply = match replies {
                [only] => only,
                several => several.get(at).unwrap_or(&trouble),
            };
            accepted |= reply.is_positive();
            closing |= reply.is_closing();
            self.send(reply);
        }
        // The application ended it itself, so it is not told.
        self.transaction = None;
        self.phase = Phase::Command;
        if closing {
            self.close(Closed::Refused);
        } else if accepted {
            self.errors = 0;
            self.idle_commands = 0;
        } else if let Some(reply) = replies.first() {
            self.count_error(reply);
        }
        self.settle(now);
    }
}
