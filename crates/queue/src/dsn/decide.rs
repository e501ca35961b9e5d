//! Whether a report is due (RFC 3461 §4 and §5.2).

use wire::{Notify, Ret};

use super::{Action, Typed, one_line};

/// What a sender wishes for a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MailWishes {
    /// `RET`.
    pub ret: Option<Ret>,
    /// `ENVID`, decoded.
    pub envid: Option<String>,
}

impl MailWishes {
    /// From the parameters of MAIL as on the wire, as [`crate::envelope::Envelope::mail`] has them. What is not
    /// understood is no wish.
    #[must_use]
    pub fn of_wire(parameters: &str) -> Self {
        Self {
            ret: value(parameters, "RET").and_then(Ret::from_wire),
            envid: value(parameters, "ENVID").and_then(xtext).map(|envid| one_line(&envid)),
        }
    }
}

/// What a sender wishes for a recipient.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecipientWishes {
    /// `NOTIFY`.
    pub notify: Option<Notify>,
    /// `ORCPT`, decoded.
    pub original: Option<Typed>,
}

impl RecipientWishes {
    /// From the parameters of RCPT as on the wire, as [`crate::envelope::RecipientEnvelope::rcpt`] has them.
    #[must_use]
    pub fn of_wire(parameters: &str) -> Self {
        let notify = value(parameters, "NOTIFY").and_then(Notify::from_wire);
        let original = value(parameters, "ORCPT").and_then(|orcpt| {
            let (kind, address) = orcpt.split_once(';')?;
            let kind = kind.to_ascii_lowercase();
            // RFC 6533 §3: `utf-8` has its own embedding, which may be inside xtext's.
            let text = if kind == "utf-8" { unescape(address) } else { xtext(address)? };
            Some(Typed { kind, text: one_line(&text) })
        });
        Self { notify, original }
    }
}

/// What happened to a recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happened {
    /// Given up.
    Failed,
    /// Late.
    Delayed,
    /// Delivered here.
    Delivered,
    /// Accepted by another server.
    Relayed {
        /// It offers DSN, and was told the wishes: reporting is its duty now.
        dsn: bool,
        /// A deadline asks for it, whatever NOTIFY says short of NEVER: it is of mode N and the server does not know
        /// DELIVERBY (RFC 2852 §4.1.4.2), or a trace was asked for.
        deadline: bool,
    },
    /// Passed to several addresses by an alias; each is on its own from here.
    Expanded,
}

/// Whether the sender is told, and as what.
///
/// | | no NOTIFY | NEVER | SUCCESS | FAILURE | DELAY |
/// |---|---|---|---|---|---|
/// | failed | yes | | | yes | |
/// | delayed | yes | | | | yes |
/// | delivered, expanded | | | yes | | |
/// | relayed, no DSN there | | | yes | | |
/// | relayed, DSN there | | | | | |
///
/// Never to the null reverse-path (RFC 3461 §5.2, RFC 5321 §4.5.5). Whether an unauthenticated sender is told is the
/// caller's policy (rule 36).
#[must_use]
pub fn decide(sender: &str, notify: Option<Notify>, happened: Happened) -> Option<Action> {
    if sender.is_empty() || sender == "<>" {
        return None;
    }
    // RFC 3461 §4.1: without NOTIFY failures are told, and delays may be.
    let wished = notify.unwrap_or(Notify { success: false, failure: true, delay: true });
    match happened {
        Happened::Failed => wished.failure.then_some(Action::Failed),
        Happened::Delayed => wished.delay.then_some(Action::Delayed),
        Happened::Delivered => wished.success.then_some(Action::Delivered),
        Happened::Expanded => wished.success.then_some(Action::Expanded),
        // RFC 3461 §5.2.2.
        Happened::Relayed { dsn, deadline } => {
            let is_never = wished == Notify::default();
            (!dsn && wished.success || deadline && !is_never).then_some(Action::Relayed)
        }
    }
}

/// Whether the whole message is returned: only with a failure (RFC 3461 §4.3), if the sender asked for it, or did not
/// ask and it has no more than [`UNASKED_OCTETS`]. A message with REQUIRETLS counts as `RET=HDRS` (RFC 8689 §5): pass that.
#[must_use]
pub fn returns_content(ret: Option<Ret>, actions: &[Action], octets: u64) -> bool {
    let failed = actions.contains(&Action::Failed);
    failed
        && match ret {
            Some(Ret::Full) => true,
            Some(Ret::Hdrs) => false,
            None => octets <= UNASKED_OCTETS,
        }
}

/// Octets of a message that is returned whole although nobody asked for it: what is larger costs the sender's mailbox more
/// than it helps.
pub const UNASKED_OCTETS: u64 = 51_200;

/// The value of a parameter.
fn value<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = parameters.split(' ').filter_map(|parameter| parameter.split_once('='));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// RFC 3461 §4: printable US-ASCII in which `+3D` stands for an octet.
fn xtext(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'+' {
            let (hex, behind) = rest.split_at_checked(2)?;
            let hex = std::str::from_utf8(hex).ok()?;
            octets.push(u8::from_str_radix(hex, 16).ok()?);
            rest = behind;
        } else {
            octets.push(first);
        }
    }
    Some(String::from_utf8_lossy(&octets).into_owned())
}

