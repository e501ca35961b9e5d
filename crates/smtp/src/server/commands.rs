//! Commands in their order (RFC 5321 §4.1.4).

use std::time::Instant;

use address::{ForwardPath, ReversePath};

use super::{Asked, Closed, Event, Hello, Mail, Mode, Phase, Queued, Recipient, Server, Transaction};
use crate::command::{Command, HelloName, Verb};
use crate::error::CommandError;
use crate::parameter::{MailParameters, RcptParameters};
use crate::parse;
use crate::reply::Reply;
use crate::schedule::Priority;
use crate::xclient::{Attribute, ClientFacts};

impl Server {
    /// One command line; `more` tells whether octets stand behind it.
    pub(super) fn on_line(&mut self, now: Instant, line: &[u8], more: bool) {
        let command = match parse::command(line, &self.config.leniency) {
            Ok(command) => command,
            Err(CommandError::ForeignProtocol) => {
                self.send(&CommandError::ForeignProtocol.reply());
                self.close(Closed::ForeignProtocol);
                return;
            }
            Err(error) => {
                self.refuse(&error.reply());
                return;
            }
        };
        let limit = self.config.limits.command_line_octets;
        if line.len() + 2 > limit && command.verb() != Verb::Auth {
            self.refuse(&CommandError::LineTooLong { limit }.reply());
            return;
        }
        if matches!(self.phase, Phase::Refused) && command != Command::Quit {
            self.refuse(&Reply::new(503, "5.5.1 the connection was refused; only QUIT is left"));
            return;
        }
        if !self.counts_as_work(&command) {
            return;
        }
        match command {
            Command::Ehlo(name) | Command::Helo(name) if self.config.mode == Mode::Lmtp => {
                // RFC 2033 §4.1: these are not commands of LMTP.
                let _ = name;
                self.refuse(&Reply::new(500, "5.5.1 this is LMTP: say LHLO"));
            }
            Command::Lhlo(_) if self.config.mode != Mode::Lmtp => {
                self.refuse(&Reply::new(500, "5.5.1 this is SMTP: say EHLO"));
            }
            Command::Ehlo(name) => self.on_hello(now, Verb::Ehlo, name),
            Command::Helo(name) => self.on_hello(now, Verb::Helo, name),
            Command::Lhlo(name) => self.on_hello(now, Verb::Lhlo, name),
            Command::Noop(_) => self.send(&Reply::new(250, "2.0.0 ok")),
            Command::Quit => {
                self.send(&Reply::new(221, "2.0.0 goodbye"));
                self.close(Closed::Quit);
            }
            Command::StartTls => self.on_starttls(more),
            // RFC 3207 §4: only the four above are obeyed before TLS, where it is demanded. A chunk is thrown away.
            Command::Bdat { octets, last } => self.on_bdat(now, octets, last),
            Command::XClient(facts) => self.on_xclient(now, facts),
            _ if self.needs_tls() => {
                self.refuse(&Reply::new(530, "5.7.0 use STARTTLS first"));
            }
            Command::Rset => {
                self.end_transaction();
                self.send(&Reply::new(250, "2.0.0 ok"));
            }
            Command::Help(_) => {
                self.send(&Reply::new(214, "2.0.0 see RFC 5321, or ask postmaster"));
            }
            Command::Vrfy(who) if self.config.verify => self.ask(now, Event::Verify(who), Asked::Verify),
            Command::Expn(list) if self.config.expand => self.ask(now, Event::Expand(list), Asked::Verify),
            Command::Vrfy(_) => {
                // RFC 5321 §7.3: a server may decline to tell who is here.
                self.send(&Reply::new(252, "2.1.5 will not verify, but will take mail and try to deliver it"));
            }
            Command::Etrn(_) => {
                // RFC 1985 §5: 458 and 459 would say that another time, or another name, could do.
                self.refuse(&Reply::new(502, "5.5.1 ETRN is not offered here: waiting mail is tried by a schedule"));
            }
            Command::Expn(_) | Command::Turn => {
                self.refuse(&Reply::new(502, "5.5.1 command not offered here"));
            }
            Command::Auth { mechanism, initial_response } => self.on_auth(now, mechanism, initial_response),
            Command::Mail { reverse_path, parameters } => self.on_mail(now, reverse_path, parameters),
            Command::Rcpt { forward_path, parameters } => self.on_rcpt(now, forward_path, parameters),
            Command::Data => self.on_data(now),
        }
    }

    pub(super) fn needs_tls(&self) -> bool {
        self.config.require_tls && !self.tls
    }

    /// Commands that move no mail are counted, so that nobody keeps a connection busy for nothing.
    fn counts_as_work(&mut self, command: &Command) -> bool {
        let works = matches!(
            command,
            Command::Mail { .. }
                | Command::Rcpt { .. }
                | Command::Data
                | Command::Bdat { .. }
                | Command::Auth { .. }
                | Command::Quit
        );
        if !works {
            self.idle_commands += 1;
            if self.idle_commands > self.config.limits.idle_commands {
                self.goodbye("4.7.0 too many commands without mail", Closed::TooManyErrors);
                return false;
            }
        }
        true
    }

