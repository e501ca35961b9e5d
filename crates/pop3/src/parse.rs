//! Lines to commands: one function per rule of RFC 2449 §3 and RFC 5034 §5. A line comes whole, its CRLF cut off.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::combinator::{all_consuming, map, map_opt, opt, rest};
use nom::sequence::{preceded, separated_pair};
use nom::{IResult, Parser};
use wire::{Mechanism, Secret, base64_decode};

use crate::command::{Command, MessageNumber, Password, UserName, Verb};
use crate::error::CommandError;
use crate::limits::Leniency;

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// `command = keyword *(SP param) CRLF`
///
/// RFC 2449 §3.
pub(crate) fn command(line: &[u8], leniency: &Leniency) -> Result<Command, CommandError> {
    let (arguments, verb) = keyword(line).map_err(|_| CommandError::Unknown)?;
    if verb == Verb::Pass {
        return Arguments { verb, line, rest: arguments, spaces: false }.read("SP password", pass);
    }
    let arguments = Arguments { verb, line, rest: arguments, spaces: leniency.extra_spaces }.trimmed();
    match verb {
        Verb::Quit => arguments.none(Command::Quit),
        Verb::Stat => arguments.none(Command::Stat),
        Verb::Noop => arguments.none(Command::Noop),
        Verb::Rset => arguments.none(Command::Rset),
        Verb::Capa => arguments.none(Command::Capa),
        Verb::Stls => arguments.none(Command::Stls),
        Verb::Utf8 => arguments.none(Command::Utf8),
        Verb::Retr => arguments.read("SP message-number", one_message).map(Command::Retr),
        Verb::Dele => arguments.read("SP message-number", one_message).map(Command::Dele),
        Verb::List => arguments.read("[SP message-number]", opt(one_message)).map(Command::List),
        Verb::Uidl => arguments.read("[SP message-number]", opt(one_message)).map(Command::Uidl),
        Verb::Top => arguments.read("SP message-number SP lines", top),
        Verb::User => arguments.read("SP name", user),
        // LENIENT auth_list: RFC 5034 §4 wants a mechanism; older clients ask for the list so.
        Verb::Auth if arguments.rest.is_empty() && leniency.auth_list => Ok(Command::AuthList),
        Verb::Auth => arguments.read("SP mechanism [SP initial-response]", auth),
        Verb::Pass => Err(CommandError::Unknown),
    }
}

/// `keyword = 3*4VCHAR`, in any case
///
/// RFC 2449 §3, RFC 1939 §3.
fn keyword(line: &[u8]) -> Parsed<'_, Verb> {
    map_opt(take_while1(|octet: u8| octet.is_ascii_graphic()), |word: &[u8]| {
        Verb::ALL.into_iter().find(|verb| verb.as_str().as_bytes().eq_ignore_ascii_case(word))
    })
    .parse(line)
}

struct Arguments<'a> {
    verb: Verb,
    line: &'a [u8],
    rest: &'a [u8],
    spaces: bool,
}

impl<'a> Arguments<'a> {
    /// LENIENT `extra_spaces`: spaces at the end go, and of several between arguments the parsers see the last.
    fn trimmed(mut self) -> Self {
        if self.spaces {
            while let Some(shorter) = self.rest.strip_suffix(b" ") {
                self.rest = shorter;
            }
            while self.rest.starts_with(b"  ") {
                self.rest = self.rest.get(1..).unwrap_or_default();
            }
        }
        self
    }

    fn none(self, command: Command) -> Result<Command, CommandError> {
        if self.rest.is_empty() { Ok(command) } else { Err(self.expected("CRLF", self.rest)) }
    }

    fn read<T>(
        self,
        expected: &'static str,
        rule: impl Parser<&'a [u8], Output = T, Error = nom::error::Error<&'a [u8]>>,
    ) -> Result<T, CommandError> {
        match all_consuming(rule).parse(self.rest) {
            Ok((_, value)) => Ok(value),
            Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(self.expected(expected, error.input)),
            Err(nom::Err::Incomplete(_)) => Err(self.expected(expected, self.rest)),
        }
    }

