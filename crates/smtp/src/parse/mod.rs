//! From whole lines, CRLF cut off, to commands: one function per ABNF rule (RFC 5321 §4.1.1, §4.1.2).

mod argument;
mod parameter;
mod path;

use nom::bytes::complete::take_while1;
use nom::character::complete::{space0, space1};
use nom::combinator::{all_consuming, eof};
use nom::error::{ErrorKind, ParseError};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::command::{Command, Verb};
use crate::error::CommandError;
use crate::limits::Leniency;

pub(crate) use parameter::{limits_param, mail_parameters, number20, rcpt_parameters};

/// What a rule's function gives: the rest of the line and the value.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Expected<'a>>;

/// Where a rule was not followed, and which.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Expected<'a> {
    pub(crate) at: &'a [u8],
    pub(crate) rule: Rule,
}

/// What was expected, or what was wrong with what was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rule {
    Named(&'static str),
    Path,
    UnknownParameter,
    ParameterValue(&'static str),
    Base64,
}

impl<'a> ParseError<&'a [u8]> for Expected<'a> {
    fn from_error_kind(at: &'a [u8], kind: ErrorKind) -> Self {
        let rule = match kind {
            ErrorKind::Eof => "end of line",
            ErrorKind::Space => "space",
            _ => "argument",
        };
        Self { at, rule: Rule::Named(rule) }
    }

    fn append(_at: &'a [u8], _kind: ErrorKind, other: Self) -> Self {
        other
    }
}

pub(crate) fn fail<T>(at: &[u8], rule: Rule) -> Parsed<'_, T> {
    Err(nom::Err::Failure(Expected { at, rule }))
}

/// Names what `parser` looks for.
pub(crate) fn named<'a, T>(
    rule: &'static str,
    mut parser: impl Parser<&'a [u8], Output = T, Error = Expected<'a>>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| {
        parser.parse(input).map_err(|error| match error {
            nom::Err::Error(Expected { at, .. }) => nom::Err::Failure(Expected { at, rule: Rule::Named(rule) }),
            other => other,
        })
    }
}

/// A whole command line.
pub(crate) fn command(line: &[u8], leniency: &Leniency) -> Result<Command, CommandError> {
    // RFC 5321 §4.1.1: white space before the CRLF is to be tolerated.
    let line = line.trim_ascii_end();
    if line.iter().any(|octet| matches!(octet, 0..=8 | 10..=31 | 127)) {
        return Err(CommandError::ControlCharacter);
    }
    let (rest, word) = verb(line).map_err(|_| CommandError::UnknownVerb)?;
    let verb = verb_of(word).ok_or_else(|| unknown(word, line))?;
    match body(verb, leniency, rest) {
        Ok((_, command)) => Ok(command),
        Err(nom::Err::Incomplete(_)) => Err(CommandError::Argument { verb, at: line.len(), expected: "argument" }),
        Err(nom::Err::Error(Expected { at, rule }) | nom::Err::Failure(Expected { at, rule })) => {
            let at = line.len().saturating_sub(at.len());
            Err(match rule {
                Rule::Named(expected) => CommandError::Argument { verb, at, expected },
                Rule::Path => CommandError::Path { verb, at },
                Rule::UnknownParameter => CommandError::UnknownParameter { verb, at },
                Rule::ParameterValue(keyword) => CommandError::ParameterValue { verb, keyword },
                Rule::Base64 => CommandError::Base64,
            })
        }
    }
}

/// Parameters without their command, with or without the space in front of them.
pub(crate) fn parameters<T>(text: &str, rule: fn(&[u8]) -> Parsed<'_, T>) -> Option<T> {
    let line = match text.trim() {
        "" => String::new(),
        text => format!(" {text}"),
    };
    let (_, parameters) = rule(line.as_bytes()).ok().filter(|_| !line.contains(char::is_control))?;
    Some(parameters)
}

/// The word a command begins with.
fn verb(line: &[u8]) -> Parsed<'_, &[u8]> {
    take_while1(|octet: u8| octet.is_ascii_alphanumeric()).parse(line)
}

fn verb_of(word: &[u8]) -> Option<Verb> {
    let mut upper = [0_u8; 8];
    let upper = upper.get_mut(..word.len())?;
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    Some(match &*upper {
        b"MAIL" => Verb::Mail,
        b"RCPT" => Verb::Rcpt,
        b"DATA" => Verb::Data,
        b"BDAT" => Verb::Bdat,
        b"EHLO" => Verb::Ehlo,
        b"HELO" => Verb::Helo,
        b"LHLO" => Verb::Lhlo,
        b"QUIT" => Verb::Quit,
        b"RSET" => Verb::Rset,
        b"NOOP" => Verb::Noop,
        b"AUTH" => Verb::Auth,
        b"STARTTLS" => Verb::StartTls,
        b"VRFY" => Verb::Vrfy,
        b"EXPN" => Verb::Expn,
        b"HELP" => Verb::Help,
        b"ETRN" => Verb::Etrn,
        b"XCLIENT" => Verb::XClient,
        b"TURN" | b"ATRN" | b"SEND" | b"SOML" | b"SAML" => Verb::Turn,
        _ => return None,
    })
}