/// RFC 6533 §3: `\x{20AC}` stands for a character.
pub(super) fn unescape(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x{") {
        found.push_str(before);
        let char = behind.split_once('}').and_then(|(hex, behind)| {
            let plain = (2..=6).contains(&hex.len()) && hex.bytes().all(|octet| octet.is_ascii_hexdigit());
            let char = plain.then(|| u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)).flatten()?;
            Some((char, behind))
        });
        if let Some((char, behind)) = char {
            found.push(char);
            rest = behind;
        } else {
            found.push_str("\\x{");
            rest = behind;
        }
    }
    found.push_str(rest);
    found
}

/// The other way: what would be mistaken for an escape or break a parameter, and, unless `utf8`, what is not US-ASCII.
/// Cut where a line would become too long.
pub(super) fn escape(text: &str, utf8: bool) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if out.len() > ESCAPED_OCTETS {
            break;
        }
        let keeps =
            matches!(char, '!'..='~') || utf8 && !char.is_ascii() && !char.is_whitespace() && !char.is_control();
        if keeps && !matches!(char, '\\' | '+' | '=') {
            out.push(char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{{{:02X}}}", u32::from(char));
        }
    }
    out
}

/// Octets of an escaped address: a line has 998, less the name of the field.
const ESCAPED_OCTETS: usize = 880;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_what() {
        let notify = |success, failure, delay| Some(Notify { success, failure, delay });
        let plain = Happened::Relayed { dsn: false, deadline: false };
        let passed = Happened::Relayed { dsn: true, deadline: false };
        let all = [Happened::Failed, Happened::Delayed, Happened::Delivered, plain, passed, Happened::Expanded];
        use Action::{Delayed, Delivered, Expanded, Failed, Relayed};
        for (sender, notify, expected) in [
            ("a@b.example", None, [Some(Failed), Some(Delayed), None, None, None, None]),
            ("a@b.example", notify(false, false, false), [None; 6]),
            (
                "a@b.example",
                notify(true, false, false),
                [None, None, Some(Delivered), Some(Relayed), None, Some(Expanded)],
            ),
            ("a@b.example", notify(false, true, false), [Some(Failed), None, None, None, None, None]),
            ("a@b.example", notify(false, false, true), [None, Some(Delayed), None, None, None, None]),
            ("", notify(true, true, true), [None; 6]),
            ("<>", None, [None; 6]),
        ] {
            for (happened, expected) in all.iter().zip(expected) {
                assert_eq!(decide(sender, notify, *happened), expected, "{sender} {notify:?} {happened:?}");
            }
        }
        // RFC 2852 §4.1.4.2
        let traced = Happened::Relayed { dsn: true, deadline: true };
        assert_eq!(decide("a@b.example", None, traced), Some(Relayed));
        assert_eq!(decide("a@b.example", notify(false, false, false), traced), None);
    }

    #[test]
    fn what_is_returned() {
        for (ret, action, octets, expected) in [
            (None, Action::Failed, UNASKED_OCTETS, true),
            (None, Action::Failed, UNASKED_OCTETS + 1, false),
            (Some(Ret::Full), Action::Failed, UNASKED_OCTETS + 1, true),
            (Some(Ret::Hdrs), Action::Failed, 50, false),
            (Some(Ret::Full), Action::Delayed, 50, false),
        ] {
            assert_eq!(returns_content(ret, &[action], octets), expected, "{ret:?} {action:?}");
        }
    }

    #[test]
    fn wishes() {
        // RFC 3461 §10.1.
        let mail = MailWishes::of_wire(" RET=HDRS ENVID=QQ314159");
        assert_eq!(mail, MailWishes { ret: Some(Ret::Hdrs), envid: Some("QQ314159".to_owned()) });
        let typed = |kind: &str, text: &str| Some(Typed { kind: kind.to_owned(), text: text.to_owned() });
        for (wire, notify, original) in [
            (
                " NOTIFY=SUCCESS ORCPT=rfc822;Alice@Example.COM",
                Some((true, false, false)),
                typed("rfc822", "Alice@Example.COM"),
            ),
            (
                " NOTIFY=FAILURE ORCPT=rfc822;Bob@Example.COM",
                Some((false, true, false)),
                typed("rfc822", "Bob@Example.COM"),
            ),
            (
                " NOTIFY=NEVER ORCPT=rfc822;Fred@Bombs.AF.MIL",
                Some((false, false, false)),
                typed("rfc822", "Fred@Bombs.AF.MIL"),
            ),
            (" notify=failure,delay", Some((false, true, true)), None),
            (" ORCPT=rfc822;a+2Bb@c.example", None, typed("rfc822", "a+b@c.example")),
            (" ORCPT=utf-8;\\x{E9}@c.example", None, typed("utf-8", "\u{e9}@c.example")),
            (" ORCPT=utf-8;\u{e9}@c.example", None, typed("utf-8", "\u{e9}@c.example")),
            (" ORCPT=rfc822;a+0D+0AX: y", None, typed("rfc822", "a X:")),
            (" ORCPT=nonsense", None, None),
            ("", None, None),
        ] {
            let found = RecipientWishes::of_wire(wire);
            let notify = notify.map(|(success, failure, delay)| Notify { success, failure, delay });
            assert_eq!(found, RecipientWishes { notify, original }, "{wire}");
        }
    }

    #[test]
    fn escapes() {
        for text in ["a\\b+c=d@e.example", "\u{e9}\u{20ac}@x", "\\x{", "\\x{zz}", "a b"] {
            assert!(escape(text, false).is_ascii());
            assert_eq!(unescape(&escape(text, false)), text);
            assert_eq!(unescape(&escape(text, true)), text);
        }
        assert_eq!(escape("\u{e9}@x", false), "\\x{E9}@x");
    }
}
