//! When a message is to go on, and how soon: the values of HOLDFOR and HOLDUNTIL (RFC 4865), BY (RFC 2852) and
//! MT-PRIORITY (RFC 6710).

use std::fmt;

use wire::InvalidValue;

/// A second of Universal Time, from 1970 to 9999; on the wire as `2026-01-31T23:59:59Z` (RFC 3339 §5.6).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UtcTime(u64);

impl UtcTime {
    /// The last: 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(253_402_300_799);

    /// So many seconds after 1970-01-01T00:00:00Z; what lies beyond [`Self::MAX`] becomes that.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// From the form on the wire, normalised to UTC as RFC 4865 §3 wants it: it ends with `Z`. A fraction of a second
    /// is rounded up, since nothing held may leave too early.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        let octets = text.as_bytes();
        let number = |from: usize, to: usize| {
            let digits = octets.get(from..to)?;
            let plain = digits.iter().all(u8::is_ascii_digit);
            plain.then(|| digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0')))
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        let marked =
            marks.iter().all(|(at, mark)| octets.get(*at).is_some_and(|octet| octet.eq_ignore_ascii_case(mark)));
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let rounded = match octets.get(19..)? {
            [b'Z' | b'z'] => 0,
            [b'.', digits @ .., b'Z' | b'z'] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                u64::from(digits.iter().any(|digit| *digit != b'0'))
            }
            _ => return None,
        };
        let fits = marked
            && year >= 1970
            && (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            // RFC 3339 §5.7: a leap second is the first of the next minute here.
            && second <= 60;
        let days =
            days_before(year) + (1..month).map(|month| days_in(year, month)).sum::<u64>() + day.saturating_sub(1);
        fits.then(|| Self::from_unix(days * 86_400 + hour * 3600 + minute * 60 + second + rounded))
    }
}

/// Days from the beginning of 1970 to that of `year`.
fn days_before(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let before = year.max(1970) - 1;
    365 * (before - 1969) + leaps(before) - leaps(1969)
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // The guess is never too late, and at most a year early.
        let mut year = 1970 + days / 366;
        while days_before(year + 1) <= days {
            year += 1;
        }
        days -= days_before(year);
        let mut month = 1;
        while days >= days_in(year, month) {
            days -= days_in(year, month);
            month += 1;
        }
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
    }
}

/// The greatest interval of FUTURERELEASE and of DELIVERBY, in seconds.
pub(crate) const MOST_SECONDS: u32 = 999_999_999;

/// How long the submission server is to keep a message (RFC 4865 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hold {
    /// `HOLDFOR=`: so many seconds, 1 to 999,999,999.
    For(u32),
    /// `HOLDUNTIL=`: until then.
    Until(UtcTime),
}

impl Hold {
    /// The value of HOLDFOR: `future-release-integer = %x31-39 *8DIGIT`.
    #[must_use]
    pub fn for_from_wire(value: &str) -> Option<Self> {
        let plain = value.bytes().all(|octet| octet.is_ascii_digit()) && !value.starts_with('0');
        let seconds: u32 = value.parse().ok().filter(|_| plain)?;
        (seconds <= MOST_SECONDS).then_some(Self::For(seconds))
    }

    /// When it ends, if it begins at `now`.
    #[must_use]
    pub fn ends(self, now: UtcTime) -> UtcTime {
        match self {
            Self::For(seconds) => UtcTime::from_unix(now.unix().saturating_add(u64::from(seconds))),
            Self::Until(time) => time,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(seconds) => write!(f, "HOLDFOR={}", (*seconds).clamp(1, MOST_SECONDS)),
            Self::Until(time) => write!(f, "HOLDUNTIL={time}"),
        }
    }
}

/// What happens when a message is late (RFC 2852 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ByMode {
    /// `N`: the sender is notified, and delivery is tried on.
    Notify,
    /// `R`: it is returned.
    Return,
}

/// `BY=`: within which time a message is to be delivered (RFC 2852 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeliverBy {
    /// Seconds left, -999,999,999 to 999,999,999; at least 1 in mode `Return`.
    seconds: i32,
    mode: ByMode,
    /// `T`: each relay that takes the message on tells the sender.
    trace: bool,
}

impl DeliverBy {
    /// So many seconds from now.
    ///
    /// # Errors
    /// They are out of range, or none in mode `Return`.
    pub fn new(seconds: i32, mode: ByMode, trace: bool) -> Result<Self, InvalidValue> {
        let fits = seconds.unsigned_abs() <= MOST_SECONDS && (mode == ByMode::Notify || seconds > 0);
        if fits { Ok(Self { seconds, mode, trace }) } else { Err(InvalidValue { rule: "by-value" }) }
    }

    /// The form on the wire: `by-value = by-time";"by-mode[by-trace]`.
    #[must_use]
    pub fn from_wire(value: &str) -> Option<Self> {
        let (time, mode) = value.split_once(';')?;
        let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
        if !(1..=9).contains(&digits.len()) || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        let (mode, trace) = match mode.as_bytes() {
            [b'N' | b'n'] => (ByMode::Notify, false),
            [b'N' | b'n', b'T' | b't'] => (ByMode::Notify, true),
            [b'R' | b'r'] => (ByMode::Return, false),
            [b'R' | b'r', b'T' | b't'] => (ByMode::Return, true),
            _ => return None,
        };
        Self::new(time.parse().ok()?, mode, trace).ok()
    }

    /// Seconds left when it was said; not positive: the time had passed.
    #[must_use]
    pub fn seconds(self) -> i32 {
        self.seconds
    }

    /// What happens when it is late.
    #[must_use]
    pub fn mode(self) -> ByMode {
        self.mode
    }

