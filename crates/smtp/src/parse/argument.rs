//! Arguments other than paths and parameters.

use nom::Parser;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::space0;
use wire::{Mechanism, Secret, base64_decode};

use super::{Expected, Parsed, Rule, after_space, fail};
use crate::command::{Argument, HelloName};
use crate::limits::Leniency;
use crate::xclient::ClientFacts;

/// `( Domain / address-literal )` of EHLO, HELO and LHLO (RFC 5321 §4.1.1.1).
pub(super) fn hello_name<'a>(leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, HelloName> {
    const RULE: Rule = Rule::Named("Domain or address-literal");
    let (rest, octets) = after_space(rest).map_err(|_| nom::Err::Failure(Expected { at: rest, rule: RULE }))?;
    let name = core::str::from_utf8(octets).ok().and_then(|text| HelloName::try_from(text).ok());
    match name {
        // LENIENT odd_hello_names: RFC 5321 §4.1.1.1 wants a domain or a literal; clients send what their host is called.
        Some(name) if leniency.odd_hello_names || name.is_proper() => Ok((rest, name)),
        _ => fail(octets, RULE),
    }
}

/// `String` of VRFY, EXPN and ETRN.
pub(super) fn string(rest: &[u8]) -> Parsed<'_, Argument> {
    const RULE: Rule = Rule::Named("String");
    let (behind, octets) = after_space(rest).map_err(|_| nom::Err::Failure(Expected { at: rest, rule: RULE }))?;
    match core::str::from_utf8(octets).ok().and_then(|text| Argument::try_from(text).ok()) {
        Some(argument) => Ok((behind, argument)),
        None => fail(rest, RULE),
    }
}

/// `[ SP String ]` of NOOP and HELP. What cannot be understood is ignored, as RFC 5321 §4.1.1.9 has it for NOOP.
pub(super) fn optional(rest: &[u8]) -> Parsed<'_, Option<Argument>> {
    if rest.first().is_some_and(|octet| *octet != b' ') {
        return fail(rest, Rule::Named("space"));
    }
    Ok(string(rest).map_or((&[], None), |(rest, argument)| (rest, Some(argument))))
}

/// `1*( SP attribute-name "=" attribute-value )` of XCLIENT.
pub(super) fn xclient(rest: &[u8]) -> Parsed<'_, ClientFacts> {
    const RULE: Rule = Rule::Named("attribute-name=attribute-value");
    let (_, mut rest) = after_space(rest).map_err(|_| nom::Err::Failure(Expected { at: rest, rule: RULE }))?;
    let mut facts = ClientFacts::default();
    while !rest.is_empty() {
        let (behind, pair) = take_while1(|octet| octet != b' ').parse(rest)?;
        let pair = core::str::from_utf8(pair).ok().and_then(|pair| pair.split_once('='));
        if pair.and_then(|(name, value)| facts.add(name, value)).is_none() {
            return fail(rest, RULE);
        }
        (rest, _) = space0(behind)?;
    }
    Ok((rest, facts))
}

/// `sasl-mech = 1*20mech-char` (RFC 4422 §3.1).
pub(super) fn sasl_mech(rest: &[u8]) -> Parsed<'_, Mechanism> {
    let (behind, octets) = take_while(|octet| octet != b' ').parse(rest)?;
    match core::str::from_utf8(octets).ok().and_then(|text| Mechanism::try_from(text).ok()) {
        Some(mechanism) => Ok((behind, mechanism)),
        None => fail(rest, Rule::Named("sasl-mech")),
    }
}

/// `initial-response = base64 / "="` (RFC 4954 §8).
pub(super) fn initial_response(rest: &[u8]) -> Parsed<'_, Secret> {
    let (behind, octets) = take_while1(|octet| octet != b' ').parse(rest)?;
    if octets == b"=" {
        return Ok((behind, Secret::default()));
    }
    match base64_decode(octets) {
        Some(response) => Ok((behind, response)),
        None => fail(rest, Rule::Base64),
    }
}
