//! The transport table: which way a message takes, before any name is looked up.
//!
//! Rules are tried in order and the first that matches decides. Where none does, mail goes by MX records. What can only be
//! a mistake, a rule that sends mail back to this server or one that can never match, is an error when the table is made,
//! with the number of the rule.
//!
//! ```
//! # use mailwright_routing as routing;
//! use address::{ForwardPath, ReversePath};
//! use routing::table::{Action, Conditions, Here, Relay, Rule, Table};
//!
//! let smarthost = Rule {
//!     conditions: Conditions { recipients: vec!["*.internal.example".parse()?], ..Conditions::default() },
//!     ..Rule::new(Action::Relay(Relay::to("smarthost.example", 587)?))
//! };
//! let table = Table::new(vec![smarthost], &Here::default())?;
//! let sender = ReversePath::parse("ann@example.org")?;
//! let internal = table.route(&sender, &ForwardPath::parse("bob@a.internal.example")?);
//! assert!(matches!(internal.action, Action::Relay(_)));
//! assert_eq!(table.route(&sender, &ForwardPath::parse("bob@example.net")?).action, &Action::Mx);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use address::{AddressError, AddressLiteral, ForwardPath, Host, Mailbox, ReversePath};
use wire::EnhancedCode;

use crate::security::TlsPolicy;
use crate::settings::Target;

mod pattern;

pub use pattern::Pattern;

/// Rules in their order. Made once, when the configuration is read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Table {
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// What the operator calls it, for logs; may be empty.
    pub name: String,
    /// When it matches.
    pub conditions: Conditions,
    /// What happens then.
    pub action: Action,
    /// How TLS is demanded of the hosts of `Mx` and `Relay`.
    pub tls: TlsPolicy,
    /// Addresses to connect from: the first of the family that fits. Empty: the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// The name to say in EHLO, if not the server's own.
    pub ehlo_name: Option<String>,
}

impl Rule {
    /// A rule that matches everything.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            name: String::new(),
            conditions: Conditions::default(),
            action,
            tls: TlsPolicy::Auto,
            source_addresses: Vec::new(),
            ehlo_name: None,
        }
    }
}

/// When a rule matches: each list that is not empty must have a pattern that does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conditions {
    /// About the recipient.
    pub recipients: Vec<Pattern>,
    /// About the sender, the reverse-path.
    pub senders: Vec<Pattern>,
}

/// What happens with a message for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// By the MX records of the recipient's domain.
    Mx,
    /// Through another server.
    Relay(Relay),
    /// Into another server's mailboxes (RFC 2033).
    Lmtp(Lmtp),
    /// Accepted and thrown away; traced.
    Discard,
    /// Bounced.
    Refuse {
        /// A basic code from 400 to 599; 4xx keeps the message in the queue until it is too old.
        code: u16,
        /// The enhanced code and words: `5.7.1 not here`.
        text: String,
    },
    /// Given to a program, without a shell (rule 29).
    Pipe {
        /// The program and its arguments, as they are.
        command: Vec<String>,
    },
}

/// A server that takes mail for others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relay {
    /// Its name or address.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
    /// TLS from the first octet on (port 465, RFC 8314 §3.3) instead of STARTTLS.
    pub implicit_tls: bool,
    /// The name of the credentials to log in with.
    pub credentials: Option<String>,
    /// Ask for the MX records of `host` instead of connecting to it.
    pub use_mx: bool,
}

impl Relay {
    /// A relay at a host and port, by STARTTLS, without credentials.
    ///
    /// # Errors
    /// The host is neither a domain nor an address in brackets.
    pub fn to(host: &str, port: u16) -> Result<Self, AddressError> {
        Ok(Self { host: Host::parse(host)?, port, implicit_tls: false, credentials: None, use_mx: false })
    }

    /// What to look up.
    #[must_use]
    pub fn target(&self, tls: TlsPolicy) -> Target {
        Target { host: self.host.clone(), port: self.port, use_mx: self.use_mx, tls }
    }
}

/// Where an LMTP server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lmtp {
    /// A Unix socket.
    Socket(PathBuf),
    /// A TCP port; never 25 (RFC 2033 §5).
    Tcp {
        /// Its name or address.
        host: Host,
        /// Its port.
        port: u16,
    },
}

/// What a table must know of this server to see that a rule leads back to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Here {
    /// Its names, A-labels in lower case.
    pub names: Vec<String>,
    /// Its addresses; loopback is always one of them.
    pub addresses: Vec<IpAddr>,
    /// TCP ports on which it takes SMTP or LMTP.
    pub ports: Vec<u16>,
    /// Its LMTP socket.
    pub lmtp_socket: Option<PathBuf>,
}

