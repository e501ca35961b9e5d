//! Compares our reading of messages with `mail-parser`'s, over every `*.eml` below a folder:
//!
//! ```text
//! cargo run -p mailwright-mime --example corpora -- FOLDER [--show CATEGORY]
//! ```
//!
//! Each message is read as it stands and with its line ends made CRLF. Differences are counted by category; those in
//! which the other parser is known to read otherwise than RFC 2046 has it are explained here, one predicate each. Exit
//! status 1: a difference that nothing explains, or a folder without messages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mail_parser::{Encoding, HeaderName, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use mailwright_mime::{
    Field, Inner, Limits, Part, addresses, date, decoded, fields, message_ids, part_text, preview, text,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: corpora FOLDER [--show CATEGORY]");
        return ExitCode::from(2);
    };
    let shown = arguments.nth(1);
    let mut files = Vec::new();
    if let Err(error) = messages(Path::new(&folder), &mut files) {
        eprintln!("{folder}: {error}");
        return ExitCode::from(2);
    }
    files.sort();
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut unexplained = 0;
    for file in &files {
        let octets = match std::fs::read(file) {
            Ok(octets) => octets,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                return ExitCode::from(2);
            }
        };
        for (form, octets) in [("as it stands", octets.clone()), ("with CRLF", with_crlf(&octets))] {
            for Difference { category, explained, detail } in compare(&octets) {
                *counts.entry(category).or_default() += 1;
                unexplained += usize::from(!explained);
                if !explained || shown.as_deref() == Some(category) {
                    println!("{} ({form}): {category}: {detail}", file.display());
                }
            }
        }
    }
    println!("{} messages, each read twice", files.len());
    for (category, count) in counts {
        println!("{count:6} {category}");
    }
    println!("{unexplained:6} unexplained");
    ExitCode::from(u8::from(unexplained > 0 || files.is_empty()))
}

fn messages(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            messages(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            into.push(path);
        }
    }
    Ok(())
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for &octet in octets {
        if octet == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(octet);
    }
    out
}

struct Difference {
    category: &'static str,
    explained: bool,
    detail: String,
}

/// A part that contains no others, as both parsers can tell of it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Leaf {
    /// Its place: numbers of the parts that lead to it, `m` for a step into a message.
    path: String,
    media_type: String,
}

fn compare(message: &[u8]) -> Vec<Difference> {
    let root = Part::parse(message, &Limits::default());
    let _ = preview(&root, message, 200);
    let Some(theirs) = MessageParser::new().parse(message) else {
        let explained = fields(message).next().is_none();
        return vec![Difference { category: "no header at all", explained, detail: String::new() }];
    };
    let mut differences = structure(&root, &theirs, message);
    differences.extend(values(message, &theirs));
    if differences.is_empty() {
        differences.push(Difference { category: "the same", explained: true, detail: String::new() });
    }
    differences
}

fn structure(root: &Part, theirs: &Message<'_>, message: &[u8]) -> Vec<Difference> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    our_leaves(root, message, "", &mut ours);
    their_leaves(theirs, 0, "", &mut others);
    let octets = |(part, leaf): &(&Part, Leaf)| (leaf.clone(), part.body.clone());
    let same = ours
        .iter()
        .map(octets)
        .eq(others.iter().map(|(part, leaf)| (leaf.clone(), part.offset_body as usize..part.offset_end as usize)));
    if same {
        return ours.iter().zip(&others).filter_map(|((our, _), (their, _))| contents(our, their, message)).collect();
    }
    let show = |leaf: &Leaf, body: Range<usize>| format!(" {} {} {body:?}", leaf.path, leaf.media_type);
    let detail = format!(
        "\n  ours  {}\n  theirs{}",
        ours.iter().map(|(part, leaf)| show(leaf, part.body.clone())).collect::<String>(),
        others
            .iter()
            .map(|(part, leaf)| show(leaf, part.offset_body as usize..part.offset_end as usize))
            .collect::<String>(),
    );
    let known = KNOWN.iter().find(|(_, known)| known(root, message));
    let category = known.map_or("structure", |(category, _)| category);
    vec![Difference { category, explained: known.is_some(), detail }]
}

