//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2, `esmtp-param`): those known here, as values.

use std::fmt;
use std::str::FromStr;

use wire::{InvalidValue, Notify, Ret};

use crate::parse;
use crate::schedule::{DeliverBy, Hold, Priority};

/// `BODY=` (RFC 6152 §2, RFC 3030 §3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BodyType {
    /// Lines of US-ASCII.
    #[default]
    SevenBit,
    /// Lines that may contain octets over 127.
    EightBitMime,
    /// Octets of any kind; only by BDAT.
    BinaryMime,
}

impl BodyType {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
            Self::BinaryMime => "BINARYMIME",
        }
    }
}

/// `xtext` (RFC 3461 §4): printable US-ASCII in which `+3D` stands for an octet. Kept as it was on the wire.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Xtext(String);

impl Xtext {
    /// The form on the wire of these octets.
    #[must_use]
    pub fn encode(octets: &[u8]) -> Self {
        let mut text = String::with_capacity(octets.len());
        for octet in octets {
            match octet {
                b'!'..=b'*' | b','..=b'<' | b'>'..=b'~' => text.push(char::from(*octet)),
                _ => {
                    use fmt::Write as _;
                    // Writing to a String cannot fail.
                    let _ = write!(text, "+{octet:02X}");
                }
            }
        }
        Self(text)
    }

    /// What is already in this form; `None` if `text` is not.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        decode(text.as_bytes()).map(|_| Self(text.to_owned()))
    }

    /// The form on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The octets that are meant.
    #[must_use]
    pub fn decode(&self) -> Vec<u8> {
        decode(self.0.as_bytes()).unwrap_or_default()
    }
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = match first {
            b'+' => {
                let (high, low) = (*behind.first()?, *behind.get(1)?);
                // RFC 3461 §4 has upper case; lower case is understood.
                let high = char::from(high).to_digit(16)?;
                let low = char::from(low).to_digit(16)?;
                octets.push(u8::try_from(high * 16 + low).ok()?);
                behind.get(2..)?
            }
            b'!'..=b'<' | b'>'..=b'~' => {
                octets.push(first);
                behind
            }
            _ => return None,
        };
    }
    Some(octets)
}

/// `ORCPT=`: the recipient as the first sender wrote it (RFC 3461 §4.2; RFC 6533 §3 for `utf-8`). Kept as it was on
/// the wire, so that it can be passed on and reported unchanged.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct OriginalRecipient {
    address_type: String,
    address: String,
}

impl OriginalRecipient {
    /// Octets that the address may have on the wire (RFC 3461 §4.2).
    pub const MAX_OCTETS: usize = 500;

    /// `rfc822;` and the octets of an address.
    #[must_use]
    pub fn rfc822(address: &str) -> Self {
        Self { address_type: "rfc822".to_owned(), address: Xtext::encode(address.as_bytes()).0 }
    }

