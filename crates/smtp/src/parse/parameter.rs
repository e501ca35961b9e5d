//! `esmtp-param` and the values of those known here (RFC 5321 §4.1.2); `limits-param` (RFC 9422 §3).

use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{char, space1};
use nom::combinator::opt;
use nom::sequence::{pair, preceded};
use nom::{AsChar, Parser};
use wire::{Notify, Ret};

use super::{Expected, Parsed, Rule, fail};
use crate::parameter::{BodyType, MailParameters, OriginalRecipient, RcptParameters, Xtext};
use crate::schedule::{DeliverBy, Hold, Priority, UtcTime};

/// `esmtp-param = esmtp-keyword ["=" esmtp-value]`, with the space before it.
fn esmtp_param(rest: &[u8]) -> Parsed<'_, (&[u8], Option<&[u8]>)> {
    preceded(space1, pair(esmtp_keyword, opt(preceded(char('='), esmtp_value)))).parse(rest)
}

/// `esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")`
fn esmtp_keyword(rest: &[u8]) -> Parsed<'_, &[u8]> {
    if !rest.first().is_some_and(u8::is_ascii_alphanumeric) {
        return fail(rest, Rule::Named("esmtp-keyword"));
    }
    take_while1(|octet: u8| octet.is_alphanum() || octet == b'-').parse(rest)
}

/// `esmtp-value = 1*(%d33-60 / %d62-126)`; RFC 6531 §3.3 adds `UTF8-non-ascii`.
///
/// LENIENT: an equals sign inside is let through to the value's own rule, which refuses it where it matters.
fn esmtp_value(rest: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(|octet| octet > b' ').parse(rest)
}

/// `Mail-parameters = esmtp-param *(SP esmtp-param)`, to the end of the line.
pub(crate) fn mail_parameters(mut rest: &[u8]) -> Parsed<'_, MailParameters> {
    let mut parameters = MailParameters::default();
    while !rest.is_empty() {
        let (behind, (keyword, value)) = esmtp_param(rest)?;
        let at = rest.trim_ascii_start();
        let is = |known: &str| keyword.eq_ignore_ascii_case(known.as_bytes());
        if is("SIZE") {
            once(&mut parameters.size, "SIZE", at, value.and_then(size_value))?;
        } else if is("BODY") {
            once(&mut parameters.body, "BODY", at, value.and_then(body_value))?;
        } else if is("SMTPUTF8") {
            if value.is_some() || parameters.smtputf8 {
                return fail(at, Rule::ParameterValue("SMTPUTF8"));
            }
            parameters.smtputf8 = true;
        } else if is("AUTH") {
            once(&mut parameters.auth, "AUTH", at, value.and_then(xtext))?;
        } else if is("RET") {
            once(&mut parameters.ret, "RET", at, text(value).and_then(Ret::from_wire))?;
        } else if is("ENVID") {
            once(&mut parameters.envid, "ENVID", at, value.and_then(envid))?;
        } else if is("HOLDFOR") {
            // RFC 4865 §4.2: more than one of the two, whichever, is an error.
            once(&mut parameters.hold, "HOLDFOR", at, text(value).and_then(Hold::for_from_wire))?;
        } else if is("HOLDUNTIL") {
            let time = text(value).and_then(UtcTime::from_wire);
            once(&mut parameters.hold, "HOLDUNTIL", at, time.map(Hold::Until))?;
        } else if is("BY") {
            once(&mut parameters.deliver_by, "BY", at, text(value).and_then(DeliverBy::from_wire))?;
        } else if is("MT-PRIORITY") {
            once(&mut parameters.priority, "MT-PRIORITY", at, text(value).and_then(Priority::from_wire))?;
        } else if is("REQUIRETLS") {
            if value.is_some() || parameters.require_tls {
                return fail(at, Rule::ParameterValue("REQUIRETLS"));
            }
            parameters.require_tls = true;
        } else {
            return fail(at, Rule::UnknownParameter);
        }
        rest = behind;
    }
    Ok((rest, parameters))
}

