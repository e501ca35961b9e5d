//! Commands: in which state they may come, and those that are the session's own.

use std::time::Instant;

use super::{Done, Event, Input, Item, Server, State};
use crate::{Command, CommandError, CommandErrorKind, FetchItem, StatusItem, parse};

impl<B> Server<B> {
    pub(super) fn on_command(&mut self, now: Instant, octets: &[u8]) {
        let (tag, command) = match parse::command(octets, self.mode()) {
            Ok(parsed) => parsed,
            Err(error) => return self.on_error(&error),
        };
        self.tag = Some(tag.clone());
        let needs = needed_state(&command);
        let wrong = match (needs, self.state) {
            (Needs::Any, _) => None,
            (Needs::NotAuthenticated, State::NotAuthenticated) => None,
            (Needs::NotAuthenticated, _) => Some("already logged in"),
            (_, State::NotAuthenticated) => Some("log in first"),
            (Needs::Selected, State::Authenticated) => Some("no mailbox is selected"),
            _ => None,
        };
        if let Some(words) = wrong {
            return self.done(Done::bad(words));
        }
        self.enable_by_use(&command);
        match command {
            Command::Capability => {
                let line = format!("* CAPABILITY {}", self.capabilities());
                self.send(&line);
                self.done(Done::ok("done"));
            }
            Command::Logout => {
                self.send("* BYE goodbye");
                self.done(Done::ok("goodbye"));
                self.close();
            }
            Command::Noop if self.state == State::NotAuthenticated => self.done(Done::ok("done")),
            Command::Id(_) => {
                let pairs: Vec<String> =
                    self.config.id.iter().map(|(name, value)| format!("\"{name}\" \"{value}\"")).collect();
                self.send(&format!("* ID ({})", pairs.join(" ")));
                self.done(Done::ok("done"));
            }
            Command::Namespace => {
                self.send("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                self.done(Done::ok("done"));
            }
            Command::StartTls => self.on_starttls(),
            Command::Login { user, password } => {
                if self.may_send_password() {
                    self.ask(Event::Login { user, password });
                } else {
                    self.done(Done::no("passwords are taken under TLS alone").code("PRIVACYREQUIRED"));
                }
            }
            Command::Authenticate { mechanism, initial_response } => {
                let binding = self.tls.as_ref().is_some_and(|tls| tls.exporter.is_some());
                if !self.may_send_password() {
                    self.done(Done::no("passwords are taken under TLS alone").code("PRIVACYREQUIRED"));
                } else if self.config.mechanisms.contains(&mechanism)
                    || (binding && self.config.binding_mechanisms.contains(&mechanism))
                {
                    self.ask(Event::Authenticate { mechanism, initial_response });
                } else {
                    self.done(Done::no("mechanism not offered"));
                }
            }
            Command::Enable(names) => self.on_enable(&names),
            // RFC 7162 §3.2.5, §3.2.6
            Command::Select(select) if select.qresync.is_some() && !self.enabled.qresync => {
                self.done(Done::bad("ENABLE QRESYNC comes first"));
            }
            Command::Fetch(fetch) if fetch.vanished && !self.enabled.qresync => {
                self.done(Done::bad("ENABLE QRESYNC comes first"));
            }
            Command::Idle => {
                self.input = Input::Idle;
                self.heartbeat = self.config.limits.heartbeat.map(|wait| now + wait);
                self.send("+ idling");
                self.ask(Event::Idle(self.enabled));
            }
            command => {
                let enabled = self.enabled;
                self.ask(Event::Command(tag, command, enabled));
            }
        }
    }

    fn may_send_password(&self) -> bool {
        self.tls.is_some() || self.config.allow_plaintext_auth
    }

    fn on_error(&mut self, error: &CommandError) {
        self.tag.clone_from(&error.tag);
        let done = match error.kind {
            CommandErrorKind::Charset => Done::no("unknown charset").code("BADCHARSET (US-ASCII UTF-8)"),
            CommandErrorKind::Limit { .. } => Done::no(error.kind.to_string()).code("LIMIT"),
            _ => Done::bad(error.kind.to_string()),
        };
        self.done(done);
    }

    fn on_starttls(&mut self) {
        if self.tls.is_some() || !self.config.starttls {
            let words = if self.tls.is_some() { "TLS stands already" } else { "TLS is not available" };
            return self.done(Done::bad(words));
        }
        self.done(Done::ok("begin TLS now"));
        self.outbox.push_back(Item::StartTls);
    }

    /// RFC 5161, RFC 7162 §3.2.3, RFC 9755 §3; RFC 9051 §6.3.1.
    fn on_enable(&mut self, names: &[String]) {
        let mut enabled = String::from("* ENABLED");
        for name in names {
            match name.as_str() {
                "CONDSTORE" => self.enabled.condstore = true,
                "QRESYNC" => (self.enabled.condstore, self.enabled.qresync) = (true, true),
                "UTF8=ACCEPT" => self.enabled.utf8 = true,
                "IMAP4REV2" => (self.enabled.rev2, self.enabled.utf8) = (true, true),
                _ => continue,
            }
            enabled.push(' ');
            enabled.push_str(if name == "IMAP4REV2" { "IMAP4rev2" } else { name });
        }
        self.send(&enabled);
        self.done(Done::ok("done"));
    }

    /// RFC 7162 §3.1: whoever uses mod-sequences wants to hear of them.
    fn enable_by_use(&mut self, command: &Command) {
        let uses = match command {
            Command::Select(select) => select.condstore,
            Command::Status { items, .. } => items.contains(&StatusItem::HighestModSeq),
            Command::Fetch(fetch) => fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq),
            Command::Store(store) => store.unchanged_since.is_some(),
            Command::Search(search) => search.key.uses_mod_seq(),
            _ => false,
        };
        self.enabled.condstore |= uses;
    }
}

/// The state a command needs (RFC 9051 §3).
#[derive(Clone, Copy)]
enum Needs {
    Any,
    NotAuthenticated,
    Authenticated,
    Selected,
}

fn needed_state(command: &Command) -> Needs {
    match command {
        Command::Capability | Command::Noop | Command::Logout | Command::Id(_) => Needs::Any,
        Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => Needs::NotAuthenticated,
        Command::Check
        | Command::Close
        | Command::Unselect
        | Command::Expunge(_)
        | Command::Search(_)
        | Command::Fetch(_)
        | Command::Store(_)
        | Command::Copy(_) => Needs::Selected,
        _ => Needs::Authenticated,
    }
}
