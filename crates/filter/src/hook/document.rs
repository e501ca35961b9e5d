//! The documents: what is asked and what may be answered. `policy-hook(7)` describes them; fields are only ever added.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::session::Known;
use crate::{HeaderChange, Stage};

/// Header fields that an answer may add.
const MOST_FIELDS: usize = 100;

#[derive(Serialize)]
struct Question<'a> {
    version: u32,
    stage: &'static str,
    hostname: &'a str,
    listener: &'a str,
    client: Client<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hello: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Vec<FieldOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header_cut: Option<bool>,
}

#[derive(Serialize)]
struct Client<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Tls<'a> {
    version: &'a str,
    cipher: &'a str,
}

#[derive(Serialize)]
struct FieldOut {
    name: String,
    value: String,
}

/// The document for a stage.
pub(super) fn write(known: &Known, stage: Stage, message: Option<(&Bytes, u64)>, header_octets: usize) -> Bytes {
    let facts = &known.facts;
    let (header, header_cut) = match message {
        Some((header, _)) => {
            let (fields, cut) = fields(header, header_octets);
            (Some(fields), Some(cut))
        }
        None => (None, None),
    };
    let declared = known.mail.as_ref().and_then(|mail| mail.parameters.size);
    let question = Question {
        version: 1,
        stage: stage.as_str(),
        hostname: &facts.hostname,
        listener: &facts.listener,
        client: Client {
            address: facts.client.map(|client| client.ip().to_canonical().to_string()),
            port: facts.client.map(|client| client.port()),
            name: facts.client_name.as_deref(),
        },
        hello: known.hello.as_deref(),
        tls: facts.tls.as_ref().map(|tls| Tls { version: &tls.version, cipher: &tls.cipher }),
        user: known.user.as_deref(),
        queue_id: known.mail.as_ref().map(|mail| mail.queue_id.as_str()),
        sender: known.mail.as_ref().map(|mail| crate::session::bare(&mail.sender.to_string())),
        recipients: known.mail.as_ref().map(|_| &known.recipients[..]),
        size: message.map(|(_, octets)| octets).or(declared),
        header,
        header_cut,
    };
    // Strings and numbers alone: nothing here can fail to be written.
    serde_json::to_vec(&question).unwrap_or_default().into()
}

fn fields(header: &[u8], most: usize) -> (Vec<FieldOut>, bool) {
    let mut fields = Vec::new();
    let mut octets = 0;
    for field in mime::fields(header) {
        octets += field.end - field.start;
        if octets > most {
            return (fields, true);
        }
        fields.push(FieldOut {
            name: String::from_utf8_lossy(field.name).into_owned(),
            value: String::from_utf8_lossy(&field.unfolded()).into_owned(),
        });
    }
    (fields, false)
}

/// What a policy service decides.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) action: Action,
    pub(super) code: Option<u16>,
    pub(super) text: String,
    pub(super) header: Vec<HeaderChange>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Continue,
    Accept,
    Reject,
    TempFail,
    Discard,
    Quarantine,
    Hold,
}

#[derive(Deserialize)]
struct Read {
    action: Action,
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    add_header: Vec<FieldIn>,
}

#[derive(Deserialize)]
struct FieldIn {
    name: String,
    value: String,
}

/// Why octets are not an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// No JSON, or not of this form.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// A header field whose name is none.
    #[error("a header field whose name is none")]
    Name,
    /// More than a hundred header fields.
    #[error("more than {MOST_FIELDS} header fields")]
    Fields,
}

pub(super) fn read(octets: &[u8]) -> Result<Answer, AnswerError> {
    let read: Read = serde_json::from_slice(octets)?;
    if read.add_header.len() > MOST_FIELDS {
        return Err(AnswerError::Fields);
    }
    // On top, in the order of the document, like other fields that are added under way (RFC 5321 §4.4).
    let place = 0_u32..;
    let header = place.zip(read.add_header).map(|(index, field)| HeaderChange::Insert {
        index,
        name: field.name,
        value: format!(" {}", field.value.trim()).into(),
    });
    let header: Vec<HeaderChange> = header.collect();
    if header.iter().any(|change| !change.is_possible()) {
        return Err(AnswerError::Name);
    }
    let text = crate::session::printable(&read.text);
    Ok(Answer { action: read.action, code: read.code, text, header })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let answer = |action, code, text: &str| Answer { action, code, text: text.to_owned(), header: Vec::new() };
        let table = [
            (r#"{"action":"continue"}"#, answer(Action::Continue, None, "")),
            (r#"{"action":"accept","later":1}"#, answer(Action::Accept, None, "")),
            (
                r#"{"action":"reject","code":554,"text":"5.7.1 no\r\n250 ok"}"#,
                answer(Action::Reject, Some(554), "5.7.1 no  250 ok"),
            ),
            (r#"{"action":"tempfail","code":null}"#, answer(Action::TempFail, None, "")),
            (r#"{"action":"discard"}"#, answer(Action::Discard, None, "")),
            (r#"{"action":"quarantine","text":"why"}"#, answer(Action::Quarantine, None, "why")),
            (r#"{"action":"hold"}"#, answer(Action::Hold, None, "")),
        ];
        for (octets, expected) in table {
            assert_eq!(read(octets.as_bytes()).unwrap(), expected);
        }
        let added =
            read(br#"{"action":"continue","add_header":[{"name":"A","value":"1"},{"name":"B","value":"2\n3"}]}"#);
        let insert = |index, name: &str, value: &'static [u8]| HeaderChange::Insert {
            index,
            name: name.to_owned(),
            value: Bytes::from_static(value),
        };
        assert_eq!(added.unwrap().header, [insert(0, "A", b" 1"), insert(1, "B", b" 2\n3")]);
    }

    #[test]
    fn what_is_no_answer() {
        let many =
            format!(r#"{{"action":"accept","add_header":[{}]}}"#, vec![r#"{"name":"A","value":""}"#; 101].join(","));
        let table = [
            "",
            "null",
            "{}",
            r#"{"action":"ACCEPT"}"#,
            r#"{"action":"accept","code":70000}"#,
            r#"{"action":"accept","add_header":[{"name":"A:","value":"1"}]}"#,
            r#"{"action":"accept","add_header":[{"name":"A"}]}"#,
            r#"{"action":"accept"} x"#,
            &many,
        ];
        for octets in table {
            assert!(read(octets.as_bytes()).is_err(), "{octets}");
        }
    }
}
