//! Commands (RFC 1939 §5 to §7, RFC 2449 §5, RFC 2595 §4, RFC 5034 §4, RFC 6856 §2.1).

use std::fmt;
use std::num::NonZeroU32;

use bytes::{BufMut, BytesMut};
use wire::{InvalidValue, Mechanism, Secret, put_base64};

use crate::error::CommandError;
use crate::limits::Leniency;
use crate::parse;

/// One command.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// QUIT.
    Quit,
    /// STAT: how many messages and octets.
    Stat,
    /// LIST: sizes.
    List(Option<MessageNumber>),
    /// RETR: a message.
    Retr(MessageNumber),
    /// DELE: marks a message as deleted.
    Dele(MessageNumber),
    /// NOOP.
    Noop,
    /// RSET: unmarks all messages.
    Rset,
    /// TOP: the header and so many lines of the body.
    Top {
        /// The message.
        message: MessageNumber,
        /// Lines of the body.
        lines: u64,
    },
    /// UIDL: unique ids.
    Uidl(Option<MessageNumber>),
    /// USER.
    User(UserName),
    /// PASS.
    Pass(Password),
    /// CAPA: the capabilities.
    Capa,
    /// STLS: TLS from here on.
    Stls,
    /// AUTH: a SASL exchange.
    Auth {
        /// The mechanism.
        mechanism: Mechanism,
        /// What the client says first; the empty one is printed as `=`.
        initial_response: Option<Secret>,
    },
    /// AUTH without a mechanism: the list of mechanisms, in the manner of clients older than CAPA.
    AuthList,
    /// UTF8.
    Utf8,
}

impl Command {
    /// Reads a line, its CRLF already cut off.
    ///
    /// # Errors
    /// It is no command.
    pub fn parse(line: &[u8], leniency: &Leniency) -> Result<Self, CommandError> {
        parse::command(line, leniency)
    }

    /// Its keyword.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Quit => Verb::Quit,
            Self::Stat => Verb::Stat,
            Self::List(_) => Verb::List,
            Self::Retr(_) => Verb::Retr,
            Self::Dele(_) => Verb::Dele,
            Self::Noop => Verb::Noop,
            Self::Rset => Verb::Rset,
            Self::Top { .. } => Verb::Top,
            Self::Uidl(_) => Verb::Uidl,
            Self::User(_) => Verb::User,
            Self::Pass(_) => Verb::Pass,
            Self::Capa => Verb::Capa,
            Self::Stls => Verb::Stls,
            Self::Auth { .. } | Self::AuthList => Verb::Auth,
            Self::Utf8 => Verb::Utf8,
        }
    }

    /// Appends the line, CRLF included.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(self.verb().as_str().as_bytes());
        match self {
            Self::List(Some(message)) | Self::Uidl(Some(message)) | Self::Retr(message) | Self::Dele(message) => {
                put(out, format_args!(" {message}"));
            }
            Self::Top { message, lines } => put(out, format_args!(" {message} {lines}")),
            Self::User(user) => put(out, format_args!(" {}", user.as_str())),
            Self::Pass(password) => {
                out.put_u8(b' ');
                out.put_slice(password.expose());
            }
            Self::Auth { mechanism, initial_response } => {
                put(out, format_args!(" {mechanism}"));
                match initial_response.as_ref().map(Secret::expose) {
                    None => {}
                    Some([]) => out.put_slice(b" ="),
                    Some(octets) => {
                        out.put_u8(b' ');
                        put_base64(octets, out);
                    }
                }
            }
            _ => {}
        }
        out.put_slice(b"\r\n");
    }
}

/// A keyword.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verb {
    /// `QUIT`
    Quit,
    /// `STAT`
    Stat,
    /// `LIST`
    List,
    /// `RETR`
    Retr,
    /// `DELE`
    Dele,
    /// `NOOP`
    Noop,
    /// `RSET`
    Rset,
    /// `TOP`
    Top,
    /// `UIDL`
    Uidl,
    /// `USER`
    User,
    /// `PASS`
    Pass,
    /// `CAPA`
    Capa,
    /// `STLS`
    Stls,
    /// `AUTH`
    Auth,
    /// `UTF8`
    Utf8,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Retr,
        Self::Dele,
        Self::List,
        Self::Uidl,
        Self::Stat,
        Self::Noop,
        Self::Top,
        Self::Rset,
        Self::Quit,
        Self::User,
        Self::Pass,
        Self::Auth,
        Self::Capa,
        Self::Stls,
        Self::Utf8,
    ];

    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "QUIT",
            Self::Stat => "STAT",
            Self::List => "LIST",
            Self::Retr => "RETR",
            Self::Dele => "DELE",
            Self::Noop => "NOOP",
            Self::Rset => "RSET",
            Self::Top => "TOP",
            Self::Uidl => "UIDL",
            Self::User => "USER",
            Self::Pass => "PASS",
            Self::Capa => "CAPA",
            Self::Stls => "STLS",
            Self::Auth => "AUTH",
            Self::Utf8 => "UTF8",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number of a message in a session, counted from 1 (RFC 1939 §4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageNumber(NonZeroU32);

impl MessageNumber {
    /// The number, if it is none of 0.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The message at this place of a maildrop, counted from 0; `None` beyond what a number can say.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        u32::try_from(index).ok()?.checked_add(1).and_then(Self::new)
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Its place in the maildrop, counted from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The octets that the command and its CRLF leave for an argument (RFC 2449 §4).
const MAX_ARGUMENT: usize = 255 - "USER \r\n".len();

/// The name given by USER: 1 to 248 octets of UTF-8 without control characters.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct UserName(String);

impl UserName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl TryFrom<&[u8]> for UserName {
    type Error = InvalidValue;

    fn try_from(octets: &[u8]) -> Result<Self, InvalidValue> {
        let name = std::str::from_utf8(octets).ok().filter(|name| {
            (1..=MAX_ARGUMENT).contains(&name.len()) && !name.chars().any(char::is_control) && name.trim() == *name
        });
        name.map(|name| Self(name.to_owned())).ok_or(InvalidValue { rule: "user name" })
    }
}

impl TryFrom<&str> for UserName {
    type Error = InvalidValue;

    fn try_from(name: &str) -> Result<Self, InvalidValue> {
        Self::try_from(name.as_bytes())
    }
}

/// What PASS gives: 1 to 248 octets of UTF-8 without CR, LF and NUL; spaces are part of it (RFC 1939 §7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Password(Secret);

impl Password {
    /// The octets.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// As a secret.
    #[must_use]
    pub fn into_secret(self) -> Secret {
        self.0
    }
}

impl TryFrom<&[u8]> for Password {
    type Error = InvalidValue;

    fn try_from(octets: &[u8]) -> Result<Self, InvalidValue> {
        let printable = !octets.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n'));
        // RFC 6856 §2.2: what is not UTF-8 must be refused.
        if (1..=MAX_ARGUMENT).contains(&octets.len()) && printable && std::str::from_utf8(octets).is_ok() {
            Ok(Self(Secret::new(octets)))
        } else {
            Err(InvalidValue { rule: "password" })
        }
    }
}

/// Prints into octets.
pub(crate) fn put(out: &mut BytesMut, text: fmt::Arguments<'_>) {
    // Writing to a growing buffer cannot fail.
    let _ = fmt::Write::write_fmt(out, text);
}
