//! A message in the drop directory: what `sendmail` writes and `mta` reads.
//!
//! The file is a transaction as it would be on the wire, with lines that end in LF:
//!
//! ```text
//! mailwright-drop 1
//! NAME Ann+20Other
//! MAIL FROM:<ann@example.org> BODY=8BITMIME RET=HDRS
//! RCPT TO:<bob@example.net> NOTIFY=NEVER
//! BDAT 5 LAST
//! hello
//! ```
//!
//! The first line is the version. `NAME` may be missing; it is xtext (RFC 3461 §4). MAIL and RCPT are those of RFC 5321
//! §4.1.1 with the parameters of RFC 3461, read by the rules of the wire and without leniency. `BDAT` (RFC 3030 §2)
//! has the length of what follows, which is all the rest of the file. Whoever may write into the directory writes such
//! files, so they are trusted in nothing.

use address::{ForwardPath, ReversePath};
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::{Command, Leniency, MailParameters, RcptParameters, Xtext};

/// A submission by a program of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DropFile {
    /// The sender's name, at most [`DropFile::MAX_NAME`] octets, no control characters.
    pub full_name: Option<String>,
    /// Who is to be told of failures, as the sender says.
    pub sender: ReversePath,
    /// What follows the sender. `SIZE` and `AUTH` have no business here.
    pub parameters: MailParameters,
    /// At least one.
    pub recipients: Vec<(ForwardPath, RcptParameters)>,
    /// The message, with lines that end in CRLF.
    pub octets: Bytes,
}

/// What is read at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DropLimits {
    /// Recipients; default 1000, as in a session (RFC 5321 §4.5.3.1.8 asks for 100).
    pub recipients: usize,
    /// Octets of the message; default 50 MiB, as in a session.
    pub message_octets: u64,
}

impl Default for DropLimits {
    fn default() -> Self {
        Self { recipients: 1000, message_octets: 50 << 20 }
    }
}

impl DropLimits {
    /// The octets of the largest file that can be good.
    #[must_use]
    pub fn file_octets(&self) -> u64 {
        let lines = (self.recipients as u64).saturating_add(4);
        self.message_octets.saturating_add(lines.saturating_mul(MAX_LINE as u64))
    }
}

/// Why a file is none of these.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DropError {
    /// The first line does not name a version that is known.
    #[error("not of a known version")]
    Version,
    /// Line `line` (from 1) has no end, or is longer than it may be.
    #[error("line {line} is cut off or longer than {MAX_LINE} octets")]
    Line {
        /// Which.
        line: usize,
    },
    /// Line `line` (from 1) is not what stands there.
    #[error("line {line} is not the one expected there")]
    Syntax {
        /// Which.
        line: usize,
    },
    /// More recipients than `limit`.
    #[error("more than {limit} recipients")]
    TooManyRecipients {
        /// The limit.
        limit: usize,
    },
    /// The message is longer than `limit` octets.
    #[error("message longer than {limit} octets")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// What follows `BDAT` is not as long as it says.
    #[error("the message is {found} octets, not {told}")]
    Length {
        /// What the file says.
        told: u64,
        /// What is there.
        found: u64,
    },
}

const VERSION: &[u8] = b"mailwright-drop 1";

/// Octets of a line without its LF: RCPT with the longest path and ORCPT fits well.
const MAX_LINE: usize = 4096;

impl DropFile {
    /// Octets of a name at most.
    pub const MAX_NAME: usize = 255;

