//! ENVELOPE and BODYSTRUCTURE (RFC 9051 §7.5.2), from plain values to octets. Everything is 7-bit or a literal, so that
//! the octets can be kept and sent to any client.

use bytes::{BufMut, BytesMut};

use crate::encode::{nstring, number, string};

/// An address in an ENVELOPE. A group begins with one whose `host` is `None` and ends with one of nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Address {
    /// The display name.
    pub name: Option<Vec<u8>>,
    /// The local part, or a group's name.
    pub mailbox: Option<Vec<u8>>,
    /// The domain.
    pub host: Option<Vec<u8>>,
}

/// An ENVELOPE.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Envelope {
    /// Date, as it stands in the header.
    pub date: Option<Vec<u8>>,
    /// Subject, encoded words and all.
    pub subject: Option<Vec<u8>>,
    /// From.
    pub from: Vec<Address>,
    /// Sender; From where it is missing.
    pub sender: Vec<Address>,
    /// Reply-To; From where it is missing.
    pub reply_to: Vec<Address>,
    /// To.
    pub to: Vec<Address>,
    /// Cc.
    pub cc: Vec<Address>,
    /// Bcc.
    pub bcc: Vec<Address>,
    /// In-Reply-To.
    pub in_reply_to: Option<Vec<u8>>,
    /// Message-ID.
    pub message_id: Option<Vec<u8>>,
}

impl Envelope {
    /// Appends `envelope`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(b'(');
        nstring(out, self.date.as_deref(), false);
        out.put_u8(b' ');
        nstring(out, self.subject.as_deref(), false);
        for list in [&self.from, &self.sender, &self.reply_to, &self.to, &self.cc, &self.bcc] {
            out.put_u8(b' ');
            addresses(out, list);
        }
        out.put_u8(b' ');
        nstring(out, self.in_reply_to.as_deref(), false);
        out.put_u8(b' ');
        nstring(out, self.message_id.as_deref(), false);
        out.put_u8(b')');
    }
}

fn addresses(out: &mut BytesMut, list: &[Address]) {
    if list.is_empty() {
        return out.put_slice(b"NIL");
    }
    out.put_u8(b'(');
    for address in list {
        out.put_u8(b'(');
        nstring(out, address.name.as_deref(), false);
        out.put_slice(b" NIL ");
        nstring(out, address.mailbox.as_deref(), false);
        out.put_u8(b' ');
        nstring(out, address.host.as_deref(), false);
        out.put_u8(b')');
    }
    out.put_u8(b')');
}

/// Parameters by name, decoded.
pub type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// The structure of a message's body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BodyStructure {
    /// What kind of part it is.
    pub kind: PartKind,
    /// Media subtype.
    pub subtype: Vec<u8>,
    /// Content-Type's parameters.
    pub parameters: Parameters,
    /// Content-Disposition and its parameters.
    pub disposition: Option<(Vec<u8>, Parameters)>,
    /// Content-Language.
    pub language: Vec<Vec<u8>>,
    /// Content-Location.
    pub location: Option<Vec<u8>>,
}

/// What kind of part it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PartKind {
    /// `multipart/…`
    Multipart(Vec<BodyStructure>),
    /// Anything else.
    Single {
        /// Media type.
        media_type: Vec<u8>,
        /// Content-ID.
        id: Option<Vec<u8>>,
        /// Content-Description.
        description: Option<Vec<u8>>,
        /// Content-Transfer-Encoding.
        encoding: Vec<u8>,
        /// Octets, encoded as they are.
        octets: u64,
        /// Content-MD5.
        md5: Option<Vec<u8>>,
        /// Lines, for `text/…` and `message/rfc822`.
        lines: Option<u64>,
        /// The message within `message/rfc822`.
        message: Option<Box<(Envelope, BodyStructure)>>,
    },
}

impl BodyStructure {
    /// Appends `body`: with extension data for BODYSTRUCTURE, without for BODY.
    pub fn encode(&self, out: &mut BytesMut, extensible: bool) {
        out.put_u8(b'(');
        match &self.kind {
            PartKind::Multipart(parts) => {
                for part in parts {
                    part.encode(out, extensible);
                }
                out.put_u8(b' ');
                string(out, &self.subtype, false);
                if extensible {
                    out.put_u8(b' ');
                    parameters(out, &self.parameters);
                    self.encode_extension(out);
                }
            }
            PartKind::Single { media_type, id, description, encoding, octets, md5, lines, message } => {
                string(out, media_type, false);
                out.put_u8(b' ');
                string(out, &self.subtype, false);
                out.put_u8(b' ');
                parameters(out, &self.parameters);
                out.put_u8(b' ');
                nstring(out, id.as_deref(), false);
                out.put_u8(b' ');
                nstring(out, description.as_deref(), false);
                out.put_u8(b' ');
                string(out, encoding, false);
                number(out, *octets, " ", "");
                if let Some(message) = message {
                    out.put_u8(b' ');
                    message.0.encode(out);
                    out.put_u8(b' ');
                    message.1.encode(out, extensible);
                }
                if let Some(lines) = lines {
                    number(out, *lines, " ", "");
                }
                if extensible {
                    out.put_u8(b' ');
                    nstring(out, md5.as_deref(), false);
                    self.encode_extension(out);
                }
            }
        }
        out.put_u8(b')');
    }

