//! Commands (RFC 9051 §6, §9 `command`). Each takes its whole unit, the last CRLF cut off.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, map_opt, opt};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded};

use super::{
    Mode, Parsed, astring, astring_text, atom, flag_list, is_astring_octet, list, mailbox, nstring_text, number64,
    nz_number, sequence_set, sp, string,
};
use super::{fetch, list as list_command, search};
use crate::command::{Command, Copy, Qresync, Select, StatusItem, Store, StoreOperation, Tag};
use crate::error::{CommandError, CommandErrorKind};
use wire::{Secret, base64_decode};

/// `tag = 1*<any ASTRING-CHAR except "+">`
pub(crate) fn tag(input: &[u8]) -> Parsed<'_, Tag> {
    let is_tag = |octet: u8| is_astring_octet(octet) && octet != b'+';
    map_opt(take_while1(is_tag), |octets| Some(Tag(std::str::from_utf8(octets).ok()?.to_owned()))).parse(input)
}

/// `command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF`
///
/// # Errors
/// What is wrong, and the tag if there was one.
pub fn command(input: &[u8], mode: Mode) -> Result<(Tag, Command), CommandError> {
    let (rest, tag) = tag(input).map_err(|_| CommandError { tag: None, kind: CommandErrorKind::Tag })?;
    let wrong = |kind| CommandError { tag: Some(tag.clone()), kind };
    let at = |rest: &[u8]| input.len() - rest.len();
    let (rest, ()) = sp(rest).map_err(|_| wrong(CommandErrorKind::Syntax { at: at(rest) }))?;
    let (rest, mut name) = atom(rest).map_err(|_| wrong(CommandErrorKind::Syntax { at: at(rest) }))?;
    let mut arguments = rest;
    let mut uid = false;
    if name.eq_ignore_ascii_case("UID") {
        uid = true;
        (arguments, name) =
            preceded(sp, atom).parse(rest).map_err(|_| wrong(CommandErrorKind::Syntax { at: at(rest) }))?;
    }
    if name.eq_ignore_ascii_case("SEARCH") {
        return match search::search(arguments, uid, mode) {
            Ok(search) => Ok((tag, Command::Search(search))),
            Err(search::Refused::Kind(kind)) => Err(wrong(kind)),
            Err(search::Refused::At(left)) => Err(wrong(CommandErrorKind::Syntax { at: input.len() - left })),
        };
    }
    match arguments_of(name, uid, arguments, mode) {
        None => Err(wrong(CommandErrorKind::Unknown)),
        Some(Ok((_, command))) => Ok((tag, command)),
        Some(Err(nom::Err::Error(error) | nom::Err::Failure(error))) => {
            Err(wrong(CommandErrorKind::Syntax { at: at(error.input) }))
        }
        Some(Err(nom::Err::Incomplete(_))) => Err(wrong(CommandErrorKind::Syntax { at: input.len() })),
    }
}

