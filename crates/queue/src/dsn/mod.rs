//! What the sender is told: delivery status notifications (RFC 3461 to RFC 3464, RFC 6522, RFC 6533).
//!
//! [`decide`] says whether a report is due, [`build`] writes it, [`parse`] reads one, ours or somebody else's. Nothing of
//! what a remote server said is trusted: it is cleaned, cut, and quoted as its words.

mod build;
mod decide;
mod parse;
mod text;

use jiff::Timestamp;
use wire::EnhancedCode;
pub use wire::{Notify, Ret};

pub use self::build::{Report, Returned, build};
pub use self::decide::{Happened, MailWishes, RecipientWishes, UNASKED_OCTETS, decide, returns_content};
pub use self::parse::{ParseError, parse, parse_status};

/// Octets of a value in a report: what is longer is cut. Four times as many as a remote server's line may have
/// (RFC 5321 §4.5.3.1.5), and more than any address (RFC 5321 §4.5.3.1.3).
pub const VALUE_OCTETS: usize = 2048;

/// Recipients in one report: more are refused when read, left out when written. As many as one message may have here.
pub const REPORT_RECIPIENTS: usize = 1000;

/// A value with its type: `rfc822;ann@a.example`, `dns;mx.a.example`, `smtp;550 no` (RFC 3464 §2.1.2).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Typed {
    /// The type, in lower case: an atom.
    pub kind: String,
    /// The value: one line.
    pub text: String,
}

impl Typed {
    /// An address: `rfc822`, or `utf-8` if it is not US-ASCII (RFC 6533 §3).
    #[must_use]
    pub fn address(address: &str) -> Self {
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        Self { kind: kind.to_owned(), text: one_line(address) }
    }

    /// A host by its name.
    #[must_use]
    pub fn dns(host: &str) -> Self {
        Self { kind: "dns".to_owned(), text: one_line(host) }
    }

    /// What a server answered, each line with its code first (RFC 3461 §9.2).
    #[must_use]
    pub fn smtp(reply: &str) -> Self {
        Self { kind: "smtp".to_owned(), text: one_line(reply) }
    }

    /// Our own words, for what no server said.
    #[must_use]
    pub fn own(words: &str) -> Self {
        Self { kind: "x-mailwright".to_owned(), text: one_line(words) }
    }
}

/// What was done for a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// It could not be delivered, and is not tried again.
    Failed,
    /// It could not be delivered yet.
    Delayed,
    /// It was delivered.
    Delivered,
    /// It was passed to a server that sends no reports.
    Relayed,
    /// It was passed to several further addresses.
    Expanded,
}

impl Action {
    const ALL: [Self; 5] = [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed, Self::Expanded];

    /// The word of the field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(word))
    }
}

/// The machine's part of a report (RFC 3464 §2.1): what was done for each recipient. Times count in seconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeliveryStatus {
    /// ENVID, decoded.
    pub original_envelope_id: Option<String>,
    /// Who writes the report.
    pub reporting_mta: Typed,
    /// Who had sent the message to it.
    pub received_from_mta: Option<Typed>,
    /// When it arrived there.
    pub arrival_date: Option<Timestamp>,
    /// The sender's deadline, as we count it (RFC 2852 §5).
    pub deliver_by_date: Option<Timestamp>,
    /// The recipients, at least one, at most [`REPORT_RECIPIENTS`].
    pub recipients: Vec<RecipientStatus>,
}

/// What was done for one recipient (RFC 3464 §2.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecipientStatus {
    /// ORCPT, decoded: the address that the sender had written.
    pub original_recipient: Option<Typed>,
    /// The address that was tried at last.
    pub final_recipient: Typed,
    /// What was done.
    pub action: Action,
    /// Why.
    pub status: EnhancedCode,
    /// Who said so.
    pub remote_mta: Option<Typed>,
    /// In which words.
    pub diagnostic_code: Option<Typed>,
    /// When.
    pub last_attempt_date: Option<Timestamp>,
    /// How long it is tried further.
    pub will_retry_until: Option<Timestamp>,
}

/// One line without control characters, each run of white space a single space, no longer than [`VALUE_OCTETS`], no
/// word longer than a line. What is one already stays as it is.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(VALUE_OCTETS));
    let mut word = 0;
    for char in text.chars() {
        // The same for a line that was made here before, so that it stays as it is.
        if line.len() + char.len_utf8() + 1 > VALUE_OCTETS {
            break;
        }
        if char.is_whitespace() || char.is_control() {
            if word > 0 {
                line.push(' ');
                word = 0;
            }
            continue;
        }
        if word + char.len_utf8() > WORD_OCTETS {
            line.push(' ');
            word = 0;
        }
        line.push(char);
        word += char.len_utf8();
    }
    line.truncate(line.trim_end().len());
    line
}

/// The lines of a server's answer, which are one in a value: each begins with the code, and all but the last go on with
/// `-` (RFC 3461 §9.2).
fn reply_lines(value: &str) -> Vec<&str> {
    let code = match value.split_once('-') {
        Some((code, _)) if code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit()) => code,
        _ => return vec![value],
    };
    let begins = [format!(" {code}-"), format!(" {code} ")];
    let (mut lines, mut rest) = (Vec::new(), value);
    while rest.starts_with(&format!("{code}-"))
        && let Some(end) = begins.iter().filter_map(|begin| rest.find(begin)).min()
    {
        let (line, behind) = rest.split_at(end);
        lines.push(line);
        rest = behind.trim_start();
    }
    lines.push(rest);
    lines
}

/// As many as a line of content may have, less the name of the field (RFC 5322 §2.1.1).
const WORD_OCTETS: usize = 900;
