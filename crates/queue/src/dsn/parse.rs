//! Reads a report, ours or somebody else's. Tolerant of what others write, within limits.

use jiff::Timestamp;
use wire::EnhancedCode;

use super::decide::unescape;
use super::{Action, DeliveryStatus, REPORT_RECIPIENTS, RecipientStatus, Typed, VALUE_OCTETS, one_line};

/// Why octets are no report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Not a multipart/report with a part of type message/delivery-status or message/global-delivery-status.
    #[error("no delivery-status part")]
    NoStatus,
    /// That part is encoded, which RFC 3464 §2.1 forbids and RFC 6533 §4.2 allows; not read here.
    #[error("the delivery-status part is encoded")]
    Encoded,
    /// A field that must be there is not, or has no such value.
    #[error("{field}: missing or wrong")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// More recipients than are read.
    #[error("more than {limit} recipients")]
    TooManyRecipients {
        /// How many are.
        limit: usize,
    },
}

/// Reads a whole message. Only its first 4 MiB are looked at: the status stands before what is returned.
///
/// # Errors
/// It is no report, or one that cannot be understood.
pub fn parse(octets: &[u8]) -> Result<DeliveryStatus, ParseError> {
    let octets = octets.get(..octets.len().min(PARTS_OCTETS)).unwrap_or_default();
    let mut lines = Lines(octets);
    let fields = header(&mut lines);
    let content_type = value(&fields, "content-type").ok_or(ParseError::NoStatus)?;
    if !is_type(content_type, "multipart/report") {
        return Err(ParseError::NoStatus);
    }
    let boundary = parameter(content_type, "boundary").ok_or(ParseError::NoStatus)?;
    let mark = format!("--{boundary}");
    while let Some(line) = lines.next() {
        if line.strip_prefix(mark.as_bytes()).is_none_or(|rest| !rest.trim_ascii().is_empty()) {
            continue;
        }
        let fields = header(&mut lines);
        let content_type = value(&fields, "content-type").unwrap_or_default();
        let is_status = ["message/delivery-status", "message/global-delivery-status"];
        if !is_status.iter().any(|kind| is_type(content_type, kind)) {
            continue;
        }
        let encoding = value(&fields, "content-transfer-encoding").unwrap_or("7bit");
        if !["7bit", "8bit", "binary"].iter().any(|plain| plain.eq_ignore_ascii_case(encoding.trim())) {
            return Err(ParseError::Encoded);
        }
        let start = lines.0;
        let mut octets = start.len();
        loop {
            let here = lines.0.len();
            match lines.next() {
                Some(line) if line.starts_with(mark.as_bytes()) => {
                    octets = start.len() - here;
                    break;
                }
                Some(_) => {}
                None => break,
            }
        }
        return parse_status(start.get(..octets).unwrap_or_default());
    }
    Err(ParseError::NoStatus)
}

/// Reads the content of a delivery-status part (RFC 3464 §2.1): groups of fields, parted by empty lines.
///
/// # Errors
/// It is none.
pub fn parse_status(octets: &[u8]) -> Result<DeliveryStatus, ParseError> {
    let mut lines = Lines(octets.get(..octets.len().min(PARTS_OCTETS)).unwrap_or_default());
    let mut groups = std::iter::from_fn(|| {
        // Some write more than one empty line, or begin with one.
        while !lines.0.is_empty() {
            let fields = header(&mut lines);
            if !fields.is_empty() {
                return Some(fields);
            }
        }
        None
    });
    let message = groups.next().ok_or(ParseError::Field { field: "Reporting-MTA" })?;
    let reporting_mta = typed(&message, "reporting-mta").ok_or(ParseError::Field { field: "Reporting-MTA" })?;
    let original_envelope_id = value(&message, "original-envelope-id").map(one_line);
    let mut recipients = Vec::new();
    for fields in groups {
        if recipients.len() >= REPORT_RECIPIENTS {
            return Err(ParseError::TooManyRecipients { limit: REPORT_RECIPIENTS });
        }
        recipients.push(recipient(&fields)?);
    }
    if recipients.is_empty() {
        return Err(ParseError::Field { field: "Final-Recipient" });
    }
    Ok(DeliveryStatus {
        original_envelope_id,
        reporting_mta,
        received_from_mta: typed(&message, "received-from-mta"),
        arrival_date: time(&message, "arrival-date"),
        deliver_by_date: time(&message, "deliver-by-date"),
        recipients,
    })
}