    fn expected(&self, expected: &'static str, rest: &[u8]) -> CommandError {
        CommandError::Argument { verb: self.verb, at: self.line.len() - rest.len(), expected }
    }
}

/// `SP msg`
fn one_message(rest: &[u8]) -> Parsed<'_, MessageNumber> {
    preceded(tag(" "), message_number).parse(rest)
}

/// A message-number is decimal and begins with 1 (RFC 1939 §4); one that is too large for any maildrop is taken for
/// the largest.
fn message_number(rest: &[u8]) -> Parsed<'_, MessageNumber> {
    map_opt(number, |number| MessageNumber::new(u32::try_from(number).unwrap_or(u32::MAX))).parse(rest)
}

/// `1*DIGIT`; what is too large is taken for the largest.
pub(crate) fn number(rest: &[u8]) -> Parsed<'_, u64> {
    map(take_while1(|octet: u8| octet.is_ascii_digit()), |digits: &[u8]| {
        digits.iter().fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
    .parse(rest)
}

/// `SP msg SP n`
///
/// RFC 1939 §7.
fn top(rest: &[u8]) -> Parsed<'_, Command> {
    let spaces = take_while1(|octet| octet == b' ');
    let arguments = separated_pair(message_number, spaces, number);
    map(preceded(tag(" "), arguments), |(message, lines)| Command::Top { message, lines }).parse(rest)
}

/// `SP name`
///
/// RFC 1939 §7.
fn user(arguments: &[u8]) -> Parsed<'_, Command> {
    map_opt(preceded(tag(" "), rest), |name: &[u8]| UserName::try_from(name).ok().map(Command::User)).parse(arguments)
}

/// `SP string`: all that follows the space.
///
/// RFC 1939 §7.
fn pass(arguments: &[u8]) -> Parsed<'_, Command> {
    map_opt(preceded(tag(" "), rest), |password: &[u8]| Password::try_from(password).ok().map(Command::Pass))
        .parse(arguments)
}

/// `auth-command = "AUTH" SP sasl-mech [SP initial-response]`
///
/// RFC 5034 §5.
fn auth(arguments: &[u8]) -> Parsed<'_, Command> {
    let (rest, mechanism) = preceded(tag(" "), sasl_mech).parse(arguments)?;
    let (rest, initial_response) = opt(preceded(tag(" "), initial_response)).parse(rest)?;
    Ok((rest, Command::Auth { mechanism, initial_response }))
}

/// `sasl-mech = 1*20mech-char`
///
/// RFC 4422 §3.1.
fn sasl_mech(arguments: &[u8]) -> Parsed<'_, Mechanism> {
    map_opt(take_while1(|octet| octet != b' '), |name: &[u8]| Mechanism::try_from(std::str::from_utf8(name).ok()?).ok())
        .parse(arguments)
}

