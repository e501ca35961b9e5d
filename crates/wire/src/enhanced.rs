//! Enhanced status codes (RFC 3463): in replies to the sender's system, and in reports to the sender.

use std::fmt;

/// An enhanced status code: class, subject, detail (RFC 3463 §2; the registry is RFC 5248's).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EnhancedCode {
    class: u8,
    subject: u16,
    detail: u16,
}

impl EnhancedCode {
    /// The code `class.subject.detail`; `None` unless the class is 2, 4 or 5 and the others are below 1000.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Option<Self> {
        if matches!(class, 2 | 4 | 5) && subject < 1000 && detail < 1000 {
            Some(Self { class, subject, detail })
        } else {
            None
        }
    }

    /// `2.subject.detail`.
    #[must_use]
    pub const fn success(subject: u8, detail: u8) -> Self {
        Self { class: 2, subject: subject as u16, detail: detail as u16 }
    }

    /// `4.subject.detail`: it may be otherwise later.
    #[must_use]
    pub const fn transient(subject: u8, detail: u8) -> Self {
        Self { class: 4, subject: subject as u16, detail: detail as u16 }
    }

    /// `5.subject.detail`.
    #[must_use]
    pub const fn permanent(subject: u8, detail: u8) -> Self {
        Self { class: 5, subject: subject as u16, detail: detail as u16 }
    }

    /// The code for a reply that has none of its own: its class alone, as `5.0.0`.
    #[must_use]
    pub const fn of_reply(code: u16) -> Self {
        match code / 100 {
            2 => Self::success(0, 0),
            5 => Self::permanent(0, 0),
            _ => Self::transient(0, 0),
        }
    }

    /// The code that `text` is: `status-code = class "." subject "." detail` (RFC 3463 §2).
    ///
    /// LENIENT: leading zeros, which that section forbids, are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.splitn(3, '.').map(|digits| {
            let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
            plain.then(|| digits.parse::<u16>().ok()).flatten()
        });
        let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Self::new(u8::try_from(class).ok()?, subject, detail)
    }

    /// The code at the front of `text`, and what follows behind it and its space.
    #[must_use]
    pub fn at_front_of(text: &str) -> Option<(Self, &str)> {
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some((Self::parse(code)?, rest))
    }

    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.class
    }

    /// The subject: 1 addressing, 2 mailbox, 3 mail system, 4 network, 5 protocol, 6 content, 7 security.
    #[must_use]
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The detail within the subject.
    #[must_use]
    pub const fn detail(self) -> u16 {
        self.detail
    }

    /// Whether it may stand in a reply `code`, whose first digit is its class (RFC 2034 §4).
    #[must_use]
    pub fn fits(self, code: u16) -> bool {
        u16::from(self.class) == code / 100
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_at_the_front() {
        for (text, expected) in [
            ("5.1.1 x", Some(("5.1.1", "x"))),
            ("2.0.0", Some(("2.0.0", ""))),
            ("4.999.999 y z", Some(("4.999.999", "y z"))),
            ("5.01.001 x", Some(("5.1.1", "x"))),
            ("3.1.1 x", None),
            ("5.1 x", None),
            ("5.1. x", None),
            ("5.1.1.1 x", None),
            ("5.1000.1 x", None),
            ("5.+1.1 x", None),
            ("5.1.1\tx", None),
            ("ok", None),
            ("", None),
        ] {
            let found = EnhancedCode::at_front_of(text);
            let found = found.map(|(code, rest)| (code.to_string(), rest));
            assert_eq!(found, expected.map(|(code, rest)| (code.to_owned(), rest)), "{text}");
        }
    }

    #[test]
    fn printed_and_read_again() {
        for (class, subject, detail) in [(2, 0, 0), (4, 7, 1), (5, 999, 999), (5, 7, 30)] {
            let code = EnhancedCode::new(class, subject, detail).unwrap();
            assert_eq!((code.class(), code.subject(), code.detail()), (class, subject, detail));
            assert_eq!(EnhancedCode::parse(&code.to_string()), Some(code));
        }
        let named = [EnhancedCode::success(1, 5), EnhancedCode::transient(4, 1), EnhancedCode::permanent(7, 30)];
        assert_eq!(named.map(|code| code.to_string()), ["2.1.5", "4.4.1", "5.7.30"]);
        for (class, subject, detail) in [(0, 0, 0), (3, 0, 0), (5, 1000, 0), (5, 0, 1000)] {
            assert_eq!(EnhancedCode::new(class, subject, detail), None);
        }
        // What follows is no part of it.
        assert_eq!(EnhancedCode::parse("5.1.1 x"), None);
    }

    #[test]
    fn codes_and_replies() {
        for (reply, expected) in [(250, "2.0.0"), (354, "4.0.0"), (450, "4.0.0"), (550, "5.0.0"), (0, "4.0.0")] {
            let code = EnhancedCode::of_reply(reply);
            assert_eq!(code.to_string(), expected);
            assert_eq!(code.fits(reply), matches!(reply, 250 | 450 | 550), "{reply}");
        }
    }
}
