//! FETCH (RFC 9051 §6.4.5, RFC 3516, RFC 7162, RFC 8474, RFC 8514, RFC 8970).

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::character::complete::char;
use nom::combinator::{map_opt, opt};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded};

use super::{Parsed, astring_text, list, number, number64, nz_number, sequence_set, sp};
use crate::command::{Command, Fetch, FetchItem, Section, SectionForm, SectionText};
use crate::limits::MAX_PARTS;

/// `fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
/// [fetch-modifiers]`
pub(super) fn fetch(input: &[u8], uid: bool) -> Parsed<'_, Command> {
    enum Modifier {
        ChangedSince(u64),
        Vanished,
    }
    let modifier = alt((
        preceded((tag_no_case("CHANGEDSINCE"), sp), number64).map(Modifier::ChangedSince),
        tag_no_case("VANISHED").map(|_| Modifier::Vanished),
    ));
    let items = alt((macros, list(item), item.map(|item| vec![item])));
    let whole = (preceded(sp, sequence_set), preceded(sp, items), opt(preceded(sp, list(modifier))));
    map_opt(whole, |(set, items, modifiers)| {
        let mut fetch = Fetch { uid, set, items, changed_since: None, vanished: false };
        for modifier in modifiers.unwrap_or_default() {
            match modifier {
                Modifier::ChangedSince(mod_seq) => fetch.changed_since = Some(mod_seq),
                Modifier::Vanished => fetch.vanished = true,
            }
        }
        // RFC 7162 §3.2.6: VANISHED goes with UID FETCH and CHANGEDSINCE.
        let sound = !fetch.items.is_empty() && (!fetch.vanished || (uid && fetch.changed_since.is_some()));
        sound.then_some(Command::Fetch(fetch))
    })
    .parse(input)
}

fn macros(input: &[u8]) -> Parsed<'_, Vec<FetchItem>> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Rfc822Size};
    alt((
        tag_no_case("ALL").map(|_| vec![Flags, InternalDate, Rfc822Size, Envelope]),
        tag_no_case("FAST").map(|_| vec![Flags, InternalDate, Rfc822Size]),
        tag_no_case("FULL").map(|_| vec![Flags, InternalDate, Rfc822Size, Envelope, Body]),
    ))
    .parse(input)
}

/// `fetch-att`
fn item(input: &[u8]) -> Parsed<'_, FetchItem> {
    let rfc822 = |form, text, peek| FetchItem::Section {
        form,
        peek,
        section: Section { part: Vec::new(), text },
        partial: None,
    };
    alt((
        alt((
            section,
            binary,
            tag_no_case("BODYSTRUCTURE").map(|_| FetchItem::BodyStructure),
            tag_no_case("BODY").map(|_| FetchItem::Body),
            tag_no_case("UID").map(|_| FetchItem::Uid),
            tag_no_case("FLAGS").map(|_| FetchItem::Flags),
            tag_no_case("INTERNALDATE").map(|_| FetchItem::InternalDate),
            tag_no_case("ENVELOPE").map(|_| FetchItem::Envelope),
        )),
        alt((
            tag_no_case("RFC822.SIZE").map(|_| FetchItem::Rfc822Size),
            tag_no_case("RFC822.HEADER").map(move |_| rfc822(SectionForm::Rfc822Header, SectionText::Header, true)),
            tag_no_case("RFC822.TEXT").map(move |_| rfc822(SectionForm::Rfc822Text, SectionText::Text, false)),
            tag_no_case("RFC822").map(move |_| rfc822(SectionForm::Rfc822, SectionText::Full, false)),
            tag_no_case("MODSEQ").map(|_| FetchItem::ModSeq),
            tag_no_case("SAVEDATE").map(|_| FetchItem::SaveDate),
            tag_no_case("EMAILID").map(|_| FetchItem::EmailId),
            tag_no_case("THREADID").map(|_| FetchItem::ThreadId),
            preceded(tag_no_case("PREVIEW"), opt((sp, tag_no_case("(LAZY)")))).map(|_| FetchItem::Preview),
        )),
    ))
    .parse(input)
}

/// `"BODY" [".PEEK"] section [partial]`
fn section(input: &[u8]) -> Parsed<'_, FetchItem> {
    let peek = opt(tag_no_case(".PEEK")).map(|peek| peek.is_some());
    (preceded(tag_no_case("BODY"), peek), delimited(char('['), section_spec, char(']')), opt(partial))
        .map(|(peek, section, partial)| FetchItem::Section { form: SectionForm::Body, peek, section, partial })
        .parse(input)
}

/// `"BINARY" [".PEEK"] section-binary [partial]` and `"BINARY.SIZE" section-binary` (RFC 3516 §7)
fn binary(input: &[u8]) -> Parsed<'_, FetchItem> {
    let parts = || delimited(char('['), opt(section_part).map(Option::unwrap_or_default), char(']'));
    let size = preceded(tag_no_case("BINARY.SIZE"), parts()).map(FetchItem::BinarySize);
    let peek = opt(tag_no_case(".PEEK")).map(|peek| peek.is_some());
    let content = (preceded(tag_no_case("BINARY"), peek), parts(), opt(partial)).map(|(peek, part, partial)| {
        let section = Section { part, text: SectionText::Full };
        FetchItem::Section { form: SectionForm::Binary, peek, section, partial }
    });
    alt((size, content)).parse(input)
}

/// `partial = "<" number "." nz-number ">"`
fn partial(input: &[u8]) -> Parsed<'_, (u32, u32)> {
    delimited(char('<'), (number, preceded(char('.'), nz_number)), char('>')).parse(input)
}

/// `section-part = nz-number *("." nz-number)`
fn section_part(input: &[u8]) -> Parsed<'_, Vec<u32>> {
    map_opt(separated_list1(char('.'), nz_number), |part| (part.len() <= MAX_PARTS).then_some(part)).parse(input)
}

/// `section-spec = section-msgtext / (section-part ["." section-text])`
fn section_spec(input: &[u8]) -> Parsed<'_, Section> {
    let (rest, part) = opt(section_part).parse(input)?;
    let Some(part) = part else {
        let (rest, text) = opt(section_msgtext).parse(rest)?;
        return Ok((rest, Section { part: Vec::new(), text: text.unwrap_or_default() }));
    };
    let mime = tag_no_case("MIME").map(|_| SectionText::Mime);
    let (rest, text) = opt(preceded(char('.'), alt((mime, section_msgtext)))).parse(rest)?;
    Ok((rest, Section { part, text: text.unwrap_or_default() }))
}

/// `section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"`
fn section_msgtext(input: &[u8]) -> Parsed<'_, SectionText> {
    // No field has a name beyond these (RFC 5322 §3.6.8); a line break would come back in the response (rule 18).
    let is_name = |name: &String| name.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    let header_list = || {
        map_opt(preceded(sp, list(astring_text)), move |names: Vec<String>| {
            (!names.is_empty() && names.iter().all(is_name)).then_some(names)
        })
    };
    alt((
        preceded(tag_no_case("HEADER.FIELDS.NOT"), header_list()).map(SectionText::HeaderFieldsNot),
        preceded(tag_no_case("HEADER.FIELDS"), header_list()).map(SectionText::HeaderFields),
        tag_no_case("HEADER").map(|_| SectionText::Header),
        tag_no_case("TEXT").map(|_| SectionText::Text),
    ))
    .parse(input)
    .and_then(|(rest, text)| {
        // The name ends here, so that `HEADERS` is none.
        tag::<_, _, nom::error::Error<&[u8]>>("]").parse(rest)?;
        Ok((rest, text))
    })
}
