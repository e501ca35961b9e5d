//! What a filter answers.

use bytes::{Bytes, BytesMut};

use crate::packet::put;
use crate::text::Reader;
use crate::{Options, Packet, PacketError, Text};

/// A response (`SMFIR_*`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// `O`: what the filter chose of what was offered.
    Negotiate(Options),
    /// `c`: go on.
    Continue,
    /// `a`: accepted, nothing more need be told.
    Accept,
    /// `r`: refused.
    Reject,
    /// `t`: refused for now.
    TempFail,
    /// `d`: accept the message and throw it away.
    Discard,
    /// `s`: enough of the body was seen.
    Skip,
    /// `p`: still at work.
    Progress,
    /// `4`: answer 421 and close the connection.
    Shutdown,
    /// `f`: close the connection.
    ConnectionFailed,
    /// `y`: refused with this reply.
    Reply(ReplyCode),
    /// A change to the message, at its end.
    Modify(Modification),
}

/// A reply to give to the SMTP client: 4yz or 5yz, one line or several.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplyCode {
    code: u16,
    lines: Vec<Text>,
}

impl ReplyCode {
    /// A reply; `None` unless its code is 4yz or 5yz, it has a line, and its lines have no CR or LF.
    #[must_use]
    pub fn new(code: u16, lines: Vec<Text>) -> Option<Self> {
        let plain = |line: &Text| !line.as_bytes().iter().any(|octet| matches!(octet, b'\r' | b'\n'));
        let valid = (400..=599).contains(&code) && !lines.is_empty() && lines.iter().all(plain);
        valid.then_some(Self { code, lines })
    }

    /// The reply code, 400 to 599.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text of each line, without the code; an enhanced status code may stand in front.
    #[must_use]
    pub fn lines(&self) -> &[Text] {
        &self.lines
    }

    fn put(&self, out: &mut BytesMut) {
        for (at, line) in self.lines.iter().enumerate() {
            let last = at + 1 == self.lines.len();
            out.extend_from_slice(self.code.to_string().as_bytes());
            out.extend_from_slice(if last { b" " } else { b"-" });
            for octet in line.as_bytes() {
                // A percent sign is doubled in this packet alone.
                out.extend_from_slice(if *octet == b'%' { b"%%" } else { std::slice::from_ref(octet) });
            }
            out.extend_from_slice(if last { b"\0" } else { b"\r\n" });
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, PacketError> {
        let text = reader.text("a reply")?;
        let mut reply: Option<Self> = None;
        let mut whole = text.as_bytes();
        // LENIENT: a line break at the very end, and LF alone between lines.
        whole = whole.strip_suffix(b"\n").unwrap_or(whole);
        for line in whole.split(|octet| *octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (digits, rest) = line.split_at_checked(3).ok_or_else(|| reader.wrong("a reply code"))?;
            let valid = matches!(digits[0], b'4' | b'5') && digits.iter().all(u8::is_ascii_digit);
            let code = digits.iter().fold(0, |code: u16, digit| code * 10 + u16::from(digit.wrapping_sub(b'0') % 10));
            if !valid || reply.as_ref().is_some_and(|reply| reply.code != code) {
                return Err(reader.wrong("a reply code 4yz or 5yz, the same in each line"));
            }
            if !matches!(rest.first(), None | Some(b' ' | b'-')) {
                return Err(reader.wrong("a space behind the reply code"));
            }
            let words = rest.get(1..).unwrap_or_default();
            let words: Vec<u8> = undoubled(words).into_iter().filter(|octet| *octet != b'\r').collect();
            reply.get_or_insert_with(|| Self { code, lines: Vec::new() }).lines.push(words.into());
        }
        reply.ok_or_else(|| reader.wrong("a reply"))
    }
}

fn undoubled(octets: &[u8]) -> Vec<u8> {
    let mut single = Vec::with_capacity(octets.len());
    let mut octets = octets.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        if octet == b'%' && octets.peek() == Some(&b'%') {
            octets.next();
        }
        single.push(octet);
    }
    single
}

/// A change to the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Modification {
    /// `+`, or with parameters `2`.
    AddRecipient {
        /// The path, with or without angle brackets.
        path: Text,
        /// Parameters of RCPT, parted by spaces.
        parameters: Option<Text>,
    },
    /// `-`
    DeleteRecipient(Text),
    /// `b`: a piece of a new body; the first replaces the old one.
    ReplaceBody(Bytes),
    /// `e`
    ChangeSender {
        /// The path, with or without angle brackets.
        path: Text,
        /// Parameters of MAIL, parted by spaces.
        parameters: Option<Text>,
    },
    /// `h`: a field behind all others.
    AddHeader {
        /// Its name.
        name: Text,
        /// Its value, lines parted by LF.
        value: Text,
    },
    /// `i`: a field in front of the one at this place.
    InsertHeader {
        /// The place, from 0.
        index: u32,
        /// Its name.
        name: Text,
        /// Its value, lines parted by LF.
        value: Text,
    },
    /// `m`: another value for a field, or none to delete it.
    ChangeHeader {
        /// Which of the fields of this name, from 1.
        index: u32,
        /// Its name.
        name: Text,
        /// Its value, lines parted by LF; empty to delete it.
        value: Text,
    },
    /// `q`: put the message aside, and why.
    Quarantine(Text),
}