    /// The octets of the file up to the message, which follows.
    #[must_use]
    pub fn envelope(&self) -> Bytes {
        let mut out = BytesMut::from(VERSION);
        out.put_u8(b'\n');
        if let Some(name) = &self.full_name {
            out.extend_from_slice(b"NAME ");
            out.extend_from_slice(Xtext::encode(name.as_bytes()).as_str().as_bytes());
            out.put_u8(b'\n');
        }
        let mail = Command::Mail { reverse_path: self.sender.clone(), parameters: self.parameters.clone() };
        line(&mail, &mut out);
        for (forward_path, parameters) in &self.recipients {
            let rcpt = Command::Rcpt { forward_path: forward_path.clone(), parameters: parameters.clone() };
            line(&rcpt, &mut out);
        }
        line(&Command::Bdat { octets: self.octets.len() as u64, last: true }, &mut out);
        out.freeze()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(file: &Bytes, limits: &DropLimits) -> Result<Self, DropError> {
        let mut lines = Lines { file, at: 0, line: 0 };
        if lines.next().ok() != Some(VERSION) {
            return Err(DropError::Version);
        }
        let mut next = lines.next()?;
        let mut full_name = None;
        if let Some(value) = next.strip_prefix(b"NAME ") {
            full_name = Some(name(value).ok_or(lines.wrong())?);
            next = lines.next()?;
        }
        let Some(Command::Mail { reverse_path: sender, parameters }) = command(next) else { return Err(lines.wrong()) };
        if parameters.size.is_some() || parameters.auth.is_some() {
            return Err(lines.wrong());
        }
        let mut recipients = Vec::new();
        let told = loop {
            match command(lines.next()?) {
                Some(Command::Rcpt { forward_path, parameters }) => {
                    if recipients.len() >= limits.recipients {
                        return Err(DropError::TooManyRecipients { limit: limits.recipients });
                    }
                    recipients.push((forward_path, parameters));
                }
                Some(Command::Bdat { octets, last: true }) if !recipients.is_empty() => break octets,
                _ => return Err(lines.wrong()),
            }
        };
        let octets = file.slice(lines.at..);
        let found = octets.len() as u64;
        if told > limits.message_octets {
            return Err(DropError::TooLarge { limit: limits.message_octets });
        }
        if told != found {
            return Err(DropError::Length { told, found });
        }
        Ok(Self { full_name, sender, parameters, recipients, octets })
    }
}

fn line(command: &Command, out: &mut BytesMut) {
    command.encode(out);
    // Lines end in LF here.
    out.truncate(out.len() - 2);
    out.put_u8(b'\n');
}

/// A command as it is written: there is one way to write each, and no other is read.
fn command(line: &[u8]) -> Option<Command> {
    let command = Command::parse(line, &Leniency::strict()).ok()?;
    let mut written = BytesMut::new();
    command.encode(&mut written);
    (written.strip_suffix(b"\r\n") == Some(line)).then_some(command)
}

/// A name that can stand in a header field.
fn name(value: &[u8]) -> Option<String> {
    let wire = std::str::from_utf8(value).ok()?;
    let name = String::from_utf8(Xtext::from_wire(wire)?.decode()).ok()?;
    let fits = !name.is_empty() && name.len() <= DropFile::MAX_NAME && !name.chars().any(char::is_control);
    (fits && Xtext::encode(name.as_bytes()).as_str() == wire).then_some(name)
}

struct Lines<'a> {
    file: &'a [u8],
    at: usize,
    /// The number of the line read last, from 1.
    line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], DropError> {
        self.line += 1;
        let rest = self.file.get(self.at..).unwrap_or_default();
        let window = rest.get(..=MAX_LINE).unwrap_or(rest);
        let end = memchr::memchr(b'\n', window).ok_or(DropError::Line { line: self.line })?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    fn wrong(&self) -> DropError {
        DropError::Syntax { line: self.line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BodyType, Notify, OriginalRecipient, Ret};

    fn read(text: &str) -> Result<DropFile, DropError> {
        DropFile::parse(&Bytes::copy_from_slice(text.as_bytes()), &DropLimits { recipients: 2, message_octets: 10 })
    }

    const GOOD: &str = "mailwright-drop 1\nNAME Ann+20\u{4f}ther\nMAIL FROM:<ann@example.org> BODY=8BITMIME RET=HDRS ENVID=x\n\
        RCPT TO:<bob@example.net> NOTIFY=NEVER ORCPT=rfc822;b@example.net\nRCPT TO:<postmaster>\nBDAT 7 LAST\nhello\r\n";

    #[test]
    fn a_file_reads_as_it_was_written() {
        let file = read(GOOD).unwrap();
        assert_eq!(file.full_name.as_deref(), Some("Ann Other"));
        assert_eq!(file.parameters.body, Some(BodyType::EightBitMime));
        assert_eq!((file.parameters.ret, file.recipients.len()), (Some(Ret::Hdrs), 2));
        assert_eq!(file.recipients[0].1.notify, Some(Notify::default()));
        assert_eq!(file.recipients[0].1.orcpt, Some(OriginalRecipient::rfc822("b@example.net")));
        assert_eq!(&file.octets[..], b"hello\r\n");
        assert_eq!([&file.envelope()[..], &file.octets].concat(), GOOD.as_bytes());
    }

    #[test]
    fn what_is_not_as_it_is_written_is_refused() {
        use DropError::{Length, Line, Syntax, TooLarge, TooManyRecipients, Version};
        let table = [
            ("", "", Version),
            ("drop 1", "drop 2", Version),
            ("\nNAME Ann+20Other\n", "\r\nNAME Ann+20Other\n", Version),
            ("Ann+20Other", "Ann Other", Syntax { line: 2 }),
            ("Ann+20Other", "Ann+0AOther", Syntax { line: 2 }),
            ("Ann+20Other", "Ann+2gOther", Syntax { line: 2 }),
            ("Ann+20Other", "", Syntax { line: 2 }),
            ("Ann+20Other", "+41nn", Syntax { line: 2 }),
            ("MAIL FROM:", "mail from:", Syntax { line: 3 }),
            ("MAIL FROM:", "MAIL FROM: ", Syntax { line: 3 }),
            ("<ann@example.org>", "ann@example.org", Syntax { line: 3 }),
            ("RET=HDRS", "SIZE=5", Syntax { line: 3 }),
            ("RET=HDRS", "AUTH=<>", Syntax { line: 3 }),
            ("RCPT TO:<bob@example.net>", "RCPT TO:<>", Syntax { line: 4 }),
            ("RCPT TO:<postmaster>\n", "RCPT TO:<a@b>\nRCPT TO:<c@d>\n", TooManyRecipients { limit: 2 }),
            ("BDAT 7 LAST", "BDAT 7", Syntax { line: 6 }),
            ("BDAT 7 LAST", "BDAT 8 LAST", Length { told: 8, found: 7 }),
            ("BDAT 7 LAST", "BDAT 6 LAST", Length { told: 6, found: 7 }),
            ("BDAT 7 LAST", "BDAT 11 LAST", TooLarge { limit: 10 }),
            ("BDAT 7 LAST\nhello\r\n", "", Line { line: 6 }),
            ("\nRCPT TO:<postmaster>", "\r\nRCPT TO:<postmaster>", Syntax { line: 4 }),
        ];
        for (from, to, expected) in table {
            let text = if from.is_empty() { String::new() } else { GOOD.replacen(from, to, 1) };
            assert_eq!(read(&text), Err(expected), "{from:?} → {to:?}");
        }
        let no_recipient = "mailwright-drop 1\nMAIL FROM:<>\nBDAT 0 LAST\n";
        assert_eq!(read(no_recipient), Err(Syntax { line: 3 }));
        let long = format!("mailwright-drop 1\nNAME {}\n", "x".repeat(MAX_LINE));
        assert_eq!(read(&long), Err(Line { line: 2 }));
    }
}