/// `initial-response = base64 / "="`
///
/// RFC 5034 §5.
fn initial_response(arguments: &[u8]) -> Parsed<'_, Secret> {
    let empty = map(all_consuming(tag("=")), |_| Secret::default());
    let base64 = map_opt(take_while1(|octet: u8| octet.is_ascii_graphic()), base64_decode);
    alt((empty, base64)).parse(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn commands() {
        let user = |name: &str| Command::User(UserName::try_from(name).unwrap());
        let pass = |password: &str| Command::Pass(Password::try_from(password.as_bytes()).unwrap());
        let auth = |name: &str, initial_response: Option<&[u8]>| Command::Auth {
            mechanism: Mechanism::try_from(name).unwrap(),
            initial_response: initial_response.map(Secret::new),
        };
        // Every command of RFC 1939 §5 to §7, RFC 2449 §5, RFC 2595 §4, RFC 5034 §6 and RFC 6856 §2.1.
        for (line, command) in [
            ("QUIT", Command::Quit),
            ("quit", Command::Quit),
            ("STAT", Command::Stat),
            ("STAT ", Command::Stat),
            ("LIST", Command::List(None)),
            ("LIST 2", Command::List(Some(message(2)))),
            ("LIST  2  ", Command::List(Some(message(2)))),
            ("RETR 1", Command::Retr(message(1))),
            ("RETR 0001", Command::Retr(message(1))),
            ("RETR 99999999999999999999999", Command::Retr(message(u32::MAX))),
            ("DELE 1", Command::Dele(message(1))),
            ("NOOP", Command::Noop),
            ("RSET", Command::Rset),
            ("TOP 1 10", Command::Top { message: message(1), lines: 10 }),
            ("tOp 100 0", Command::Top { message: message(100), lines: 0 }),
            ("TOP 1   3", Command::Top { message: message(1), lines: 3 }),
            ("UIDL", Command::Uidl(None)),
            ("UIDL 2", Command::Uidl(Some(message(2)))),
            ("USER mrose", user("mrose")),
            ("USER  mrose ", user("mrose")),
            ("USER é@ü.example", user("é@ü.example")),
            ("PASS tanstaaf", pass("tanstaaf")),
            ("pass  with two  spaces ", pass(" with two  spaces ")),
            ("CAPA", Command::Capa),
            ("STLS", Command::Stls),
            ("UTF8", Command::Utf8),
            ("utf8", Command::Utf8),
            ("AUTH", Command::AuthList),
            ("AUTH PLAIN", auth("PLAIN", None)),
            ("AUTH plain =", auth("PLAIN", Some(b""))),
            ("AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=", auth("PLAIN", Some(b"test\0test\0test"))),
        ] {
            assert_eq!(command_of(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command() {
        let argument = |verb, at, expected| Err(CommandError::Argument { verb, at, expected });
        for (line, error) in [
            ("", Err(CommandError::Unknown)),
            (" STAT", Err(CommandError::Unknown)),
            ("STATS", Err(CommandError::Unknown)),
            ("APOP mrose c4c9334bac560ecc979e58001b3e22fb", Err(CommandError::Unknown)),
            ("LANG", Err(CommandError::Unknown)),
            ("STAT 1", argument(Verb::Stat, 4, "CRLF")),
            ("RETR", argument(Verb::Retr, 4, "SP message-number")),
            ("RETR 0", argument(Verb::Retr, 5, "SP message-number")),
            ("RETR -1", argument(Verb::Retr, 5, "SP message-number")),
            ("RETR 1x", argument(Verb::Retr, 6, "SP message-number")),
            ("LIST x", argument(Verb::List, 4, "[SP message-number]")),
            ("TOP 1", argument(Verb::Top, 5, "SP message-number SP lines")),
            ("USER", argument(Verb::User, 4, "SP name")),
            ("USER a\tb", argument(Verb::User, 4, "SP name")),
            ("PASS", argument(Verb::Pass, 4, "SP password")),
            ("PASS ", argument(Verb::Pass, 4, "SP password")),
            ("AUTH MECHANISM-NAME-TOO-LONG", argument(Verb::Auth, 5, "SP mechanism [SP initial-response]")),
            ("AUTH PLAIN =AAA", argument(Verb::Auth, 10, "SP mechanism [SP initial-response]")),
            ("AUTH PLAIN AAA=BBB", argument(Verb::Auth, 10, "SP mechanism [SP initial-response]")),
            ("AUTH PLAIN AAAA AAAA", argument(Verb::Auth, 15, "SP mechanism [SP initial-response]")),
        ] {
            assert_eq!(command_of(line), error, "{line}");
        }
        // RFC 6856 §2.2: names and passwords that are not UTF-8 are refused.
        for line in [&b"USER \xff"[..], b"PASS \xff"] {
            assert!(command(line, &Leniency::default()).is_err());
        }
    }

    #[test]
    fn strictly() {
        let strict = Leniency::strict();
        for line in ["STAT ", "LIST  2", "AUTH"] {
            assert!(command(line.as_bytes(), &strict).is_err(), "{line}");
        }
        assert_eq!(command(b"RETR 1", &strict), Ok(Command::Retr(message(1))));
    }

    fn command_of(line: &str) -> Result<Command, CommandError> {
        command(line.as_bytes(), &Leniency::default())
    }
}