    /// Whether each relay that takes the message on tells the sender.
    #[must_use]
    pub fn trace(self) -> bool {
        self.trace
    }

    /// What is left of it after `seconds` (RFC 2852 §4.1.4); `None`: the time of mode `Return` is over.
    #[must_use]
    pub fn after(self, seconds: u64) -> Option<Self> {
        let passed = i32::try_from(seconds).unwrap_or(i32::MAX);
        let least = -i32::try_from(MOST_SECONDS).unwrap_or(i32::MAX);
        Self::new(self.seconds.saturating_sub(passed).max(least), self.mode, self.trace).ok()
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.mode == ByMode::Return { "R" } else { "N" };
        write!(f, "{};{mode}{}", self.seconds, if self.trace { "T" } else { "" })
    }
}

/// `MT-PRIORITY=`: from -9 to 9, 0 where nothing is said (RFC 6710 §3).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Priority(i8);

impl Priority {
    /// `None` outside -9 to 9.
    #[must_use]
    pub const fn new(priority: i8) -> Option<Self> {
        if -9 <= priority && priority <= 9 { Some(Self(priority)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> i8 {
        self.0
    }

    /// `priority-value = (["-"] NZDIGIT) / "0"` (RFC 6710 §7).
    #[must_use]
    pub fn from_wire(value: &str) -> Option<Self> {
        let fits = match value.as_bytes() {
            [b'0'..=b'9'] => true,
            [b'-', digit] => (b'1'..=b'9').contains(digit),
            _ => false,
        };
        fits.then(|| value.parse().ok()).flatten().map(Self)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `priority-profile = 1*20(ALPHA / DIGIT / "-" / "_" / ".")` (RFC 6710 §7).
pub(crate) fn is_priority_profile(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    (1..=20).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1985-04-12T23:20:50.52Z", Some(482_196_051)), // RFC 3339 §5.8, rounded up
            ("1985-04-12T23:20:50.00Z", Some(482_196_050)),
            ("1990-12-31T23:59:60Z", Some(662_688_000)), // RFC 3339 §5.8, a leap second
            ("2000-02-29t12:00:00z", Some(951_825_600)),
            ("2026-03-01T00:00:00Z", Some(1_772_323_200)),
            ("9999-12-31T23:59:59Z", Some(UtcTime::MAX.unix())),
            ("9999-12-31T23:59:60Z", Some(UtcTime::MAX.unix())),
            ("1996-12-19T16:39:57-08:00", None), // RFC 3339 §5.8: not normalised
            ("1937-01-01T12:00:27Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-00T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:60:00Z", None),
            ("2026-01-01T00:00:61Z", None),
            ("2026-01-01 00:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01T00:00:00.Z", None),
            ("2026-01-01T00:00:00.xZ", None),
            ("2026-01-0\u{e9}T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(UtcTime::from_wire(text).map(UtcTime::unix), unix, "{text}");
        }
        let days = (0..).map(|day| day * 86_400 * 37 + 86_399).take_while(|unix| *unix <= UtcTime::MAX.unix());
        for time in days.map(UtcTime::from_unix).chain([UtcTime::MAX]) {
            assert_eq!(UtcTime::from_wire(&time.to_string()), Some(time), "{time}");
        }
    }

    #[test]
    fn holds() {
        for (value, expected) in [
            ("1", Some(Hold::For(1))),
            ("999999999", Some(Hold::For(999_999_999))),
            ("1000000000", None),
            ("0", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(Hold::for_from_wire(value), expected, "{value}");
        }
        assert_eq!(Hold::For(60).ends(UtcTime::from_unix(1)).unix(), 61);
    }

    #[test]
    fn deliver_by() {
        for (value, printed) in [
            ("120;R", Some("120;R")), // RFC 2852 §6
            ("98;R", Some("98;R")),
            ("125;r", Some("125;R")), // RFC 6710 §8
            ("+98;NT", Some("98;NT")),
            ("-999999999;N", Some("-999999999;N")),
            ("0;N", Some("0;N")),
            ("1;RT", Some("1;RT")),
            ("0;R", None), // RFC 2852 §4
            ("-1;R", None),
            ("1000000000;R", None),
            ("1;X", None),
            ("1;TR", None),
            ("1;", None),
            ("1", None),
            (";R", None),
            ("--1;N", None),
            ("", None),
        ] {
            let found = DeliverBy::from_wire(value);
            assert_eq!(found.map(|by| by.to_string()).as_deref(), printed, "{value}");
        }
        let after = |value: &str, seconds| DeliverBy::from_wire(value).unwrap().after(seconds).map(|by| by.to_string());
        assert_eq!(after("120;R", 22).as_deref(), Some("98;R")); // RFC 2852 §6
        assert_eq!(after("120;R", 119).as_deref(), Some("1;R"));
        assert_eq!(after("120;R", 120), None);
        assert_eq!(after("5;NT", 10).as_deref(), Some("-5;NT"));
        assert_eq!(after("5;N", u64::MAX).as_deref(), Some("-999999999;N"));
    }

    #[test]
    fn priorities() {
        for (value, expected) in
            [("0", Some(0)), ("9", Some(9)), ("-9", Some(-9)), ("-0", None), ("+1", None), ("10", None), ("", None)]
        {
            assert_eq!(Priority::from_wire(value).map(Priority::value), expected, "{value}");
        }
        assert_eq!((Priority::new(10), Priority::new(-10)), (None, None));
        for (name, fits) in
            [("MIXER", true), ("STANAG4406", true), ("", false), ("a b", false), (&"x".repeat(21), false)]
        {
            assert_eq!(is_priority_profile(name), fits, "{name}");
        }
    }
}