/// `Rcpt-parameters = esmtp-param *(SP esmtp-param)`, to the end of the line.
pub(crate) fn rcpt_parameters(mut rest: &[u8]) -> Parsed<'_, RcptParameters> {
    let mut parameters = RcptParameters::default();
    while !rest.is_empty() {
        let (behind, (keyword, value)) = esmtp_param(rest)?;
        let at = rest.trim_ascii_start();
        if keyword.eq_ignore_ascii_case(b"NOTIFY") {
            once(&mut parameters.notify, "NOTIFY", at, text(value).and_then(Notify::from_wire))?;
        } else if keyword.eq_ignore_ascii_case(b"ORCPT") {
            once(&mut parameters.orcpt, "ORCPT", at, value.and_then(orcpt_value))?;
        } else {
            return fail(at, Rule::UnknownParameter);
        }
        rest = behind;
    }
    Ok((rest, parameters))
}

/// A parameter stands once, with a value that it can have.
fn once<'a, T>(
    place: &mut Option<T>,
    keyword: &'static str,
    at: &'a [u8],
    value: Option<T>,
) -> Result<(), nom::Err<Expected<'a>>> {
    match value {
        Some(value) if place.is_none() => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(nom::Err::Failure(Expected { at, rule: Rule::ParameterValue(keyword) })),
    }
}

/// `size-value ::= 1*20DIGIT` (RFC 1870 §3), `chunk-size ::= 1*DIGIT` (RFC 3030 §2). A number over 2^64-1 is that.
pub(crate) fn number20(rest: &[u8]) -> Parsed<'_, u64> {
    let (behind, digits) = take_while1(|octet: u8| octet.is_ascii_digit()).parse(rest)?;
    if digits.len() > 20 {
        return fail(rest, Rule::Named("at most 20 digits"));
    }
    let number =
        digits.iter().fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Ok((behind, number))
}

fn text(value: Option<&[u8]>) -> Option<&str> {
    core::str::from_utf8(value?).ok()
}

fn size_value(value: &[u8]) -> Option<u64> {
    number20(value).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, number)| number)
}

fn body_value(value: &[u8]) -> Option<BodyType> {
    [BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime]
        .into_iter()
        .find(|body| value.eq_ignore_ascii_case(body.as_str().as_bytes()))
}

fn xtext(value: &[u8]) -> Option<Xtext> {
    let text = core::str::from_utf8(value).ok()?;
    (!text.is_empty()).then(|| Xtext::from_wire(text)).flatten()
}

/// RFC 3461 §4.4: at most 100 octets.
fn envid(value: &[u8]) -> Option<Xtext> {
    (value.len() <= 100).then(|| xtext(value)).flatten()
}

/// RFC 3461 §4.2: at most 500 octets, as they stand on the wire.
fn orcpt_value(value: &[u8]) -> Option<OriginalRecipient> {
    if value.len() > 500 {
        return None;
    }
    OriginalRecipient::from_wire(core::str::from_utf8(value).ok()?)
}

/// `limits-param = limit-name-value 0*[SP limit-name-value]` (RFC 9422 §3): names and values. `None` where the basic
/// syntax is not followed, and the whole is to be ignored (RFC 9422 §3.7).
pub(crate) fn limits_param(text: &str) -> Option<Vec<(&str, Option<&str>)>> {
    text.split_ascii_whitespace()
        .map(|limit| {
            let (name, value) = match limit.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (limit, None),
            };
            let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
            let is_value = |octet: u8| octet.is_ascii_graphic() && octet != b';';
            let fits = !name.is_empty()
                && name.bytes().all(is_name)
                && value.is_none_or(|value| !value.is_empty() && value.bytes().all(is_value));
            fits.then_some((name, value))
        })
        .collect()
}