impl Here {
    fn is(&self, host: &Host, port: u16) -> bool {
        self.ports.contains(&port)
            && match host {
                Host::Domain(domain) => {
                    let name = domain.ascii();
                    name == "localhost" || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
                }
                Host::Literal(AddressLiteral::Ip(address)) => {
                    address.is_loopback() || address.is_unspecified() || self.addresses.contains(address)
                }
                Host::Literal(AddressLiteral::General { .. }) => false,
            }
    }
}

/// Why rules make no table. Rules are counted from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Mail that the rule matches would come back.
    #[error("routing rule {rule}: {to} is this server itself, so mail would go round in circles")]
    Loop {
        /// Which rule.
        rule: usize,
        /// Where it sends to.
        to: String,
    },
    /// An earlier rule matches all that this one does.
    #[error("routing rule {rule} never matches: rule {by} takes all its mail; put it before that one, or remove it")]
    Unreachable {
        /// Which rule.
        rule: usize,
        /// The earlier one.
        by: usize,
    },
    /// The null reverse-path is no recipient.
    #[error("routing rule {rule}: <> can be a sender, not a recipient")]
    NullRecipient {
        /// Which rule.
        rule: usize,
    },
    /// The code of a refusal is not from 400 to 599.
    #[error("routing rule {rule}: {code} is not a code of a refusal (400 to 599)")]
    Code {
        /// Which rule.
        rule: usize,
        /// The code.
        code: u16,
    },
    /// The enhanced code of a refusal is missing, or not of the class of its code (rule 17).
    #[error("routing rule {rule}: the text of a refusal begins with an enhanced code such as {class}.7.1, then words")]
    Text {
        /// Which rule.
        rule: usize,
        /// The class that it must have: 4 or 5.
        class: u16,
    },
    /// No program, or a path that depends on where the server runs.
    #[error("routing rule {rule}: a pipe needs a program with its whole path")]
    Program {
        /// Which rule.
        rule: usize,
    },
    /// LMTP to port 25 (RFC 2033 §5), or port 0.
    #[error("routing rule {rule}: port {port} is not possible here")]
    Port {
        /// Which rule.
        rule: usize,
        /// The port.
        port: u16,
    },
    /// TLS that cannot be had: an address is not authenticated by DANE.
    #[error("routing rule {rule}: TLS {tls} needs a host name, not an address")]
    Tls {
        /// Which rule.
        rule: usize,
        /// The setting.
        tls: TlsPolicy,
    },
}

/// The decision for one recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route<'a> {
    /// What happens.
    pub action: &'a Action,
    /// The rule that says so, counted from 1; `None` if no rule matched.
    pub number: Option<usize>,
    /// That rule.
    pub rule: Option<&'a Rule>,
}

impl Route<'_> {
    /// How TLS is demanded.
    #[must_use]
    pub fn tls(&self) -> TlsPolicy {
        self.rule.map_or(TlsPolicy::Auto, |rule| rule.tls)
    }

    /// What to look up, if the message goes by SMTP: the recipient's host, or the relay.
    #[must_use]
    pub fn target(&self, recipient: &Mailbox) -> Option<Target> {
        match self.action {
            Action::Mx => Some(Target::recipient(recipient.host.clone()).with_tls(self.tls())),
            Action::Relay(relay) => Some(relay.target(self.tls())),
            _ => None,
        }
    }
}

/// One line for `mailctl explain`.
impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, self.rule) {
            (Some(number), Some(rule)) if rule.name.is_empty() => write!(f, "rule {number}: {}", self.action),
            (Some(number), Some(rule)) => write!(f, "rule {number} ({}): {}", rule.name, self.action),
            _ => write!(f, "no rule matches: {}", self.action),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx => f.write_str("by MX records"),
            Self::Relay(relay) if relay.use_mx => write!(f, "relay by the MX records of {}", relay.host),
            Self::Relay(relay) => write!(f, "relay {}:{}", relay.host, relay.port),
            Self::Lmtp(Lmtp::Socket(path)) => write!(f, "LMTP {}", path.display()),
            Self::Lmtp(Lmtp::Tcp { host, port }) => write!(f, "LMTP {host}:{port}"),
            Self::Discard => f.write_str("discard"),
            Self::Refuse { code, text } => write!(f, "refuse with {code} {text}"),
            Self::Pipe { command } => write!(f, "pipe to {}", command.first().map_or("", String::as_str)),
        }
    }
}