    fn encode_extension(&self, out: &mut BytesMut) {
        out.put_u8(b' ');
        match &self.disposition {
            Some((kind, values)) => {
                out.put_u8(b'(');
                string(out, kind, false);
                out.put_u8(b' ');
                parameters(out, values);
                out.put_u8(b')');
            }
            None => out.put_slice(b"NIL"),
        }
        out.put_u8(b' ');
        match &self.language[..] {
            [] => out.put_slice(b"NIL"),
            [one] => string(out, one, false),
            many => {
                for (at, language) in many.iter().enumerate() {
                    out.put_u8(if at == 0 { b'(' } else { b' ' });
                    string(out, language, false);
                }
                out.put_u8(b')');
            }
        }
        out.put_u8(b' ');
        nstring(out, self.location.as_deref(), false);
    }
}

fn parameters(out: &mut BytesMut, parameters: &[(Vec<u8>, Vec<u8>)]) {
    if parameters.is_empty() {
        return out.put_slice(b"NIL");
    }
    for (at, (name, value)) in parameters.iter().enumerate() {
        out.put_u8(if at == 0 { b'(' } else { b' ' });
        string(out, name, false);
        out.put_u8(b' ');
        string(out, value, false);
    }
    out.put_u8(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: u64) -> BodyStructure {
        BodyStructure {
            kind: PartKind::Single {
                media_type: b"TEXT".to_vec(),
                id: None,
                description: None,
                encoding: b"7BIT".to_vec(),
                octets: 1152,
                md5: None,
                lines: Some(lines),
                message: None,
            },
            subtype: b"PLAIN".to_vec(),
            parameters: vec![(b"CHARSET".to_vec(), b"US-ASCII".to_vec())],
            disposition: None,
            language: Vec::new(),
            location: None,
        }
    }

    fn printed(structure: &BodyStructure, extensible: bool) -> String {
        let mut out = BytesMut::new();
        structure.encode(&mut out, extensible);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn bodies_as_the_rfc_writes_them() {
        // RFC 9051 §7.5.2
        let body = r#"("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)"#;
        assert_eq!(printed(&text(23), false), body);
        let mut disposed = text(23);
        disposed.disposition = Some((b"attachment".to_vec(), vec![(b"filename".to_vec(), b"a".to_vec())]));
        disposed.language = vec![b"de".to_vec(), b"en".to_vec()];
        let multipart = BodyStructure {
            kind: PartKind::Multipart(vec![text(23), disposed]),
            subtype: b"MIXED".to_vec(),
            parameters: Vec::new(),
            disposition: None,
            language: Vec::new(),
            location: None,
        };
        assert_eq!(printed(&multipart, false), format!("({body}{body} \"MIXED\")"));
        let plain = body.trim_end_matches(')');
        let expected = format!(
            "({plain} NIL NIL NIL NIL){plain} NIL (\"attachment\" (\"filename\" \"a\")) (\"de\" \"en\") NIL) \"MIXED\" NIL NIL NIL NIL)"
        );
        assert_eq!(printed(&multipart, true), expected);
    }

    #[test]
    fn an_envelope_as_the_rfc_writes_it() {
        let gray = Address {
            name: Some(b"Terry Gray".to_vec()),
            mailbox: Some(b"gray".to_vec()),
            host: Some(b"cac.washington.edu".to_vec()),
        };
        let envelope = Envelope {
            date: Some(b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)".to_vec()),
            subject: Some(b"IMAP4rev2 WG mtg summary and minutes".to_vec()),
            from: vec![gray.clone()],
            message_id: Some(b"<B27397-0100000@cac.washington.ed>".to_vec()),
            ..Envelope::default()
        };
        let mut out = BytesMut::new();
        envelope.encode(&mut out);
        let expected = r#"("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" (("Terry Gray" NIL "gray" "cac.washington.edu")) NIL NIL NIL NIL NIL NIL "<B27397-0100000@cac.washington.ed>")"#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