impl Response {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Negotiate(_) => b'O',
            Self::Continue => b'c',
            Self::Accept => b'a',
            Self::Reject => b'r',
            Self::TempFail => b't',
            Self::Discard => b'd',
            Self::Skip => b's',
            Self::Progress => b'p',
            Self::Shutdown => b'4',
            Self::ConnectionFailed => b'f',
            Self::Reply(_) => b'y',
            Self::Modify(modification) => match modification {
                Modification::AddRecipient { parameters: None, .. } => b'+',
                Modification::AddRecipient { .. } => b'2',
                Modification::DeleteRecipient(_) => b'-',
                Modification::ReplaceBody(_) => b'b',
                Modification::ChangeSender { .. } => b'e',
                Modification::AddHeader { .. } => b'h',
                Modification::InsertHeader { .. } => b'i',
                Modification::ChangeHeader { .. } => b'm',
                Modification::Quarantine(_) => b'q',
            },
        }
    }

    /// Writes it as a packet, as a filter does.
    pub fn encode(&self, out: &mut BytesMut) {
        put(self.code(), out, |out| match self {
            Self::Negotiate(options) => options.put(out),
            Self::Reply(reply) => reply.put(out),
            Self::Modify(modification) => modification.put(out),
            _ => {}
        });
    }

    /// Reads a packet. Data behind a response that has none is left alone, as by other mail systems.
    ///
    /// # Errors
    /// The packet is no response.
    pub fn parse(packet: &Packet) -> Result<Self, PacketError> {
        let mut reader = Reader::new(packet.code, packet.data.clone());
        Ok(match packet.code {
            b'O' => Self::Negotiate(Options::read(&mut reader)?),
            b'c' => Self::Continue,
            b'a' => Self::Accept,
            b'r' => Self::Reject,
            b't' => Self::TempFail,
            b'd' => Self::Discard,
            b's' => Self::Skip,
            b'p' => Self::Progress,
            b'4' => Self::Shutdown,
            b'f' => Self::ConnectionFailed,
            b'y' => Self::Reply(ReplyCode::read(&mut reader)?),
            _ => Self::Modify(Modification::read(packet.code, reader)?),
        })
    }
}

impl Modification {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::AddRecipient { path, parameters } | Self::ChangeSender { path, parameters } => {
                path.put(out);
                if let Some(parameters) = parameters {
                    parameters.put(out);
                }
            }
            Self::DeleteRecipient(text) | Self::Quarantine(text) => text.put(out),
            Self::ReplaceBody(octets) => out.extend_from_slice(octets),
            Self::AddHeader { name, value } => {
                name.put(out);
                value.put(out);
            }
            Self::InsertHeader { index, name, value } | Self::ChangeHeader { index, name, value } => {
                out.extend_from_slice(&index.to_be_bytes());
                name.put(out);
                value.put(out);
            }
        }
    }

    fn read(code: u8, mut reader: Reader) -> Result<Self, PacketError> {
        Ok(match code {
            b'+' => Self::AddRecipient { path: reader.text("a path")?, parameters: None },
            b'2' => {
                let path = reader.text("a path")?;
                // Without parameters it is still this response, with an empty list of them.
                Self::AddRecipient { path, parameters: Some(parameters(&mut reader).unwrap_or_default()) }
            }
            b'-' => Self::DeleteRecipient(reader.text("a path")?),
            b'b' => Self::ReplaceBody(reader.rest()),
            b'e' => Self::ChangeSender { path: reader.text("a path")?, parameters: parameters(&mut reader) },
            b'h' => Self::AddHeader { name: reader.text("a name")?, value: value(&mut reader)? },
            b'i' | b'm' => {
                let index = reader.u32("an index")?;
                let (name, value) = (reader.text("a name")?, value(&mut reader)?);
                if code == b'i' {
                    Self::InsertHeader { index, name, value }
                } else {
                    Self::ChangeHeader { index, name, value }
                }
            }
            b'q' => Self::Quarantine(reader.text("a reason")?),
            code => return Err(PacketError::UnknownCode { code }),
        })
    }
}

/// The parameters behind a path: libmilter writes them as one string, others as several.
fn parameters(reader: &mut Reader) -> Option<Text> {
    let texts = reader.texts();
    (!texts.is_empty()).then(|| texts.iter().map(Text::as_bytes).collect::<Vec<_>>().join(&b' ').into())
}

fn value(reader: &mut Reader) -> Result<Text, PacketError> {
    reader.text("a value")
}
