//! Paths in MAIL and RCPT (RFC 5321 §4.1.2, RFC 6531 §3.3). What stands between the angle brackets is `address`'s.

use address::{ForwardPath, ReversePath};
use nom::Parser;
use nom::bytes::complete::tag_no_case;
use nom::character::complete::{space0, space1};
use nom::sequence::preceded;

use super::{Parsed, Rule, fail, named};
use crate::limits::Leniency;

/// The space, the introduction (`FROM:`, `TO:`), and the gap behind it.
pub(super) fn introduced_by<'a>(word: &'static str, leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, ()> {
    let (rest, _) = preceded(named("space", space1), named(word, tag_no_case(word.as_bytes()))).parse(rest)?;
    // LENIENT space_after_colon: RFC 5321 §3.3 forbids the space, common clients send it.
    if leniency.space_after_colon {
        let (rest, _) = space0(rest)?;
        return Ok((rest, ()));
    }
    Ok((rest, ()))
}

/// `Reverse-path = Path / "<>"`
pub(super) fn reverse_path<'a>(leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, ReversePath> {
    let (behind, path) = path(leniency, rest)?;
    match core::str::from_utf8(path).ok().and_then(|text| ReversePath::parse(text).ok()) {
        Some(path) => Ok((behind, path)),
        None => fail(rest, Rule::Path),
    }
}

/// `Forward-path = Path`, or `<Postmaster>` (RFC 5321 §4.1.1.3).
pub(super) fn forward_path<'a>(leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, ForwardPath> {
    let (behind, path) = path(leniency, rest)?;
    match core::str::from_utf8(path).ok().and_then(|text| ForwardPath::parse(text).ok()) {
        Some(path) => Ok((behind, path)),
        None => fail(rest, Rule::Path),
    }
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`: what stands between the brackets. A `>` in a quoted string is none.
fn path<'a>(leniency: &Leniency, rest: &'a [u8]) -> Parsed<'a, &'a [u8]> {
    let bracketed = rest.first() == Some(&b'<');
    // LENIENT missing_brackets: RFC 5321 §4.1.2 demands them; small devices leave them out.
    if !bracketed && !leniency.missing_brackets {
        return fail(rest, Rule::Path);
    }
    let start = usize::from(bracketed);
    let inner = rest.get(start..).unwrap_or_default();
    let Some(end) = end_of_path(inner, bracketed) else {
        return fail(rest, Rule::Path);
    };
    let (path, behind) = inner.split_at(end);
    let behind = if bracketed { behind.get(1..).unwrap_or_default() } else { behind };
    let gap = behind.is_empty() || behind.first() == Some(&b' ');
    if !gap || (path.is_empty() && !bracketed) {
        return fail(rest, Rule::Path);
    }
    Ok((behind, path))
}

/// Where the path ends: at the `>`, or without brackets at a space or the end.
fn end_of_path(inner: &[u8], bracketed: bool) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, octet) in inner.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if bracketed && !quoted => return Some(at),
            b' ' if !bracketed && !quoted => return Some(at),
            _ => {}
        }
    }
    (!bracketed && !quoted).then_some(inner.len())
}