fn unknown(word: &[u8], line: &[u8]) -> CommandError {
    let http: [&[u8]; 5] = [b"GET", b"POST", b"PUT", b"CONNECT", b"OPTIONS"];
    let is_http = http.iter().any(|method| word.eq_ignore_ascii_case(method));
    if is_http && line.get(word.len()) == Some(&b' ') {
        CommandError::ForeignProtocol
    } else {
        CommandError::UnknownVerb
    }
}

/// What follows the verb.
fn body<'a>(verb: Verb, leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, Command> {
    match verb {
        Verb::Mail => mail(leniency, rest),
        Verb::Rcpt => rcpt(leniency, rest),
        Verb::Data => end(rest, Command::Data),
        Verb::Bdat => bdat(rest),
        Verb::Ehlo => argument::hello_name(leniency, rest).map(|(rest, name)| (rest, Command::Ehlo(name))),
        Verb::Helo => argument::hello_name(leniency, rest).map(|(rest, name)| (rest, Command::Helo(name))),
        Verb::Lhlo => argument::hello_name(leniency, rest).map(|(rest, name)| (rest, Command::Lhlo(name))),
        Verb::Quit => end(rest, Command::Quit),
        Verb::Rset => end(rest, Command::Rset),
        Verb::StartTls => end(rest, Command::StartTls),
        Verb::Noop => argument::optional(rest).map(|(rest, text)| (rest, Command::Noop(text))),
        Verb::Help => argument::optional(rest).map(|(rest, text)| (rest, Command::Help(text))),
        Verb::Vrfy => argument::string(rest).map(|(rest, text)| (rest, Command::Vrfy(text))),
        Verb::Expn => argument::string(rest).map(|(rest, text)| (rest, Command::Expn(text))),
        Verb::Etrn => argument::string(rest).map(|(rest, text)| (rest, Command::Etrn(text))),
        Verb::Auth => auth(rest),
        Verb::Turn => Ok((&[], Command::Turn)),
        Verb::XClient => argument::xclient(rest).map(|(rest, facts)| (rest, Command::XClient(Box::new(facts)))),
    }
}

fn end(rest: &[u8], command: Command) -> Parsed<'_, Command> {
    named("end of line", eof).parse(rest).map(|(rest, _)| (rest, command))
}

/// `mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF`
///
/// RFC 5321 §4.1.1.2.
fn mail<'a>(leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, Command> {
    let (rest, ()) = path::introduced_by("FROM:", leniency, rest)?;
    let (rest, reverse_path) = path::reverse_path(leniency, rest)?;
    let (rest, parameters) = parameter::mail_parameters(rest)?;
    Ok((rest, Command::Mail { reverse_path, parameters }))
}

/// `rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters] CRLF`
///
/// RFC 5321 §4.1.1.3.
fn rcpt<'a>(leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, Command> {
    let (rest, ()) = path::introduced_by("TO:", leniency, rest)?;
    let (rest, forward_path) = path::forward_path(leniency, rest)?;
    let (rest, parameters) = parameter::rcpt_parameters(rest)?;
    Ok((rest, Command::Rcpt { forward_path, parameters }))
}

/// `bdat-cmd ::= "BDAT" SP chunk-size [ SP end-marker ] CR LF`
///
/// RFC 3030 §2.
fn bdat(rest: &[u8]) -> Parsed<'_, Command> {
    let (rest, octets) = preceded(named("space", space1), named("chunk-size", number20)).parse(rest)?;
    let (rest, end_marker) =
        nom::combinator::opt(preceded(space1, nom::bytes::complete::tag_no_case(&b"LAST"[..]))).parse(rest)?;
    let last = end_marker.is_some();
    end(rest, Command::Bdat { octets, last })
}

/// `auth-command = "AUTH" SP sasl-mech [SP initial-response] *(CRLF [base64]) [CRLF cancel-response]`, its first line
///
/// RFC 4954 §8.
fn auth(rest: &[u8]) -> Parsed<'_, Command> {
    let (rest, mechanism) = preceded(named("space", space1), argument::sasl_mech).parse(rest)?;
    let (rest, initial_response) = nom::combinator::opt(preceded(space1, argument::initial_response)).parse(rest)?;
    end(rest, Command::Auth { mechanism, initial_response })
}

/// Everything to the end of the line, after at least one space.
fn after_space(rest: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, _) = named("space", space1).parse(rest)?;
    let (rest, _) = space0(rest)?;
    all_consuming(nom::combinator::rest).parse(rest)
}
