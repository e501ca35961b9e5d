//! Parsers: one function for each ABNF rule of RFC 9051 §9, over a whole command whose literals are in place.

mod append;
mod command;
mod fetch;
mod list;
mod response;
mod search;

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take, take_while, take_while1};
use nom::character::complete::{char, digit1};
use nom::combinator::{map_opt, opt, recognize};
use nom::multi::{many0, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

pub use append::append;
pub(crate) use append::next_message;
pub use command::{command, continuation};
pub use response::{Response, StatusKind, Value, response};

use crate::limits::{MAX_ITEMS, MAX_RANGES};
use crate::{MailboxName, SequenceSet};

/// What every rule gives.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T>;

/// Whether names and strings are in UTF-8 (RFC 9051, RFC 9755), or in modified UTF-7 and ASCII.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mode {
    /// UTF-8 it is.
    pub utf8: bool,
}

/// `atom-specials` are none; nor are 8-bit octets.
pub(crate) fn is_atom_octet(octet: u8) -> bool {
    matches!(octet, 0x21..=0x7e) && !b"(){%*\"\\]".contains(&octet)
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`
pub(crate) fn is_astring_octet(octet: u8) -> bool {
    is_atom_octet(octet) || octet == b']'
}

/// The tag in front, if there is one.
pub(crate) fn tag_in_front(input: &[u8]) -> Option<crate::Tag> {
    command::tag(input).ok().map(|(_, tag)| tag)
}

pub(crate) fn sp(input: &[u8]) -> Parsed<'_, ()> {
    // LENIENT: several spaces where RFC 9051 §9 has one; some clients send them.
    take_while1(|octet| octet == b' ').map(|_| ()).parse(input)
}

pub(crate) fn atom(input: &[u8]) -> Parsed<'_, &str> {
    map_opt(take_while1(is_atom_octet), |octets| std::str::from_utf8(octets).ok()).parse(input)
}

/// `number`, up to `number64` (RFC 9051 §9).
pub(crate) fn number64(input: &[u8]) -> Parsed<'_, u64> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok().filter(|n| *n <= i64::MAX as u64);
    map_opt(digit1, number).parse(input)
}

pub(crate) fn number(input: &[u8]) -> Parsed<'_, u32> {
    map_opt(digit1, |digits| std::str::from_utf8(digits).ok()?.parse().ok()).parse(input)
}

/// `nz-number`
pub(crate) fn nz_number(input: &[u8]) -> Parsed<'_, u32> {
    map_opt(number, |number| (number != 0).then_some(number)).parse(input)
}

/// `literal`, `literal8`, and their non-synchronizing forms, octets in place.
pub(crate) fn literal(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    let mut head = preceded(opt(char('~')), delimited(char('{'), number, preceded(opt(char('+')), tag("}\r\n"))));
    let (rest, octets) = head.parse(input)?;
    take(octets).map(<[u8]>::to_vec).parse(rest)
}

/// `quoted`, with the UTF-8 of RFC 9051 §9.
pub(crate) fn quoted(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    let text = take_while1(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0));
    let escaped = preceded(char('\\'), alt((tag("\""), tag("\\"))));
    delimited(char('"'), many0(alt((text, escaped))), char('"')).map(|pieces| pieces.concat()).parse(input)
}

/// `string`
pub(crate) fn string(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    alt((quoted, literal)).parse(input)
}

/// `astring`
pub(crate) fn astring(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    alt((take_while1(is_astring_octet).map(<[u8]>::to_vec), string)).parse(input)
}

/// An astring that is text.
pub(crate) fn astring_text(input: &[u8]) -> Parsed<'_, String> {
    map_opt(astring, |octets| String::from_utf8(octets).ok()).parse(input)
}

/// `nstring`
pub(crate) fn nstring_text(input: &[u8]) -> Parsed<'_, Option<String>> {
    let text = map_opt(string, |octets| String::from_utf8(octets).ok());
    alt((text.map(Some), tag_no_case("NIL").map(|_| None))).parse(input)
}

/// `mailbox`
pub(crate) fn mailbox(mode: Mode) -> impl Fn(&[u8]) -> Parsed<'_, MailboxName> {
    move |input| map_opt(astring, |octets| MailboxName::from_wire(&octets, mode.utf8)).parse(input)
}

/// `sequence-set`
pub(crate) fn sequence_set(input: &[u8]) -> Parsed<'_, SequenceSet> {
    let end = || alt((nz_number.map(Some), char('*').map(|_| None)));
    let range = || (end(), opt(preceded(char(':'), end()))).map(|(from, to)| (from, to.unwrap_or(from)));
    let ranges = map_opt(separated_list1(char(','), range()), |ranges| {
        (ranges.len() <= MAX_RANGES).then_some(SequenceSet::Ranges(ranges))
    });
    alt((char('$').map(|_| SequenceSet::Saved), ranges)).parse(input)
}

/// `flag`, without knowing whether the store has it. `\*` and `\Recent` are not for clients to give.
pub(crate) fn flag(input: &[u8]) -> Parsed<'_, String> {
    let system = recognize(preceded(char('\\'), take_while1(is_atom_octet)));
    let text = |octets: &[u8]| {
        let flag = std::str::from_utf8(octets).ok()?.to_owned();
        let known = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];
        (!flag.starts_with('\\') || known.iter().any(|known| known.eq_ignore_ascii_case(&flag))).then_some(flag)
    };
    map_opt(alt((system, take_while1(is_atom_octet))), text).parse(input)
}

/// `flag-list`
pub(crate) fn flag_list(input: &[u8]) -> Parsed<'_, Vec<String>> {
    list(flag).parse(input)
}

/// `"(" [item *(SP item)] ")"`
pub(crate) fn list<'a, T>(
    item: impl Parser<&'a [u8], Output = T, Error = nom::error::Error<&'a [u8]>>,
) -> impl Parser<&'a [u8], Output = Vec<T>, Error = nom::error::Error<&'a [u8]>> {
    let items = opt(separated_list1(sp, item)).map(Option::unwrap_or_default);
    let inner = delimited(take_while(|octet| octet == b' '), items, take_while(|octet| octet == b' '));
    map_opt(delimited(char('('), inner, char(')')), |items| (items.len() <= MAX_ITEMS).then_some(items))
}

/// `date-day "-" date-month "-" date-year`, quoted or not.
pub(crate) fn date(input: &[u8]) -> Parsed<'_, jiff::civil::Date> {
    let text = (number, preceded(char('-'), atom_month), preceded(char('-'), number));
    let date = |(day, month, year): (u32, i8, u32)| {
        jiff::civil::Date::new(i16::try_from(year).ok()?, month, i8::try_from(day).ok()?).ok()
    };
    let text = map_opt(text, date);
    let (rest, quote) = opt(char('"')).parse(input)?;
    let mut text = text;
    let (rest, date) = text.parse(rest)?;
    if quote.is_some() {
        return terminated(nom::combinator::success(date), char('"')).parse(rest);
    }
    Ok((rest, date))
}

/// The months' names (RFC 9051 §9, `date-month`).
pub(crate) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn atom_month(input: &[u8]) -> Parsed<'_, i8> {
    map_opt(take(3_usize), |octets: &[u8]| {
        let at = MONTHS.iter().position(|month| month.as_bytes().eq_ignore_ascii_case(octets))?;
        i8::try_from(at + 1).ok()
    })
    .parse(input)
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`: seconds since 1970, and the
/// zone in minutes east.
pub(crate) fn date_time(input: &[u8]) -> Parsed<'_, (i64, i16)> {
    let two = || map_opt(take(2_usize), |octets: &[u8]| std::str::from_utf8(octets).ok()?.trim_start().parse().ok());
    let day = (two(), preceded(char('-'), atom_month), preceded(char('-'), number));
    let time = (two(), preceded(char(':'), two()), preceded(char(':'), two()));
    let sign = alt((char('+').map(|_| 1_i16), char('-').map(|_| -1)));
    let zone = (sign, two(), two())
        .map(|(sign, hours, minutes): (i16, i8, i8)| sign * (i16::from(hours) * 60 + i16::from(minutes)));
    let whole = (day, preceded(char(' '), time), preceded(char(' '), zone));
    let moment = |((day, month, year), (hour, minute, second), zone): ((i8, i8, u32), (i8, i8, i8), i16)| {
        let second = second.min(59); // a leap second is the second before it
        let local = jiff::civil::DateTime::new(i16::try_from(year).ok()?, month, day, hour, minute, second, 0).ok()?;
        let utc = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
        (zone.abs() < 24 * 60).then(|| (utc - i64::from(zone) * 60, zone))
    };
    delimited(char('"'), map_opt(whole, moment), char('"')).parse(input)
}