/// A way in which the other parser reads structure otherwise.
type Known = (&'static str, fn(&Part, &[u8]) -> bool);

/// What it has, and whether a message has it.
const KNOWN: [Known; 6] = [
    // It looks for a boundary anywhere, and is content with its front; RFC 2046 §5.1.1 has it fill a line.
    ("structure: a boundary that does not fill its line", |root, message| {
        boundaries(root, message).iter().any(|boundary| {
            let line = [b"--", &boundary[..]].concat();
            memchr::memmem::find_iter(message, &line).any(|at| {
                let rest = &message[at + line.len()..];
                let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                let starts = at == 0 || message[at - 1] == b'\n';
                !starts || !matches!(rest[..end].trim_ascii_end(), b"" | b"--")
            })
        })
    }),
    // It does not see an outer boundary in a multipart that is never closed (RFC 2046 §5.1.2 would have it).
    ("structure: a multipart that is never closed", |root, message| {
        root.all().iter().any(|part| {
            let Inner::Multipart(parts) = &part.inner else { return false };
            let end = parts.last().map_or(part.body.start, |last| last.body.end);
            let boundary = part.content_type(message).octets("boundary").unwrap_or_default();
            let close = [b"--", &boundary[..], b"--"].concat();
            memchr::memmem::find(&message[end..], &close).is_none_or(|at| end + at > part.body.end)
        })
    }),
    // It skips to the boundary behind the next one where a header has no end.
    ("structure: a header without an empty line", |root, message| {
        root.all().iter().any(|part| {
            let header = &message[part.header.clone()];
            !header.ends_with(b"\r\n\r\n") && !header.ends_with(b"\n\n") && header.trim_ascii() != b""
        })
    }),
    // It takes a multipart that is nothing but its end for one with a part.
    ("structure: a multipart without parts", |root, message| {
        root.all().iter().any(|part| {
            part.inner == Inner::Leaf
                && part.content_type(message).value.to_ascii_lowercase().starts_with(b"multipart/")
        })
    }),
    // It gives up a message/rfc822 whose header has no field; IMAP wants an envelope, even an empty one.
    ("structure: a message without header fields", |root, message| {
        root.all().iter().any(|part| match &part.inner {
            Inner::Message(inner) => fields(&message[inner.header.clone()]).next().is_none(),
            _ => false,
        })
    }),
    // It takes the last of several, we the first.
    ("structure: several Content-Type fields", |root, message| {
        root.all()
            .iter()
            .any(|part| fields(&message[part.header.clone()]).filter(|field| field.is("Content-Type")).count() > 1)
    }),
];

fn boundaries(root: &Part, message: &[u8]) -> Vec<Vec<u8>> {
    root.all().iter().filter_map(|part| part.content_type(message).octets("boundary")).collect()
}

fn our_leaves<'a>(part: &'a Part, message: &[u8], path: &str, into: &mut Vec<(&'a Part, Leaf)>) {
    match &part.inner {
        Inner::Multipart(parts) => {
            for (at, inner) in parts.iter().enumerate() {
                our_leaves(inner, message, &format!("{path}.{}", at + 1), into);
            }
        }
        Inner::Message(inner) if !is_encoded(part, message) => our_leaves(inner, message, &format!("{path}.m"), into),
        _ => {
            let media_type = format!("{}/{}", part.media_type.0, part.media_type.1);
            into.push((part, Leaf { path: path.to_owned(), media_type }));
        }
    }
}

/// A message in an encoding, which RFC 2046 §5.2.1 forbids: the other parser reads it all the same, we do not.
fn is_encoded(part: &Part, message: &[u8]) -> bool {
    let encoding = part.field(message, "Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
    matches!(encoding.as_slice(), b"base64" | b"quoted-printable")
}

fn their_leaves<'a>(theirs: &'a Message<'a>, at: u32, path: &str, into: &mut Vec<(&'a MessagePart<'a>, Leaf)>) {
    let Some(part) = theirs.part(at) else { return };
    match &part.body {
        PartType::Multipart(parts) => {
            for (number, inner) in parts.iter().enumerate() {
                their_leaves(theirs, *inner, &format!("{path}.{}", number + 1), into);
            }
        }
        PartType::Message(inner) if part.encoding == Encoding::None => {
            their_leaves(inner, 0, &format!("{path}.m"), into);
        }
        body => {
            let media_type = match (part.content_type(), body) {
                (None, PartType::Message(_)) => "message/rfc822".to_owned(),
                (None, _) => "text/plain".to_owned(),
                (Some(kind), _) => match (kind.ctype().to_ascii_lowercase(), kind.subtype()) {
                    (media, Some(subtype)) if media != "multipart" => {
                        format!("{media}/{}", subtype.to_ascii_lowercase())
                    }
                    _ => "text/plain".to_owned(),
                },
            };
            into.push((part, Leaf { path: path.to_owned(), media_type }));
        }
    }
}

/// The octets behind the transfer encoding, and text behind the charset.
fn contents(our: &Part, their: &MessagePart<'_>, message: &[u8]) -> Option<Difference> {
    let differ = |category, explained, detail| Some(Difference { category, explained, detail });
    let ours = decoded(our, message);
    if their.is_encoding_problem || ours.is_none() {
        let agree = ours.is_none() == their.is_encoding_problem;
        // It hands out what it cannot decode as it stands; IMAP has an error for that (RFC 3516 §4.3). What it calls
        // broken is also the last part of a multipart that is never closed.
        let category = if ours.is_none() { "contents: an unknown encoding" } else { "contents: what it calls broken" };
        return if agree { None } else { differ(category, true, format!("{:?}", our.body)) };
    }
    let encoding = our.field(message, "Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
    match &their.body {
        PartType::Binary(theirs) | PartType::InlineBinary(theirs) if ours.as_deref() != Some(&theirs[..]) => {
            // It drops the octets of a last base64 quantum that is cut short.
            let ours = ours.unwrap_or_default();
            let cut = encoding == b"base64" && ours.starts_with(theirs) && ours.len() - theirs.len() <= 2;
            let lenient =
                !matches!(encoding.as_slice(), b"base64" | b"quoted-printable" | b"7bit" | b"8bit" | b"binary");
            let category = if cut {
                "contents: base64 that is cut short"
            } else if lenient {
                "contents: an encoding that is misspelt"
            } else {
                "contents: octets"
            };
            differ(category, cut || lenient, format!("{:?}", our.body))
        }
        PartType::Text(theirs) if our.media_type.0 == "text" => {
            let ours = part_text(our, message);
            let charset = our.content_type(message).parameter("charset").is_some();
            let misspelt = encoding.contains(&b' ') || encoding.contains(&b';');
            let nameless = !charset && theirs.contains('\u{fffd}');
            let explained = misspelt || nameless;
            let category = if nameless {
                "contents: text that names no charset"
            } else if misspelt {
                "contents: an encoding that is misspelt"
            } else {
                "contents: text"
            };
            if ours == *theirs { None } else { differ(category, explained, format!("\n  {ours:?}\n  {theirs:?}")) }
        }
        _ => None,
    }
}

/// It shows replacement characters where we guess a charset.
const NO_UTF8: &str = "values: octets that are no UTF-8";

/// The values of the message's own header.
fn values(message: &[u8], theirs: &Message<'_>) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |category, explained: Option<&'static str>, field: &Field<'_>, ours: String, theirs: String| {
        if ours != theirs {
            let value = String::from_utf8_lossy(field.value).into_owned();
            let detail = format!("{value:?}\n  ours   {ours}\n  theirs {theirs}");
            let (category, explained) = (explained.unwrap_or(category), explained.is_some());
            differences.push(Difference { category, explained, detail });
        }
    };
    let all: Vec<Field<'_>> = fields(message).collect();
    for field in &all {
        let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
        if all.iter().filter(|other| other.is(&name)).count() > 1 {
            continue;
        }
        let Some(value) = HeaderName::parse(&*name).and_then(|name| theirs.header(name)) else { continue };
        match (name.as_str(), value) {
            ("from" | "to" | "cc" | "bcc" | "sender" | "reply-to", HeaderValue::Address(theirs)) => {
                let ours = addresses(field.value).into_iter().filter_map(|item| {
                    let local = item.mailbox?;
                    let host = item.host?;
                    let name = item.name.map(|name| text(&name));
                    let at: &[u8] = if host.is_empty() { b"" } else { b"@" };
                    Some((name, text(&[&local[..], at, &host].concat())))
                });
                let theirs = theirs.iter().map(|one| {
                    let address = one.address.as_deref().unwrap_or_default();
                    (one.name.as_deref().map(str::to_owned), address.to_owned())
                });
                let (ours, theirs): (Vec<_>, Vec<_>) = (ours.collect(), theirs.collect());
                // To it a word without a domain is a name; comments and obsolete spaces stay in what it gives.
                let known = [
                    (std::str::from_utf8(field.value).is_err(), NO_UTF8),
                    (ours.iter().any(|(_, address)| !address.contains('@')), "values: an address without domain"),
                    (field.value.contains(&b'('), "values: an address with comments"),
                    (memchr::memmem::find(field.value, b"<@").is_some(), "values: an address with a route"),
                ];
                let explained = known.iter().find(|(known, _)| *known).map(|(_, category)| *category);
                differ("values: addresses", explained, field, format!("{ours:?}"), format!("{theirs:?}"));
            }
            ("message-id" | "in-reply-to" | "references", value) => {
                let ours: Vec<String> =
                    message_ids(field.value).iter().map(|id| String::from_utf8_lossy(id).into_owned()).collect();
                let theirs: Vec<String> =
                    value.as_text_list().unwrap_or_default().iter().map(|id| format!("<{id}>")).collect();
                differ("values: message-ids", None, field, format!("{ours:?}"), format!("{theirs:?}"));
            }
            ("subject" | "content-description", value) => {
                let theirs = value.as_text().unwrap_or_default().to_owned();
                // It makes a space of each folding; RFC 5322 §2.2.3 keeps the white space that is there.
                let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                let ours = text(field.value);
                let folded = (squeezed(&ours) == squeezed(&theirs)).then_some("values: folded text");
                let explained = folded.or(std::str::from_utf8(field.value).is_err().then_some(NO_UTF8));
                differ("values: text", explained, field, ours, theirs);
            }
            ("date", HeaderValue::DateTime(theirs)) => {
                let theirs = theirs.is_valid().then(|| theirs.to_timestamp());
                differ("values: dates", None, field, format!("{:?}", date(field.value)), format!("{theirs:?}"));
            }
            _ => {}
        }
    }
    differences
}