    /// From the value on the wire, `type;address`. US-ASCII unless the type is `utf-8`.
    #[must_use]
    pub fn from_wire(value: &str) -> Option<Self> {
        let (address_type, address) = value.split_once(';')?;
        let is_atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet);
        if address_type.is_empty() || value.len() > Self::MAX_OCTETS || !address_type.bytes().all(is_atom) {
            return None;
        }
        // RFC 6533 §3: `utf-8-addr-unitext` and `utf-8-addr-xtext` have their own embedding, `\x{20AC}`.
        let fits = if address_type.eq_ignore_ascii_case("utf-8") {
            address.chars().all(|char| !char.is_control() && !matches!(char, ' ' | '+' | '='))
        } else {
            decode(address.as_bytes()).is_some()
        };
        fits.then(|| Self { address_type: address_type.to_owned(), address: address.to_owned() })
    }

    /// The address type: `rfc822`, `utf-8`, others.
    #[must_use]
    pub fn address_type(&self) -> &str {
        &self.address_type
    }

    /// The address as it was on the wire.
    #[must_use]
    pub fn as_wire(&self) -> &str {
        &self.address
    }

    /// The form for a transaction without SMTPUTF8, where `\x{20AC}` stands for what is not US-ASCII (RFC 6533 §3). `None`
    /// if that has more than [`Self::MAX_OCTETS`].
    #[must_use]
    pub fn to_ascii(&self) -> Option<Self> {
        use std::fmt::Write as _;
        let mut address = String::with_capacity(self.address.len());
        for char in self.address.chars() {
            if char.is_ascii() {
                address.push(char);
            } else {
                // Writing to a String cannot fail.
                let _ = write!(address, "\\x{{{:02X}}}", u32::from(char));
            }
        }
        let fits = self.address_type.len() + 1 + address.len() <= Self::MAX_OCTETS;
        fits.then(|| Self { address_type: self.address_type.clone(), address })
    }

    /// The address itself, undone of xtext; of type `utf-8` as it was on the wire.
    #[must_use]
    pub fn address(&self) -> String {
        if self.address_type.eq_ignore_ascii_case("utf-8") {
            return self.address.clone();
        }
        String::from_utf8_lossy(&decode(self.address.as_bytes()).unwrap_or_default()).into_owned()
    }
}

/// What follows the path in MAIL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MailParameters {
    /// `SIZE=`: the message's octets as the client counts them (RFC 1870 §5).
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Option<BodyType>,
    /// `SMTPUTF8`: addresses and header fields may be UTF-8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `AUTH=`: who submitted it first, `<>` when unknown or not told (RFC 4954 §5).
    pub auth: Option<Xtext>,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`: at most 100 octets (RFC 3461 §4.4).
    pub envid: Option<Xtext>,
    /// `HOLDFOR=` or `HOLDUNTIL=`, one of them (RFC 4865 §3).
    pub hold: Option<Hold>,
    /// `BY=` (RFC 2852 §4): the seconds count from when it is told.
    pub deliver_by: Option<DeliverBy>,
    /// `MT-PRIORITY=` (RFC 6710 §3).
    pub priority: Option<Priority>,
    /// `REQUIRETLS`: only over TLS, all the way (RFC 8689 §2).
    pub require_tls: bool,
}

/// What follows the path in RCPT.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RcptParameters {
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`.
    pub orcpt: Option<OriginalRecipient>,
}

impl fmt::Display for MailParameters {
    /// Each with a space before it, as it follows the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            write!(f, " SIZE={size}")?;
        }
        if let Some(body) = self.body {
            write!(f, " BODY={}", body.as_str())?;
        }
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if let Some(auth) = &self.auth {
            write!(f, " AUTH={}", auth.as_str())?;
        }
        if let Some(ret) = self.ret {
            write!(f, " RET={}", ret.as_str())?;
        }
        if let Some(envid) = &self.envid {
            write!(f, " ENVID={}", envid.as_str())?;
        }
        if let Some(hold) = self.hold {
            write!(f, " {hold}")?;
        }
        if let Some(by) = self.deliver_by {
            write!(f, " BY={by}")?;
        }
        if let Some(priority) = self.priority {
            write!(f, " MT-PRIORITY={priority}")?;
        }
        if self.require_tls {
            f.write_str(" REQUIRETLS")?;
        }
        Ok(())
    }
}

impl fmt::Display for RcptParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        if let Some(orcpt) = &self.orcpt {
            write!(f, " ORCPT={};{}", orcpt.address_type(), orcpt.as_wire())?;
        }
        Ok(())
    }
}

impl FromStr for MailParameters {
    type Err = InvalidValue;

    /// `Mail-parameters` (RFC 5321 §4.1.2), with or without the space that parts them from the path; there may be none.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse::parameters(text, parse::mail_parameters).ok_or(InvalidValue { rule: "Mail-parameters" })
    }
}

