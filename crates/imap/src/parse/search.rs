//! SEARCH (RFC 9051 §6.4.4, RFC 4731, RFC 5032, RFC 5182, RFC 7162, RFC 8474, RFC 8514).
//!
//! By hand over the other rules: the nesting has a limit, and a charset changes how strings are read.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while1};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::sequence::{preceded, terminated};

use super::{Mode, Parsed, astring, atom, date, is_atom_octet, list, number64, nz_number, sequence_set, sp};
use crate::command::{DateTest, Search, SearchKey, SearchReturn};
use crate::error::CommandErrorKind;
use crate::limits::{MAX_SEARCH_DEPTH, MAX_SEARCH_KEYS};

/// Why it is no SEARCH.
pub(super) enum Refused {
    /// For this reason.
    Kind(CommandErrorKind),
    /// The syntax is wrong where so many octets are left.
    At(usize),
}

impl From<nom::Err<nom::error::Error<&[u8]>>> for Refused {
    fn from(error: nom::Err<nom::error::Error<&[u8]>>) -> Self {
        match error {
            nom::Err::Error(error) | nom::Err::Failure(error) => Self::At(error.input.len()),
            nom::Err::Incomplete(_) => Self::At(0),
        }
    }
}

/// `search = "SEARCH" [search-return-opts] SP search-program`
pub(super) fn search(input: &[u8], uid: bool, _mode: Mode) -> Result<Search, Refused> {
    let returned = alt((
        tag_no_case("MIN").map(|_| SearchReturn::Min),
        tag_no_case("MAX").map(|_| SearchReturn::Max),
        tag_no_case("ALL").map(|_| SearchReturn::All),
        tag_no_case("COUNT").map(|_| SearchReturn::Count),
        tag_no_case("SAVE").map(|_| SearchReturn::Save),
    ));
    let (rest, returns) = opt(preceded((sp, tag_no_case("RETURN"), sp), list(returned))).parse(input)?;
    let (mut rest, charset) =
        opt(preceded((sp, tag_no_case("CHARSET"), sp), astring)).parse(rest).map_err(Refused::from)?;
    if let Some(charset) = charset
        && ![&b"UTF-8"[..], b"US-ASCII"].iter().any(|known| charset.eq_ignore_ascii_case(known))
    {
        return Err(Refused::Kind(CommandErrorKind::Charset));
    }
    let mut keys = Keys { left: MAX_SEARCH_KEYS };
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (behind, ()) = sp(rest)?;
        let (behind, key) = keys.key(behind, 0)?;
        all.push(key);
        rest = behind;
    }
    let key = match all.len() {
        0 => return Err(Refused::At(0)),
        1 => all.remove(0),
        _ => SearchKey::And(all),
    };
    // RFC 4731 §3.1: an empty list means ALL.
    let returns = returns.map(|returns| if returns.is_empty() { vec![SearchReturn::All] } else { returns });
    Ok(Search { uid, returns, key })
}

struct Keys {
    left: usize,
}

impl Keys {
    /// `search-key`
    fn key<'a>(&mut self, input: &'a [u8], depth: usize) -> Result<(&'a [u8], SearchKey), Refused> {
        if depth > MAX_SEARCH_DEPTH {
            let (limit, what) = (MAX_SEARCH_DEPTH, "levels of search keys");
            return Err(Refused::Kind(CommandErrorKind::Limit { limit, what }));
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(Refused::Kind(CommandErrorKind::Limit { limit: MAX_SEARCH_KEYS, what: "search keys" }))?;
        if let Some(mut rest) = input.strip_prefix(b"(") {
            let mut all = Vec::new();
            loop {
                let (behind, key) = self.key(rest, depth + 1)?;
                all.push(key);
                if let Some(behind) = behind.strip_prefix(b")") {
                    return Ok((behind, SearchKey::And(all)));
                }
                rest = sp(behind)?.0;
            }
        }
        if input.first().is_some_and(|octet| octet.is_ascii_digit() || matches!(octet, b'*' | b'$')) {
            let (rest, set) = sequence_set(input)?;
            return Ok((rest, SearchKey::Sequence(set)));
        }
        let (rest, name) = atom(input)?;
        match name.to_ascii_uppercase().as_str() {
            "NOT" => {
                let (rest, key) = self.key(sp(rest)?.0, depth + 1)?;
                Ok((rest, SearchKey::Not(Box::new(key))))
            }
            "OR" => {
                let (rest, left) = self.key(sp(rest)?.0, depth + 1)?;
                let (rest, right) = self.key(sp(rest)?.0, depth + 1)?;
                Ok((rest, SearchKey::Or(Box::new(left), Box::new(right))))
            }
            name => Ok(simple(name, rest)?),
        }
    }
}

