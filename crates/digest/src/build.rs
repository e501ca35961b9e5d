//! From a message to its facts.

use std::cell::Cell;

use imap::{Address, BodyStructure, Envelope, Parameters, PartKind};
use mime::{AddressItem, Inner, Limits, Parameterised, Part};

use crate::{Digest, Utf8, encoded};

/// The fields that lists and searches ask for.
pub const KEPT: [&str; 14] = [
    "From",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "Sender",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "List-Id",
    "Content-Type",
    "X-Priority",
];
/// Octets of a header that its ENVELOPE is made of; what is longer is no mail.
const MAX_ENVELOPE: usize = 1 << 20;
/// Octets of a value in BODYSTRUCTURE; the rest is left out.
const MAX_VALUE: usize = 16 << 10;
/// Octets of kept fields; a field for which there is no more room makes them incomplete.
const MAX_KEPT: usize = 16 << 10;
/// Characters of a preview (RFC 8970 §3.1).
const PREVIEW: usize = 200;

/// How values beyond ASCII are shown.
enum Form {
    /// So that any client can read them (RFC 6858); whether there were any.
    Plain(Cell<bool>),
    /// As they are, in UTF-8 (RFC 9755 §3).
    Utf8,
}

impl Form {
    fn text(&self, value: &[u8]) -> Vec<u8> {
        if value.is_ascii() {
            return value.to_vec();
        }
        match self {
            Self::Plain(met) => {
                met.set(true);
                mime::surrogate(value)
            }
            Self::Utf8 => String::from_utf8_lossy(value).into_owned().into_bytes(),
        }
    }

    fn address(&self, item: AddressItem) -> Address {
        let all_ascii = [&item.name, &item.mailbox, &item.host].into_iter().flatten().all(|octets| octets.is_ascii());
        let AddressItem { name, mailbox, host } = match self {
            _ if all_ascii => item,
            Self::Plain(met) => {
                met.set(true);
                mime::surrogate_address(item)
            }
            Self::Utf8 => {
                let text = |octets: Option<Vec<u8>>| octets.map(|octets| self.text(&octets));
                AddressItem { name: text(item.name), mailbox: text(item.mailbox), host: text(item.host) }
            }
        };
        Address { name, mailbox, host }
    }
}

/// What clients with UTF-8 are told instead.
pub(crate) fn utf8(message: &[u8]) -> Utf8 {
    let root = Part::parse(message, &Limits::default());
    let structure = structure(&root, message, &Form::Utf8);
    let header = &message[root.header.clone()];
    Utf8 {
        envelope: encoded(|out| envelope(header, &Form::Utf8).encode(out)),
        body_structure: encoded(|out| structure.encode(out, true)),
        body: encoded(|out| structure.encode(out, false)),
    }
}

pub(crate) fn digest(message: &[u8]) -> Digest {
    let root = Part::parse(message, &Limits::default());
    let form = Form::Plain(Cell::new(false));
    let structure = structure(&root, message, &form);
    let header = &message[root.header.clone()];
    let mut kept = Vec::new();
    let mut complete = true;
    for field in mime::fields(header).filter(|field| KEPT.iter().any(|name| field.is(name))) {
        let octets = &header[field.start..field.end];
        if kept.len() + octets.len() <= MAX_KEPT {
            kept.extend_from_slice(octets);
        } else {
            complete = false;
        }
    }
    let envelope = encoded(|out| envelope(header, &form).encode(out));
    Digest {
        envelope,
        body_structure: encoded(|out| structure.encode(out, true)),
        body: encoded(|out| structure.encode(out, false)),
        sent: root.field(message, "Date").and_then(|date| mime::date(&date)),
        header_is_8bit: !header.is_ascii(),
        is_surrogate: matches!(form, Form::Plain(met) if met.get()),
        header_octets: root.header.len() as u64,
        preview: mime::preview(&root, message, PREVIEW).into_bytes(),
        header: kept,
        header_is_complete: complete,
    }
}

