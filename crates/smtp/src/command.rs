//! The commands of SMTP (RFC 5321 §4.1), LMTP (RFC 2033) and their extensions, and their way to octets.

use std::fmt;

use address::{ForwardPath, ReversePath};
use bytes::{BufMut, BytesMut};
use wire::{InvalidValue, Mechanism, Secret, put_base64};

use crate::error::CommandError;
use crate::limits::Leniency;
use crate::parameter::{MailParameters, RcptParameters};
use crate::parse;
use crate::xclient::ClientFacts;

/// One command. Every value that exists can be printed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// `HELO` (RFC 5321 §4.1.1.1).
    Helo(HelloName),
    /// `EHLO` (RFC 5321 §4.1.1.1).
    Ehlo(HelloName),
    /// `LHLO` (RFC 2033 §4.1).
    Lhlo(HelloName),
    /// `MAIL FROM:` (RFC 5321 §4.1.1.2).
    Mail {
        /// Who gets reports of failure; `<>` for nobody.
        reverse_path: ReversePath,
        /// What follows.
        parameters: MailParameters,
    },
    /// `RCPT TO:` (RFC 5321 §4.1.1.3).
    Rcpt {
        /// The recipient.
        forward_path: ForwardPath,
        /// What follows.
        parameters: RcptParameters,
    },
    /// `DATA` (RFC 5321 §4.1.1.4).
    Data,
    /// `BDAT` (RFC 3030 §2).
    Bdat {
        /// Octets of the chunk that follows the line.
        octets: u64,
        /// Whether it is the last of the message.
        last: bool,
    },
    /// `RSET` (RFC 5321 §4.1.1.5).
    Rset,
    /// `VRFY` (RFC 5321 §4.1.1.6).
    Vrfy(Argument),
    /// `EXPN` (RFC 5321 §4.1.1.7).
    Expn(Argument),
    /// `HELP` (RFC 5321 §4.1.1.8).
    Help(Option<Argument>),
    /// `NOOP` (RFC 5321 §4.1.1.9).
    Noop(Option<Argument>),
    /// `QUIT` (RFC 5321 §4.1.1.10).
    Quit,
    /// `STARTTLS` (RFC 3207 §4).
    StartTls,
    /// `AUTH` (RFC 4954 §4).
    Auth {
        /// The SASL mechanism.
        mechanism: Mechanism,
        /// The initial response, base64 undone; empty where `=` was sent.
        initial_response: Option<Secret>,
    },
    /// `ETRN` (RFC 1985 §5).
    Etrn(Argument),
    /// `TURN`, and what went the same way: `SEND`, `SOML`, `SAML` (RFC 5321 §3.6.1, appendix F).
    Turn,
    /// `XCLIENT`, Postfix's extension.
    XClient(Box<ClientFacts>),
}

/// The word a command begins with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "each is the command of its name, documented at Command")]
pub enum Verb {
    Helo,
    Ehlo,
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Vrfy,
    Expn,
    Help,
    Noop,
    Quit,
    StartTls,
    Auth,
    Etrn,
    Turn,
    XClient,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Helo => "HELO",
            Self::Ehlo => "EHLO",
            Self::Lhlo => "LHLO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Bdat => "BDAT",
            Self::Rset => "RSET",
            Self::Vrfy => "VRFY",
            Self::Expn => "EXPN",
            Self::Help => "HELP",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Etrn => "ETRN",
            Self::Turn => "TURN",
            Self::XClient => "XCLIENT",
        })
    }
}

impl Command {
    /// The command on a line whose CRLF is cut off.
    ///
    /// # Errors
    /// The line is no command, or one that `leniency` does not let pass; [`CommandError::reply`] is the answer.
    pub fn parse(line: &[u8], leniency: &Leniency) -> Result<Self, CommandError> {
        parse::command(line, leniency)
    }