impl FromStr for RcptParameters {
    type Err = InvalidValue;

    /// `Rcpt-parameters` (RFC 5321 §4.1.2), with or without the space that parts them from the path; there may be none.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse::parameters(text, parse::rcpt_parameters).ok_or(InvalidValue { rule: "Rcpt-parameters" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext() {
        for (octets, wire) in [
            (&b"e=mc2@example.com"[..], "e+3Dmc2@example.com"), // RFC 4954 §5
            (b"QQ314159", "QQ314159"),
            (b"a+b c", "a+2Bb+20c"),
            (b"<>", "<>"),
            (b"\0\xff", "+00+FF"),
        ] {
            assert_eq!(Xtext::encode(octets).as_str(), wire);
            assert_eq!(Xtext::from_wire(wire).expect("xtext").decode(), octets);
        }
        for wire in ["a=b", "a b", "+", "+1", "+GG", "\u{e9}"] {
            assert_eq!(Xtext::from_wire(wire), None, "{wire}");
        }
    }

    #[test]
    fn original_recipients() {
        for (wire, expected) in [
            ("rfc822;Bob@Big-Bucks.COM", Some("Bob@Big-Bucks.COM")), // RFC 3461 §10
            ("rfc822;a+2Bb@c.example", Some("a+b@c.example")),
            ("utf-8;\u{e9}@c.example", Some("\u{e9}@c.example")),
            ("rfc822;\u{e9}@c.example", None),
            ("rfc822", None),
            (";a@b", None),
            ("rfc 822;a@b", None),
        ] {
            let found = OriginalRecipient::from_wire(wire).map(|orcpt| orcpt.address());
            assert_eq!(found.as_deref(), expected, "{wire}");
        }
    }

    #[test]
    fn original_recipients_in_ascii() {
        let long = format!("utf-8;{}", "\u{e9}".repeat(80));
        let longer = format!("utf-8;{}", "\u{e9}".repeat(83));
        for (wire, expected) in [
            ("rfc822;a+2Bb@c.example", Some("a+2Bb@c.example")),
            ("utf-8;\\x{E9}@c.example", Some("\\x{E9}@c.example")),
            ("utf-8;\u{e9}\u{20ac}\u{1f600}@c.example", Some("\\x{E9}\\x{20AC}\\x{1F600}@c.example")),
            (&long, Some(&*"\\x{E9}".repeat(80))),
            (&longer, None),
        ] {
            let found = OriginalRecipient::from_wire(wire).expect("a value").to_ascii();
            assert_eq!(found.as_ref().map(OriginalRecipient::as_wire), expected, "{wire}");
        }
    }

    #[test]
    fn parameters_without_their_command() {
        for (text, printed) in [
            ("", Some("")),
            (" ret=hdrs ENVID=a+2Bb", Some(" RET=HDRS ENVID=a+2Bb")),
            ("SIZE=7 BODY=8BITMIME SMTPUTF8", Some(" SIZE=7 BODY=8BITMIME SMTPUTF8")),
            ("RET=HDRS RET=HDRS", None),
            ("NOTIFY=NEVER", None),
            ("ENVID=a\u{7f}b", None),
        ] {
            let parsed = text.parse::<MailParameters>();
            assert_eq!(parsed.ok().map(|parsed| parsed.to_string()).as_deref(), printed, "{text:?}");
        }
        for (text, printed) in [
            ("", Some("")),
            ("ORCPT=rfc822;a@b.example notify=delay,success", Some(" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b.example")),
            ("NOTIFY=NEVER,SUCCESS", None),
            ("NOTIFY", None),
            ("RET=FULL", None),
            ("NOTIFY=NEVER\r\nDATA", None),
        ] {
            let parsed = text.parse::<RcptParameters>();
            assert_eq!(parsed.ok().map(|parsed| parsed.to_string()).as_deref(), printed, "{text:?}");
        }
    }
}
