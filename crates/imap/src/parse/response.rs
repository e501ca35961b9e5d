//! Responses, as a client reads them: the status responses typed, the data as the values they are made of.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while, take_while1};
use nom::character::complete::char;
use nom::combinator::{opt, recognize};
use nom::multi::many0;
use nom::sequence::{delimited, preceded, terminated};

use super::command::tag;
use super::{Parsed, atom, number64, string};
use crate::Tag;

/// A response from a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// `+ text`
    Continuation(String),
    /// A status response, tagged or not.
    Status {
        /// The tag; `None` for `*`.
        tag: Option<Tag>,
        /// OK, NO, BAD, PREAUTH, BYE.
        kind: StatusKind,
        /// What stands in brackets: the code and its arguments.
        code: Option<String>,
        /// The words.
        text: String,
    },
    /// Data: a number if one stands in front, the name, and the values.
    Data {
        /// `12` of `* 12 EXISTS`
        number: Option<u64>,
        /// The name in upper case.
        name: String,
        /// What follows.
        values: Vec<Value>,
    },
}

/// The kind of a status response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusKind {
    /// OK
    Ok,
    /// NO
    No,
    /// BAD
    Bad,
    /// PREAUTH
    PreAuth,
    /// BYE
    Bye,
}

/// A value in a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// An atom, number, flag, or section with its brackets.
    Atom(String),
    /// A quoted string or literal.
    String(Vec<u8>),
    /// NIL
    Nil,
    /// A list in parentheses.
    List(Vec<Value>),
}

impl Value {
    /// The text of an atom or string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Atom(text) => Some(text),
            Self::String(octets) => std::str::from_utf8(octets).ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The items of a list.
    #[must_use]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// The deepest list in a response; a BODYSTRUCTURE nests by its parts.
const MAX_DEPTH: usize = 200;

/// `response`, its last CRLF cut off, its literals in place. `None`: it is none.
#[must_use]
pub fn response(input: &[u8]) -> Option<Response> {
    if let Some(text) = input.strip_prefix(b"+") {
        return Some(Response::Continuation(String::from_utf8_lossy(text).trim_start().to_owned()));
    }
    let (rest, tag) = alt((char('*').map(|_| None), tag.map(Some))).parse(input).ok()?;
    let (rest, _) = char::<_, nom::error::Error<&[u8]>>(' ').parse(rest).ok()?;
    if let Ok((_, (kind, code, text))) = status(rest) {
        return Some(Response::Status { tag, kind, code, text });
    }
    if tag.is_some() {
        return None;
    }
    let (rest, number) = opt(terminated(number64, char(' '))).parse(rest).ok()?;
    let (mut rest, name) = atom(rest).ok()?;
    let mut values = Vec::new();
    while !rest.is_empty() {
        rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let (behind, value) = value(rest, 0).ok()?;
        values.push(value);
        rest = behind;
    }
    Some(Response::Data { number, name: name.to_ascii_uppercase(), values })
}

fn status(input: &[u8]) -> Parsed<'_, (StatusKind, Option<String>, String)> {
    let kind = alt((
        tag_no_case("OK").map(|_| StatusKind::Ok),
        tag_no_case("NO").map(|_| StatusKind::No),
        tag_no_case("BAD").map(|_| StatusKind::Bad),
        tag_no_case("PREAUTH").map(|_| StatusKind::PreAuth),
        tag_no_case("BYE").map(|_| StatusKind::Bye),
    ));
    let (rest, kind) = terminated(kind, nom::combinator::peek(nom::combinator::not(atom))).parse(input)?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let code = delimited(char('['), take_while1(|octet| octet != b']'), char(']'));
    let (rest, code) = opt(code.map(text)).parse(rest)?;
    Ok((&[], (kind, code, text(rest.strip_prefix(b" ").unwrap_or(rest)))))
}

fn value(input: &[u8], depth: usize) -> Parsed<'_, Value> {
    if depth > MAX_DEPTH {
        return Err(nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::TooLarge)));
    }
    if input.first() == Some(&b'(') {
        let item = |input| preceded(take_while(|octet| octet == b' '), |input| value(input, depth + 1)).parse(input);
        return delimited(char('('), many0(item), char(')')).map(Value::List).parse(input);
    }
    alt((string.map(Value::String), word)).parse(input)
}

/// An atom, or a section: `BODY[1.HEADER.FIELDS (A B)]<0>`.
fn word(input: &[u8]) -> Parsed<'_, Value> {
    let is_word = |octet: u8| octet > b' ' && octet != 0x7f && !b"()\"[".contains(&octet);
    let bracketed = delimited(char('['), take_while(|octet| octet != b']'), char(']'));
    recognize((take_while1(is_word), opt((bracketed, take_while(is_word)))))
        .map(|octets: &[u8]| {
            let text = String::from_utf8_lossy(octets).into_owned();
            if text.eq_ignore_ascii_case("NIL") { Value::Nil } else { Value::Atom(text) }
        })
        .parse(input)
}