impl Table {
    /// A table of those rules.
    ///
    /// # Errors
    /// The first rule that can only be a mistake.
    pub fn new(rules: Vec<Rule>, here: &Here) -> Result<Self, TableError> {
        for (at, rule) in rules.iter().enumerate() {
            check(at + 1, rule, here)?;
            if let Some(by) = rules[..at].iter().position(|earlier| covers(&earlier.conditions, &rule.conditions)) {
                return Err(TableError::Unreachable { rule: at + 1, by: by + 1 });
            }
        }
        Ok(Self { rules })
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Which way the message takes to that recipient. The bare `postmaster` has no domain and matches `*` alone; it is
    /// local, and nobody should ask.
    #[must_use]
    pub fn route(&self, sender: &ReversePath, recipient: &ForwardPath) -> Route<'_> {
        let (sender, recipient) = (sender.mailbox(), recipient.mailbox());
        let any = |patterns: &[Pattern], address: Option<&Mailbox>| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(address))
        };
        let found = self
            .rules
            .iter()
            .enumerate()
            .find(|(_, rule)| any(&rule.conditions.recipients, recipient) && any(&rule.conditions.senders, sender));
        match found {
            Some((at, rule)) => Route { action: &rule.action, number: Some(at + 1), rule: Some(rule) },
            None => Route { action: &Action::Mx, number: None, rule: None },
        }
    }
}

fn covers(earlier: &Conditions, later: &Conditions) -> bool {
    let list = |earlier: &[Pattern], later: &[Pattern]| {
        let everything = [Pattern::Any];
        let later = if later.is_empty() { &everything } else { later };
        earlier.is_empty() || later.iter().all(|later| earlier.iter().any(|earlier| earlier.covers(later)))
    };
    list(&earlier.recipients, &later.recipients) && list(&earlier.senders, &later.senders)
}

