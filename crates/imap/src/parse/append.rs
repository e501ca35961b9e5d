//! APPEND up to the literal of a message (RFC 9051 §6.3.12, RFC 3502, RFC 9755 §4).

use nom::Parser;
use nom::bytes::complete::tag_no_case;
use nom::combinator::{all_consuming, opt};
use nom::sequence::{preceded, terminated};

use super::{Mode, date_time, flag_list, mailbox, sp};
use crate::command::{Append, Tag};
use crate::parse::command::tag;

/// What stands before a message's literal, whose announcement has been cut off: `tag SP "APPEND" SP mailbox [SP
/// flag-list] [SP date-time] SP ["UTF8" SP "("]` for the first message, the same without tag and mailbox for the others.
/// `None`: this is no APPEND.
#[must_use]
pub fn append(input: &[u8], mode: Mode) -> Option<(Option<Tag>, Option<Append>)> {
    let (rest, tag) = terminated(tag, (sp, tag_no_case("APPEND"), sp)).parse(input).ok()?;
    let message = (terminated(mailbox(mode), sp), options).map(|(mailbox, mut append)| {
        append.mailbox = Some(mailbox);
        append
    });
    Some((Some(tag), all_consuming(message).parse(rest).ok().map(|(_, append)| append)))
}

/// What stands before the literal of a second or later message (RFC 3502 §6.3.11).
#[must_use]
pub(crate) fn next_message(input: &[u8]) -> Option<Append> {
    all_consuming(preceded(sp, options)).parse(input).ok().map(|(_, append)| append)
}

fn options(input: &[u8]) -> super::Parsed<'_, Append> {
    let flags = opt(terminated(flag_list, sp));
    let date = opt(terminated(date_time, sp));
    let utf8 = opt((tag_no_case("UTF8"), sp, tag_no_case("(")));
    (flags, date, utf8)
        .map(|(flags, date, utf8)| Append {
            mailbox: None,
            flags: flags.unwrap_or_default(),
            date,
            utf8: utf8.is_some(),
        })
        .parse(input)
}