/// The keys that hold no others.
fn simple<'a>(name: &str, rest: &'a [u8]) -> Parsed<'a, SearchKey> {
    let flag = |flag: &str, set: bool| Ok((rest, SearchKey::Flag(flag.to_owned(), set)));
    let header = |name: &str| {
        let name = name.to_ascii_lowercase();
        preceded(sp, text).map(move |value| SearchKey::Header(name.clone(), value)).parse(rest)
    };
    let keyword = |set: bool| {
        let octets = take_while1(is_atom_octet);
        preceded(sp, octets)
            .map(move |octets: &[u8]| SearchKey::Flag(String::from_utf8_lossy(octets).into_owned(), set))
            .parse(rest)
    };
    let dated = |key: fn(DateTest, jiff::civil::Date) -> SearchKey, test| {
        preceded(sp, date).map(move |date| key(test, date)).parse(rest)
    };
    match name {
        "ALL" => Ok((rest, SearchKey::All)),
        "ANSWERED" => flag("\\Answered", true),
        "UNANSWERED" => flag("\\Answered", false),
        "DELETED" => flag("\\Deleted", true),
        "UNDELETED" => flag("\\Deleted", false),
        "DRAFT" => flag("\\Draft", true),
        "UNDRAFT" => flag("\\Draft", false),
        "FLAGGED" => flag("\\Flagged", true),
        "UNFLAGGED" => flag("\\Flagged", false),
        "SEEN" => flag("\\Seen", true),
        "UNSEEN" => flag("\\Seen", false),
        "RECENT" => Ok((rest, SearchKey::Recent)),
        "OLD" => Ok((rest, SearchKey::Not(Box::new(SearchKey::Recent)))),
        "NEW" => {
            let unseen = SearchKey::Flag("\\Seen".into(), false);
            Ok((rest, SearchKey::And(vec![SearchKey::Recent, unseen])))
        }
        "KEYWORD" => keyword(true),
        "UNKEYWORD" => keyword(false),
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => header(name),
        "HEADER" => (preceded(sp, text), preceded(sp, text))
            .map(|(name, value)| SearchKey::Header(name.to_ascii_lowercase(), value))
            .parse(rest),
        "BODY" => preceded(sp, text).map(SearchKey::Body).parse(rest),
        "TEXT" => preceded(sp, text).map(SearchKey::Text).parse(rest),
        "BEFORE" => dated(SearchKey::Internal, DateTest::Before),
        "ON" => dated(SearchKey::Internal, DateTest::On),
        "SINCE" => dated(SearchKey::Internal, DateTest::Since),
        "SENTBEFORE" => dated(SearchKey::Sent, DateTest::Before),
        "SENTON" => dated(SearchKey::Sent, DateTest::On),
        "SENTSINCE" => dated(SearchKey::Sent, DateTest::Since),
        "SAVEDBEFORE" => dated(SearchKey::Saved, DateTest::Before),
        "SAVEDON" => dated(SearchKey::Saved, DateTest::On),
        "SAVEDSINCE" => dated(SearchKey::Saved, DateTest::Since),
        "SAVEDATESUPPORTED" => Ok((rest, SearchKey::SaveDateSupported)),
        "LARGER" => preceded(sp, number64).map(SearchKey::Larger).parse(rest),
        "SMALLER" => preceded(sp, number64).map(SearchKey::Smaller).parse(rest),
        "OLDER" => preceded(sp, nz_number).map(SearchKey::Older).parse(rest),
        "YOUNGER" => preceded(sp, nz_number).map(SearchKey::Younger).parse(rest),
        "UID" => preceded(sp, sequence_set).map(SearchKey::Uid).parse(rest),
        "EMAILID" => preceded(sp, text).map(SearchKey::EmailId).parse(rest),
        "THREADID" => preceded(sp, text).map(SearchKey::ThreadId).parse(rest),
        "MODSEQ" => {
            // RFC 7162 §3.1.5: the entry's name and type change nothing here, where flags share one mod-sequence.
            let entry =
                terminated(astring, (sp, alt((tag_no_case("all"), tag_no_case("priv"), tag_no_case("shared")))));
            preceded((sp, opt(terminated(preceded(nom::combinator::peek(char('"')), entry), sp))), number64)
                .map(SearchKey::ModSeq)
                .parse(rest)
        }
        _ => Err(nom::Err::Error(nom::error::Error::new(rest, nom::error::ErrorKind::Alt))),
    }
}

/// A string to look for; octets that are no UTF-8 match nothing, so they are replaced.
fn text(input: &[u8]) -> Parsed<'_, String> {
    astring.map(|octets| String::from_utf8_lossy(&octets).into_owned()).parse(input)
}