fn recipient(fields: &[Field]) -> Result<RecipientStatus, ParseError> {
    let final_recipient = typed(fields, "final-recipient").ok_or(ParseError::Field { field: "Final-Recipient" })?;
    let action = value(fields, "action").and_then(|value| Action::of(first_word(value)));
    // RFC 3464 Appendix E: a comment may follow.
    let status = value(fields, "status").and_then(|value| EnhancedCode::parse(first_word(value)));
    Ok(RecipientStatus {
        original_recipient: typed(fields, "original-recipient"),
        final_recipient,
        action: action.ok_or(ParseError::Field { field: "Action" })?,
        status: status.ok_or(ParseError::Field { field: "Status" })?,
        remote_mta: typed(fields, "remote-mta"),
        diagnostic_code: typed(fields, "diagnostic-code"),
        last_attempt_date: time(fields, "last-attempt-date"),
        will_retry_until: time(fields, "will-retry-until"),
    })
}

/// Name in lower case, and value, unfolded.
type Field = (String, String);

struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// The next line without its end, CRLF or LF.
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|octet| *octet == b'\n');
        let (line, rest) = match end {
            Some(end) => (self.0.get(..end)?, self.0.get(end + 1..)?),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Fields up to an empty line. Lines that are none are passed over.
fn header(lines: &mut Lines<'_>) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    while let Some(line) = lines.next() {
        if line.trim_ascii().is_empty() {
            break;
        }
        let line = line.get(..line.len().min(VALUE_OCTETS + 100)).unwrap_or_default();
        let text = String::from_utf8_lossy(line);
        if text.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut()
                && value.len() < VALUE_OCTETS + 100
            {
                value.push(' ');
                value.push_str(text.trim());
            }
        } else if let Some((name, value)) = text.split_once(':')
            && fields.len() < GROUP_FIELDS
        {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    fields
}

fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
}

fn typed(fields: &[Field], name: &str) -> Option<Typed> {
    let (kind, text) = value(fields, name)?.split_once(';')?;
    let kind = kind.trim().to_ascii_lowercase();
    if kind.is_empty() || kind.len() > 64 || !kind.bytes().all(|octet| octet.is_ascii_graphic()) {
        return None;
    }
    let text = one_line(text);
    let text = if kind == "utf-8" { one_line(&unescape(&text)) } else { text };
    Some(Typed { kind, text })
}

fn time(fields: &[Field], name: &str) -> Option<Timestamp> {
    let value = value(fields, name)?;
    // Names of zones in a comment are for people.
    let value = value.split('(').next().unwrap_or_default().trim();
    jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value).ok()
}

fn first_word(value: &str) -> &str {
    value.split(|char: char| char.is_whitespace() || char == '(').find(|word| !word.is_empty()).unwrap_or_default()
}

fn is_type(content_type: &str, kind: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind)
}

/// A parameter of Content-Type, quoted or not.
fn parameter(content_type: &str, name: &str) -> Option<String> {
    let mut rest = content_type.split_once(';')?.1;
    loop {
        let (found, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let (value, behind) = if let Some(quoted) = behind.strip_prefix('"') {
            let (value, behind) = quoted.split_once('"')?;
            (value, behind.split_once(';').map_or("", |(_, behind)| behind))
        } else {
            let (value, behind) = behind.split_once(';').unwrap_or((behind, ""));
            (value.trim_end(), behind)
        };
        if found.trim().eq_ignore_ascii_case(name) {
            // RFC 2046 §5.1.1 has 1 to 70.
            return (1..=200).contains(&value.len()).then(|| value.to_owned());
        }
        rest = behind;
    }
}

/// Octets of a message that are looked at; a report for [`REPORT_RECIPIENTS`] has room.
const PARTS_OCTETS: usize = 4 << 20;

/// Fields of one group that are read.
const GROUP_FIELDS: usize = 100;