fn arguments_of<'a>(name: &str, uid: bool, input: &'a [u8], mode: Mode) -> Option<Parsed<'a, Command>> {
    let end = |command: Command| all_consuming(nom::combinator::success(command)).parse(input);
    let upper = name.to_ascii_uppercase();
    if uid {
        return Some(match upper.as_str() {
            "FETCH" => all_consuming(|input| fetch::fetch(input, true)).parse(input),
            "STORE" => all_consuming(|input| store(input, true)).parse(input),
            "COPY" => all_consuming(|input| copy(input, true, false, mode)).parse(input),
            "MOVE" => all_consuming(|input| copy(input, true, true, mode)).parse(input),
            "EXPUNGE" => all_consuming(preceded(sp, sequence_set)).map(|set| Command::Expunge(Some(set))).parse(input),
            _ => return None,
        });
    }
    Some(match upper.as_str() {
        "CAPABILITY" => end(Command::Capability),
        "NOOP" => end(Command::Noop),
        "LOGOUT" => end(Command::Logout),
        "STARTTLS" => end(Command::StartTls),
        "NAMESPACE" => end(Command::Namespace),
        "IDLE" => end(Command::Idle),
        "CHECK" => end(Command::Check),
        "CLOSE" => end(Command::Close),
        "UNSELECT" => end(Command::Unselect),
        "EXPUNGE" => end(Command::Expunge(None)),
        "ID" => all_consuming(id).parse(input),
        "AUTHENTICATE" => all_consuming(authenticate).parse(input),
        "LOGIN" => all_consuming(login).parse(input),
        "ENABLE" => all_consuming(enable).parse(input),
        "SELECT" => all_consuming(|input| select(input, false, mode)).parse(input),
        "EXAMINE" => all_consuming(|input| select(input, true, mode)).parse(input),
        "CREATE" => all_consuming(|input| create(input, mode)).parse(input),
        "DELETE" => all_consuming(preceded(sp, mailbox(mode))).map(Command::Delete).parse(input),
        "SUBSCRIBE" => all_consuming(preceded(sp, mailbox(mode))).map(Command::Subscribe).parse(input),
        "UNSUBSCRIBE" => all_consuming(preceded(sp, mailbox(mode))).map(Command::Unsubscribe).parse(input),
        "RENAME" => all_consuming((preceded(sp, mailbox(mode)), preceded(sp, mailbox(mode))))
            .map(|(from, to)| Command::Rename { from, to })
            .parse(input),
        "LIST" => all_consuming(|input| list_command::list(input, mode)).parse(input),
        "LSUB" => all_consuming(|input| list_command::lsub(input, mode)).parse(input),
        "STATUS" => all_consuming((preceded(sp, mailbox(mode)), preceded(sp, status_items)))
            .map(|(mailbox, items)| Command::Status { mailbox, items })
            .parse(input),
        "FETCH" => all_consuming(|input| fetch::fetch(input, false)).parse(input),
        "STORE" => all_consuming(|input| store(input, false)).parse(input),
        "COPY" => all_consuming(|input| copy(input, false, false, mode)).parse(input),
        "MOVE" => all_consuming(|input| copy(input, false, true, mode)).parse(input),
        _ => return None,
    })
}

/// A line that answers a continuation request in AUTHENTICATE: base64, or `*` to give up (`None`).
///
/// # Errors
/// It is neither.
pub fn continuation(line: &[u8]) -> Result<Option<Secret>, CommandErrorKind> {
    if line == b"*" {
        return Ok(None);
    }
    base64_decode(line).map(Some).ok_or(CommandErrorKind::Syntax { at: 0 })
}

/// `id = "ID" SP id-params-list` (RFC 2971 §4)
fn id(input: &[u8]) -> Parsed<'_, Command> {
    let text = map_opt(string, |octets| String::from_utf8(octets).ok());
    let pair = (text, preceded(sp, nstring_text));
    let pairs = alt((list(pair), tag_no_case("NIL").map(|_| Vec::new())));
    preceded(sp, pairs).map(Command::Id).parse(input)
}

/// `authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp]`
fn authenticate(input: &[u8]) -> Parsed<'_, Command> {
    let is_base64 = |octet: u8| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet);
    // RFC 4959 §3: `=` is the empty response.
    let decode = |octets: &[u8]| if octets == b"=" { Some(Secret::default()) } else { base64_decode(octets) };
    let initial = opt(preceded(sp, map_opt(take_while1(is_base64), decode)));
    (preceded(sp, atom), initial)
        .map(|(mechanism, initial_response)| Command::Authenticate {
            mechanism: mechanism.to_ascii_uppercase(),
            initial_response,
        })
        .parse(input)
}

/// `login = "LOGIN" SP userid SP password`
fn login(input: &[u8]) -> Parsed<'_, Command> {
    (preceded(sp, astring_text), preceded(sp, astring))
        .map(|(user, password)| Command::Login { user, password: Secret::new(password) })
        .parse(input)
}