    /// Its verb.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Helo(_) => Verb::Helo,
            Self::Ehlo(_) => Verb::Ehlo,
            Self::Lhlo(_) => Verb::Lhlo,
            Self::Mail { .. } => Verb::Mail,
            Self::Rcpt { .. } => Verb::Rcpt,
            Self::Data => Verb::Data,
            Self::Bdat { .. } => Verb::Bdat,
            Self::Rset => Verb::Rset,
            Self::Vrfy(_) => Verb::Vrfy,
            Self::Expn(_) => Verb::Expn,
            Self::Help(_) => Verb::Help,
            Self::Noop(_) => Verb::Noop,
            Self::Quit => Verb::Quit,
            Self::StartTls => Verb::StartTls,
            Self::Auth { .. } => Verb::Auth,
            Self::Etrn(_) => Verb::Etrn,
            Self::Turn => Verb::Turn,
            Self::XClient(_) => Verb::XClient,
        }
    }

    /// Appends the line, CRLF included.
    pub fn encode(&self, out: &mut BytesMut) {
        use fmt::Write as _;
        // Writing to a BytesMut cannot fail: it grows.
        let _ = match self {
            Self::Helo(name) | Self::Ehlo(name) | Self::Lhlo(name) => write!(out, "{} {name}", self.verb()),
            Self::Mail { reverse_path, parameters } => write!(out, "MAIL FROM:{reverse_path}{parameters}"),
            Self::Rcpt { forward_path, parameters } => write!(out, "RCPT TO:{forward_path}{parameters}"),
            Self::Bdat { octets, last } => write!(out, "BDAT {octets}{}", if *last { " LAST" } else { "" }),
            Self::Vrfy(argument) | Self::Expn(argument) | Self::Etrn(argument) => {
                write!(out, "{} {argument}", self.verb())
            }
            Self::XClient(facts) => write!(out, "XCLIENT{facts}"),
            Self::Help(Some(argument)) | Self::Noop(Some(argument)) => write!(out, "{} {argument}", self.verb()),
            Self::Auth { mechanism, initial_response } => {
                let written = write!(out, "AUTH {mechanism}");
                match initial_response.as_ref().map(Secret::expose) {
                    None => {}
                    // RFC 4954 §4: an initial response of no octets is a lone equals sign.
                    Some([]) => out.put_slice(b" ="),
                    Some(octets) => {
                        out.put_u8(b' ');
                        put_base64(octets, out);
                    }
                }
                written
            }
            Self::Data
            | Self::Rset
            | Self::Help(None)
            | Self::Noop(None)
            | Self::Quit
            | Self::StartTls
            | Self::Turn => write!(out, "{}", self.verb()),
        };
        out.put_slice(b"\r\n");
    }
}

/// The name given in HELO, EHLO or LHLO: printable, 1 to 255 octets.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HelloName(String);

impl HelloName {
    /// The longest name, in octets (RFC 5321 §4.5.3.1.2).
    pub const MAX_OCTETS: usize = 255;

    /// The name as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a domain or an address literal in form, as RFC 5321 §4.1.1.1 wants it.
    #[must_use]
    pub fn is_proper(&self) -> bool {
        let name = self.0.as_str();
        if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = match literal.get(..5) {
                Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => literal.get(5..).unwrap_or_default(),
                _ => literal,
            };
            return address.parse::<core::net::IpAddr>().is_ok();
        }
        if name.parse::<core::net::IpAddr>().is_ok() {
            return false;
        }
        name.split('.').all(|label| {
            let inner = |char: char| char.is_ascii_alphanumeric() || char == '-' || !char.is_ascii();
            !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(inner)
        })
    }
}

impl TryFrom<&str> for HelloName {
    type Error = InvalidValue;

    fn try_from(name: &str) -> Result<Self, InvalidValue> {
        let fits = (1..=Self::MAX_OCTETS).contains(&name.len()) && name.trim() == name;
        if fits && !name.contains(char::is_control) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidValue { rule: "Domain or address-literal" })
        }
    }
}

impl fmt::Display for HelloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The free argument of NOOP, HELP, VRFY, EXPN and ETRN: not empty, without control characters, no space at its ends.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Argument(String);

impl Argument {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Argument {
    type Error = InvalidValue;

    fn try_from(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() || text.trim() != text || text.contains(char::is_control) {
            return Err(InvalidValue { rule: "String" });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