fn check(number: usize, rule: &Rule, here: &Here) -> Result<(), TableError> {
    if rule.conditions.recipients.contains(&Pattern::Null) {
        return Err(TableError::NullRecipient { rule: number });
    }
    let loops = |host: &Host, port: u16| {
        let to = format!("{host}:{port}");
        if here.is(host, port) { Err(TableError::Loop { rule: number, to }) } else { Ok(()) }
    };
    match &rule.action {
        Action::Mx | Action::Discard => Ok(()),
        Action::Relay(Relay { port: 0, .. }) => Err(TableError::Port { rule: number, port: 0 }),
        Action::Relay(relay) if relay.host.domain().is_none() && rule.tls.needs_name() => {
            Err(TableError::Tls { rule: number, tls: rule.tls })
        }
        // Where MX records are asked for, the lookup finds out whether they lead here.
        Action::Relay(relay) if relay.use_mx => Ok(()),
        Action::Relay(relay) => loops(&relay.host, relay.port),
        Action::Lmtp(Lmtp::Tcp { port: port @ (0 | 25), .. }) => Err(TableError::Port { rule: number, port: *port }),
        Action::Lmtp(Lmtp::Tcp { host, port }) => loops(host, *port),
        Action::Lmtp(Lmtp::Socket(path)) if here.lmtp_socket.as_ref() == Some(path) => {
            Err(TableError::Loop { rule: number, to: path.display().to_string() })
        }
        Action::Lmtp(Lmtp::Socket(_)) => Ok(()),
        Action::Refuse { code, .. } if !(400..=599).contains(code) => {
            Err(TableError::Code { rule: number, code: *code })
        }
        Action::Refuse { code, text } => {
            let plain = !text.chars().any(char::is_control);
            match EnhancedCode::at_front_of(text) {
                Some((enhanced, words)) if enhanced.fits(*code) && !words.trim().is_empty() && plain => Ok(()),
                _ => Err(TableError::Text { rule: number, class: code / 100 }),
            }
        }
        Action::Pipe { command } if command.first().is_some_and(|program| program.starts_with('/')) => Ok(()),
        Action::Pipe { .. } => Err(TableError::Program { rule: number }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn rule(recipients: &[&str], senders: &[&str], action: Action) -> Rule {
        let conditions = Conditions { recipients: patterns(recipients), senders: patterns(senders) };
        Rule { conditions, ..Rule::new(action) }
    }

    fn relay(host: &str, port: u16) -> Action {
        Action::Relay(Relay::to(host, port).unwrap())
    }

    fn refuse(code: u16, text: &str) -> Action {
        Action::Refuse { code, text: text.to_owned() }
    }

    #[test]
    fn first_match_wins() {
        let rules = vec![
            rule(&["b.example"], &["<>"], Action::Discard),
            rule(&["b.example", "*.b.example"], &[], relay("inner.example", 25)),
            rule(&[], &["news@a.example"], relay("bulk.example", 587)),
        ];
        let table = Table::new(rules, &Here::default()).unwrap();
        for (sender, recipient, expected) in [
            ("", "x@b.example", Some(1)),
            ("q@a.example", "x@b.example", Some(2)),
            ("", "x@c.b.example", Some(2)),
            ("NEWS@a.example", "x@c.example", Some(3)),
            ("q@a.example", "x@c.example", None),
        ] {
            let (sender, recipient) = (ReversePath::parse(sender).unwrap(), ForwardPath::parse(recipient).unwrap());
            assert_eq!(table.route(&sender, &recipient).number, expected, "{sender} {recipient}");
        }
        let (sender, recipient) = (ReversePath::Null, Mailbox::parse("x@c.b.example").unwrap());
        let path = ForwardPath::parse("x@c.b.example").unwrap();
        let target = table.route(&sender, &path).target(&recipient).unwrap();
        assert_eq!((target.host.to_string().as_str(), target.use_mx), ("inner.example", false));
    }

    #[test]
    fn mistakes() {
        let here = Here {
            names: vec!["mx.example".into()],
            addresses: vec!["192.0.2.1".parse().unwrap()],
            ports: vec![25, 587],
            lmtp_socket: Some("/run/lmtp".into()),
        };
        let pipe = |program: &str| Action::Pipe { command: vec![program.to_owned()] };
        let tcp = |host: &str, port| Action::Lmtp(Lmtp::Tcp { host: Host::parse(host).unwrap(), port });
        let verified = Rule { tls: TlsPolicy::Verified, ..Rule::new(relay("[192.0.2.9]", 25)) };
        let table = [
            (rule(&[], &[], relay("MX.example", 25)), "routing rule 1: MX.example:25 is this server itself"),
            (rule(&[], &[], relay("[192.0.2.1]", 587)), "routing rule 1: [192.0.2.1]:587 is this"),
            (rule(&[], &[], relay("[127.0.0.1]", 25)), "routing rule 1: [127.0.0.1]:25 is this"),
            (rule(&[], &[], relay("localhost", 25)), "routing rule 1: localhost:25 is this"),
            (rule(&[], &[], relay("[IPv6:::1]", 25)), "routing rule 1: [IPv6:::1]:25 is this"),
            // A content filter on another port of this machine is no loop.
            (rule(&[], &[], relay("[127.0.0.1]", 10025)), ""),
            (rule(&[], &[], relay("[127.0.0.1]", 0)), "routing rule 1: port 0"),
            (rule(&[], &[], Action::Lmtp(Lmtp::Socket("/run/lmtp".into()))), "routing rule 1: /run/lmtp is this"),
            (rule(&[], &[], Action::Lmtp(Lmtp::Socket("/run/other".into()))), ""),
            (rule(&[], &[], tcp("lmtp.example", 25)), "routing rule 1: port 25"),
            (rule(&[], &[], tcp("lmtp.example", 24)), ""),
            (rule(&["<>"], &[], Action::Discard), "routing rule 1: <> can be a sender"),
            (rule(&[], &[], refuse(550, "5.7.1 not here")), ""),
            (rule(&[], &[], refuse(250, "2.0.0 no")), "routing rule 1: 250 is not"),
            (rule(&[], &[], refuse(550, "4.7.1 no")), "routing rule 1: the text"),
            (rule(&[], &[], refuse(550, "no")), "routing rule 1: the text"),
            (rule(&[], &[], refuse(550, "5.7.1")), "routing rule 1: the text"),
            (rule(&[], &[], refuse(550, "5.7.1 a\r\nb")), "routing rule 1: the text"),
            (rule(&[], &[], pipe("/bin/cat")), ""),
            (rule(&[], &[], pipe("cat")), "routing rule 1: a pipe"),
            (verified, "routing rule 1: TLS verified needs"),
        ];
        for (rule, expected) in table {
            let told = Table::new(vec![rule.clone()], &here).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(told.starts_with(expected) && told.is_empty() == expected.is_empty(), "{rule:?}: {told}");
        }
    }

    #[test]
    fn rules_that_never_match() {
        let table = [
            (rule(&[], &[], Action::Mx), rule(&["a.example"], &[], Action::Mx), true),
            (rule(&["*"], &[], Action::Mx), rule(&[], &["<>"], Action::Mx), true),
            (rule(&["*.example"], &[], Action::Mx), rule(&["a.example", "*.b.example"], &[], Action::Mx), true),
            (rule(&["*.example"], &[], Action::Mx), rule(&["a.example", "example"], &[], Action::Mx), false),
            (rule(&["a.example"], &["<>"], Action::Mx), rule(&["a.example"], &[], Action::Mx), false),
            (rule(&["a.example"], &[], Action::Mx), rule(&["x@a.example"], &["<>"], Action::Mx), true),
            (rule(&["x@a.example"], &[], Action::Mx), rule(&["a.example"], &[], Action::Mx), false),
            (rule(&["*.example"], &[], Action::Mx), rule(&["*.example"], &[], Action::Mx), true),
        ];
        for (earlier, later, expected) in table {
            let made = Table::new(vec![earlier.clone(), later.clone()], &Here::default());
            let unreachable = made == Err(TableError::Unreachable { rule: 2, by: 1 });
            assert_eq!(unreachable, expected, "{:?} {:?}", earlier.conditions, later.conditions);
        }
    }
}
