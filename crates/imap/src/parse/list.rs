//! LIST and LSUB (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154).

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while1};
use nom::combinator::{map_opt, opt};
use nom::sequence::{preceded, terminated};

use super::command::status_items;
use super::{Mode, Parsed, astring, atom, is_astring_octet, list as parenthesised, sp, string};
use crate::command::{Command, List, StatusItem};
use crate::mailbox;

/// `list-mailbox = 1*list-char / string`, as the name or pattern it stands for.
fn list_mailbox(mode: Mode) -> impl Fn(&[u8]) -> Parsed<'_, String> {
    move |input| {
        let is_list = |octet: u8| is_astring_octet(octet) || matches!(octet, b'%' | b'*');
        let octets = alt((take_while1(is_list).map(<[u8]>::to_vec), string));
        map_opt(octets, |octets| text(&octets, mode)).parse(input)
    }
}

fn reference(mode: Mode) -> impl Fn(&[u8]) -> Parsed<'_, String> {
    move |input| map_opt(astring, |octets| text(&octets, mode)).parse(input)
}

fn text(octets: &[u8], mode: Mode) -> Option<String> {
    if !mode.utf8
        && let Some(name) = mailbox::decode(octets)
    {
        return Some(name);
    }
    String::from_utf8(octets.to_vec()).ok()
}

#[derive(Clone)]
enum Return {
    Subscribed,
    Children,
    SpecialUse,
    Status(Vec<StatusItem>),
}

/// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`
pub(super) fn list(input: &[u8], mode: Mode) -> Parsed<'_, Command> {
    let select = opt(terminated(parenthesised(atom.map(str::to_ascii_uppercase)), sp));
    let patterns = alt((parenthesised(list_mailbox(mode)), list_mailbox(mode).map(|pattern| vec![pattern])));
    let status = preceded((tag_no_case("STATUS"), sp), status_items).map(Return::Status);
    let returned = alt((
        status,
        tag_no_case("SUBSCRIBED").map(|_| Return::Subscribed),
        tag_no_case("CHILDREN").map(|_| Return::Children),
        tag_no_case("SPECIAL-USE").map(|_| Return::SpecialUse),
    ));
    let returns = opt(preceded((sp, tag_no_case("RETURN"), sp), parenthesised(returned)));
    let whole = (preceded(sp, select), terminated(reference(mode), sp), patterns, returns);
    map_opt(whole, |(select, reference, patterns, returns)| {
        let mut list = List {
            extended: select.is_some() || returns.is_some() || patterns.len() > 1,
            reference,
            patterns,
            ..List::default()
        };
        for option in select.unwrap_or_default() {
            match option.as_str() {
                "SUBSCRIBED" => list.select_subscribed = true,
                "RECURSIVEMATCH" => list.recursive_match = true,
                "SPECIAL-USE" => list.select_special_use = true,
                "REMOTE" => {}
                _ => return None,
            }
        }
        for option in returns.unwrap_or_default() {
            match option {
                Return::Subscribed => list.return_subscribed = true,
                Return::Children => list.return_children = true,
                Return::SpecialUse => list.return_special_use = true,
                Return::Status(items) => list.return_status = items,
            }
        }
        // RFC 5258 §3.1: RECURSIVEMATCH alone selects nothing.
        (!list.recursive_match || list.select_subscribed).then_some(Command::List(list))
    })
    .parse(input)
}

/// `lsub = "LSUB" SP mailbox SP list-mailbox` (RFC 3501 §6.3.9)
pub(super) fn lsub(input: &[u8], mode: Mode) -> Parsed<'_, Command> {
    (preceded(sp, reference(mode)), preceded(sp, list_mailbox(mode)))
        .map(|(reference, pattern)| Command::Lsub { reference, pattern })
        .parse(input)
}