/// `enable = "ENABLE" 1*(SP capability)`
fn enable(input: &[u8]) -> Parsed<'_, Command> {
    preceded(sp, separated_list1(sp, atom.map(str::to_ascii_uppercase))).map(Command::Enable).parse(input)
}

/// `select = "SELECT" SP mailbox [select-params]` (RFC 4466 §2.4, RFC 7162 §7)
fn select(input: &[u8], read_only: bool, mode: Mode) -> Parsed<'_, Command> {
    #[derive(Clone)]
    enum Parameter {
        Condstore,
        Qresync(Qresync),
    }
    let known = |input| {
        // The message sequence match data that may follow are of no use here (RFC 7162 §3.2.5.2 lets us).
        let matched = delimited(char('('), (sequence_set, preceded(sp, sequence_set)), char(')'));
        let parameters =
            (nz_number, preceded(sp, number64), opt(preceded(sp, sequence_set)), opt(preceded(sp, matched)));
        delimited(char('('), parameters, char(')'))
            .map(|(uid_validity, mod_seq, known, _)| Parameter::Qresync(Qresync { uid_validity, mod_seq, known }))
            .parse(input)
    };
    let parameter =
        alt((tag_no_case("CONDSTORE").map(|_| Parameter::Condstore), preceded((tag_no_case("QRESYNC"), sp), known)));
    let (rest, (mailbox, parameters)) =
        (preceded(sp, mailbox(mode)), opt(preceded(sp, list(parameter)))).parse(input)?;
    let mut select = Select { mailbox, read_only, condstore: false, qresync: None };
    for parameter in parameters.unwrap_or_default() {
        match parameter {
            Parameter::Condstore => select.condstore = true,
            Parameter::Qresync(qresync) => (select.condstore, select.qresync) = (true, Some(qresync)),
        }
    }
    Ok((rest, Command::Select(select)))
}

/// `create = "CREATE" SP mailbox [create-params]` (RFC 6154 §6)
fn create(input: &[u8], mode: Mode) -> Parsed<'_, Command> {
    let special_use = preceded(char('\\'), atom.map(str::to_owned));
    let parameters = delimited((sp, tag_no_case("(USE"), sp), list(special_use), char(')'));
    (preceded(sp, mailbox(mode)), opt(parameters))
        .map(|(mailbox, special_use)| Command::Create { mailbox, special_use: special_use.unwrap_or_default() })
        .parse(input)
}

/// `"(" status-att *(SP status-att) ")"`
pub(super) fn status_items(input: &[u8]) -> Parsed<'_, Vec<StatusItem>> {
    let item = map_opt(atom, |name| {
        StatusItem::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(item, _)| *item)
    });
    list(item).parse(input)
}

/// `store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags`
fn store(input: &[u8], uid: bool) -> Parsed<'_, Command> {
    let modifier = delimited((char('('), tag_no_case("UNCHANGEDSINCE"), sp), number64, char(')'));
    let operation = alt((
        char('+').map(|_| StoreOperation::Add),
        char('-').map(|_| StoreOperation::Remove),
        nom::combinator::success(StoreOperation::Replace),
    ));
    let silent = opt(tag_no_case(".SILENT")).map(|silent| silent.is_some());
    let flags = alt((flag_list, separated_list1(sp, super::flag)));
    (
        preceded(sp, sequence_set),
        opt(preceded(sp, modifier)),
        preceded(sp, operation),
        preceded(tag_no_case("FLAGS"), silent),
        preceded(sp, flags),
    )
        .map(|(set, unchanged_since, operation, silent, flags)| {
            Command::Store(Store { uid, set, operation, silent, flags, unchanged_since })
        })
        .parse(input)
}

/// `copy = "COPY" SP sequence-set SP mailbox`; `move` likewise (RFC 6851 §4)
fn copy(input: &[u8], uid: bool, moves: bool, mode: Mode) -> Parsed<'_, Command> {
    (preceded(sp, sequence_set), preceded(sp, mailbox(mode)))
        .map(|(set, mailbox)| Command::Copy(Copy { uid, moves, set, mailbox }))
        .parse(input)
}