    fn on_hello(&mut self, now: Instant, verb: Verb, name: HelloName) {
        // RFC 5321 §4.1.4: a greeting clears the buffers as RSET does.
        self.end_transaction();
        self.ask(now, Event::Hello(Hello { verb, name }), Asked::Hello(verb));
    }

    fn on_starttls(&mut self, more: bool) {
        if !self.config.starttls {
            self.refuse(&Reply::new(502, "5.5.1 STARTTLS is not offered here"));
        } else if self.tls {
            self.refuse(&Reply::new(503, "5.5.1 TLS is active already"));
        } else if self.transaction.is_some() {
            // RFC 3207 §4.1 resets the state; a client that means it sends RSET first.
            self.refuse(&Reply::new(503, "5.5.1 STARTTLS is not allowed during a mail transaction"));
        } else if more {
            // Rule 11.
            self.send(&Reply::new(554, "5.7.0 nothing may follow STARTTLS before its reply"));
            self.close(Closed::ClearTextBehindStartTls);
        } else {
            self.send(&Reply::new(220, "2.0.0 ready to start TLS"));
            self.queue(Queued::StartTls);
            self.phase = Phase::Tls;
            self.hello = None;
        }
    }

    fn on_xclient(&mut self, now: Instant, facts: Box<ClientFacts>) {
        if !self.trusts_xclient {
            self.refuse(&Reply::new(550, "5.7.1 XCLIENT is for trusted clients alone"));
        } else if self.transaction.is_some() {
            self.refuse(&Reply::new(503, "5.5.1 XCLIENT is not allowed during a mail transaction"));
        } else {
            let login = facts.login.as_ref().map(|login| matches!(login, Attribute::Known(_)));
            self.ask(now, Event::Client(facts), Asked::Client { login });
        }
    }

    fn on_mail(&mut self, now: Instant, reverse_path: ReversePath, mut parameters: MailParameters) {
        let limits = &self.config.limits;
        self.transactions = self.transactions.saturating_add(1);
        if self.transactions > limits.transactions {
            // RFC 9422 §4.1: the count is of MAIL commands, whatever became of them.
            self.goodbye("4.7.0 too many transactions in one connection", Closed::Limit);
            return;
        }
        let config = &self.config;
        let refusal = if self.hello.is_none() {
            Some(Reply::new(503, "5.5.1 say EHLO first"))
        } else if config.require_auth && !self.authenticated {
            Some(Reply::new(530, "5.7.0 log in with AUTH first"))
        } else if self.transaction.is_some() {
            Some(Reply::new(503, "5.5.1 a mail transaction is open already; RSET ends it"))
        } else {
            self.parameters_refused(now, &reverse_path, &mut parameters)
        };
        if let Some(reply) = refusal {
            self.refuse(&reply);
            return;
        }
        let lowered = self.lowers(&parameters);
        if lowered {
            parameters.priority = Some(Priority::default());
        }
        let transaction = Transaction {
            lowered,
            body: parameters.body.unwrap_or_default(),
            size: parameters.size,
            smtputf8: parameters.smtputf8,
            recipients: 0,
            refused: 0,
            content: None,
        };
        let protocol = self.protocol(parameters.smtputf8);
        let mail = Mail { reverse_path, parameters, protocol };
        self.ask(now, Event::Mail(mail), Asked::Mail(Box::new(transaction)));
    }

    fn on_rcpt(&mut self, now: Instant, forward_path: ForwardPath, parameters: RcptParameters) {
        let Some(transaction) = &self.transaction else {
            self.refuse(&Reply::new(503, "5.5.1 MAIL comes before RCPT"));
            return;
        };
        if transaction.content.is_some() {
            self.refuse(&Reply::new(503, "5.5.1 RCPT comes before the content"));
        } else if transaction.recipients >= self.config.limits.recipients {
            // RFC 5321 §4.5.3.1.10; no error of the client's, so it does not count.
            self.send(&Reply::new(
                452,
                "4.5.3 too many recipients; send the message to the others in a transaction of its own",
            ));
        } else if !transaction.smtputf8 && !forward_path.is_ascii() {
            // RFC 6531 §3.5
            self.refuse(&Reply::new(553, "5.6.7 a recipient address outside US-ASCII needs SMTPUTF8 in MAIL"));
        } else {
            self.ask(now, Event::Recipient(Recipient { forward_path, parameters }), Asked::Recipient);
        }
    }
}

pub(super) fn too_big(limit: u64) -> Reply {
    Reply::new(552, format!("5.3.4 message too big, the limit is {limit} octets"))
}