/// RFC 9051 §7.5.2: the first field of each name counts.
fn envelope(header: &[u8], form: &Form) -> Envelope {
    let header = &header[..header.len().min(MAX_ENVELOPE)];
    let first = |name: &str| mime::fields(header).find(|field| field.is(name)).map(|field| field.unfolded());
    let list = |name: &str| -> Vec<Address> {
        // Several fields of one name, which RFC 5322 §3.6 forbids, are one list.
        mime::fields(header)
            .filter(|field| field.is(name))
            .flat_map(|field| mime::addresses(field.value))
            .map(|item| form.address(item))
            .collect()
    };
    let from = list("From");
    let or_from = |addresses: Vec<Address>| if addresses.is_empty() { from.clone() } else { addresses };
    Envelope {
        date: first("Date").map(|date| form.text(&date)),
        subject: first("Subject").map(|subject| form.text(&subject)),
        sender: or_from(list("Sender")),
        reply_to: or_from(list("Reply-To")),
        to: list("To"),
        cc: list("Cc"),
        bcc: list("Bcc"),
        in_reply_to: first("In-Reply-To").map(|value| form.text(&value)),
        message_id: first("Message-ID").map(|value| form.text(&value)),
        from,
    }
}

fn structure(part: &Part, message: &[u8], form: &Form) -> BodyStructure {
    let field = |name: &str| {
        part.field(message, name).map(|mut value| {
            value.truncate(MAX_VALUE);
            value
        })
    };
    let content_type = field("Content-Type").map(|value| Parameterised::parse(&value)).unwrap_or_default();
    let (media, subtype) = (&part.media_type.0, &part.media_type.1);
    let mut parameters = plain(content_type.parameters, form);
    let kind = match &part.inner {
        Inner::Multipart(parts) => {
            PartKind::Multipart(parts.iter().map(|part| structure(part, message, form)).collect())
        }
        inner => {
            if media == "text" && !parameters.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"charset")) {
                parameters.insert(0, (b"CHARSET".to_vec(), b"us-ascii".to_vec()));
            }
            let encoding = field("Content-Transfer-Encoding").filter(|value| !value.is_empty());
            PartKind::Single {
                media_type: media.to_ascii_uppercase().into_bytes(),
                id: field("Content-ID").map(|id| form.text(&id)),
                description: field("Content-Description").map(|text| form.text(&text)),
                encoding: encoding.map_or_else(|| b"7BIT".to_vec(), |value| form.text(&value.to_ascii_uppercase())),
                octets: part.body.len() as u64,
                md5: field("Content-MD5").map(|md5| form.text(&md5)),
                lines: (media == "text" || matches!(inner, Inner::Message(_))).then_some(part.lines),
                message: match inner {
                    Inner::Message(inner) => Some(Box::new((
                        envelope(&message[inner.header.clone()], form),
                        structure(inner, message, form),
                    ))),
                    _ => None,
                },
            }
        }
    };
    BodyStructure {
        kind,
        subtype: subtype.to_ascii_uppercase().into_bytes(),
        parameters,
        disposition: field("Content-Disposition").map(|value| {
            let parsed = Parameterised::parse(&value);
            (form.text(&parsed.value), plain(parsed.parameters, form))
        }),
        language: field("Content-Language").map(|value| languages(&value, form)).unwrap_or_default(),
        location: field("Content-Location").map(|value| form.text(&value)),
    }
}

fn plain(parameters: Parameters, form: &Form) -> Parameters {
    parameters.into_iter().map(|(name, value)| (form.text(&name), form.text(&value))).collect()
}

fn languages(value: &[u8], form: &Form) -> Vec<Vec<u8>> {
    value.split(|octet| *octet == b',').map(|tag| form.text(tag.trim_ascii())).filter(|tag| !tag.is_empty()).collect()
}
