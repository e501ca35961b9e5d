//! MTA-STS: a domain says by HTTPS which of its MX hosts are real and that they do TLS (RFC 8461).
//!
//! | RFC 8461 | here |
//! |---|---|
//! | §3.1 | [`record`] |
//! | §3.2 | [`Policy::parse`] |
//! | §3.3 | [`CachedPolicy`], [`MAX_POLICY`], [`RETRY_AFTER`], [`REFRESH_AFTER`] |
//! | §4.1 | [`Policy::allows`] |
//! | §5 | [`Mode`], and [`crate::Lookup`] |

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::question::PolicyBody;

/// The longest policy that is read, in octets (RFC 8461 §3.3 suggests 64 kilobytes).
pub const MAX_POLICY: usize = 64 * 1024;
/// The longest life of a policy, in seconds (RFC 8461 §3.2): a year.
pub const MAX_AGE: u32 = 31_557_600;
/// After this time a policy is fetched anew although its id is the same (RFC 8461 §3.3 suggests once a day).
pub const REFRESH_AFTER: Duration = Duration::from_secs(24 * 3600);
/// After a failed fetch the same id waits at least so long (RFC 8461 §3.3).
pub const RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The name of a domain's MTA-STS record (RFC 8461 §3.1).
#[must_use]
pub fn record_name(domain: &str) -> String {
    format!("_mta-sts.{domain}")
}

/// Why a domain's TXT records announce no policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TxtError {
    /// None begins with the version.
    #[error("no record of the version STSv1")]
    None,
    /// More than one does.
    #[error("more than one record of the version STSv1")]
    Several,
    /// From octet `at` of the record on it is not `expected`.
    #[error("expected {expected} at octet {at}")]
    Syntax {
        /// Where.
        at: usize,
        /// The rule of the grammar.
        expected: &'static str,
    },
    /// It has no id.
    #[error("no id")]
    NoId,
}

/// The policy id that the TXT records at `_mta-sts.` and the domain announce: `sts-text-record` (RFC 8461 §3.1).
///
/// # Errors
/// The domain has no policy to be fetched. A policy known from earlier stays in force.
pub fn record(records: &[Vec<u8>]) -> Result<String, TxtError> {
    let mut found = records.iter().filter(|record| fields(record, b"v=STSv1").is_some());
    let record = found.next().ok_or(TxtError::None)?;
    if found.next().is_some() {
        return Err(TxtError::Several);
    }
    let mut id = None;
    for (at, field) in fields(record, b"v=STSv1").into_iter().flatten() {
        let (name, value) = field_of(field).ok_or(TxtError::Syntax { at, expected: "sts-field" })?;
        if name == "id" {
            if value.len() > 32 || !value.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
                return Err(TxtError::Syntax { at, expected: "sts-id" });
            }
            // RFC 8461 §3.2: of a field that stands twice the first counts.
            id.get_or_insert(value);
        }
    }
    id.map(str::to_owned).ok_or(TxtError::NoId)
}

/// The fields of a record behind its version, each with its place: `version 1*(*WSP ";" *WSP field) [*WSP ";" *WSP]`.
/// `None` if the record is not of the version.
pub(crate) fn fields<'a>(record: &'a [u8], version: &[u8]) -> Option<Vec<(usize, &'a [u8])>> {
    let rest = record.strip_prefix(version)?;
    if rest.trim_ascii_start().first() != Some(&b';') {
        return None;
    }
    let mut at = version.len();
    let mut found = Vec::new();
    for piece in rest.split(|octet| *octet == b';') {
        let field = piece.trim_ascii();
        if at > version.len() {
            found.push((at + (piece.len() - piece.trim_ascii_start().len()), field));
        }
        at += piece.len() + 1;
    }
    if found.last().is_some_and(|(_, last)| last.is_empty()) {
        found.pop();
    }
    Some(found)
}

/// `name "=" value`, both of the characters that RFC 8461 §3.1 and RFC 8460 §3 allow for extensions.
pub(crate) fn field_of(field: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = std::str::from_utf8(field).ok()?.split_once('=')?;
    let name_ok = (1..=32).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet));
    (name_ok && !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic())).then_some((name, value))
}

/// What a sender does when a host fails (RFC 8461 §5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets mail, and the domain a report.
    Testing,
    /// As if there were no policy.
    None,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        })
    }
}

/// One allowed host, or all one label below a domain: `["*."] Domain`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Pattern {
    wildcard: bool,
    domain: String,
}

impl Pattern {
    /// Whether the host is meant. Names are A-labels; case does not matter. The wildcard is one label, never none or two
    /// (RFC 8461 §4.1).
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let rest = match (self.wildcard, host.split_once('.')) {
            (false, _) => host,
            (true, Some((label, rest))) if !label.is_empty() => rest,
            (true, _) => return false,
        };
        rest.eq_ignore_ascii_case(&self.domain)
    }

    fn parse(text: &str) -> Option<Self> {
        let (wildcard, domain) = text.strip_prefix("*.").map_or((false, text), |domain| (true, domain));
        // A-labels only (RFC 8461 §3.2).
        let domain = domain.is_ascii().then(|| address::Domain::parse(domain).ok()).flatten()?;
        Some(Self { wildcard, domain: domain.ascii().to_owned() })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.domain)
    }
}

/// A policy (RFC 8461 §3.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// What happens to hosts that fail.
    pub mode: Mode,
    /// How long it may be kept, in seconds: at most [`MAX_AGE`].
    pub max_age: u32,
    /// The hosts; at least one unless the mode is `none`.
    pub mx: Vec<Pattern>,
}

/// Why octets are no policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// More than [`MAX_POLICY`] octets.
    #[error("policy longer than {MAX_POLICY} octets")]
    TooLong,
    /// The media type is not text/plain (RFC 8461 §3.2).
    #[error("policy is not text/plain")]
    MediaType,
    /// Line `line`, counted from 1, is not a field.
    #[error("line {line} of the policy is not {expected}")]
    Syntax {
        /// Which line.
        line: usize,
        /// The rule of the grammar.
        expected: &'static str,
    },
    /// A field that must be there is not.
    #[error("policy without {0}")]
    Without(&'static str),
}

impl Policy {
    /// Reads what an HTTPS server sent: `sts-policy-record`.
    ///
    /// Lines end with LF or CRLF. LENIENT blank lines, and white space around a line, are ignored; a `max_age` beyond
    /// [`MAX_AGE`] counts as that: forgetting the policy would protect less.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(octets: &[u8]) -> Result<Self, PolicyError> {
        if octets.len() > MAX_POLICY {
            return Err(PolicyError::TooLong);
        }
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for (line, octets) in octets.split(|octet| *octet == b'\n').enumerate() {
            let wrong = |expected| PolicyError::Syntax { line: line + 1, expected };
            let octets = octets.strip_suffix(b"\r").unwrap_or(octets);
            let text = std::str::from_utf8(octets).map_err(|_| wrong("UTF-8"))?;
            let text = text.trim_matches([' ', '\t']);
            if text.is_empty() {
                continue;
            }
            let (name, value) = text.split_once(':').ok_or(wrong("sts-policy-field"))?;
            let value = value.trim_start_matches([' ', '\t']);
            let name_ok = (1..=32).contains(&name.len())
                && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet));
            if !name_ok || value.is_empty() || value.chars().any(char::is_control) {
                return Err(wrong("sts-policy-field"));
            }
            match name {
                // Of a field that stands twice the first counts, and the others are ignored.
                "version" if version.is_none() => {
                    version = Some((value == "STSv1").then_some(()).ok_or(wrong("sts-policy-version"))?);
                }
                "mode" if mode.is_none() => {
                    let known = [Mode::Enforce, Mode::Testing, Mode::None];
                    let found = known.into_iter().find(|mode| mode.to_string() == value);
                    mode = Some(found.ok_or(wrong("sts-policy-mode"))?);
                }
                "max_age" if max_age.is_none() => {
                    let digits = (1..=10).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
                    let seconds: Option<u64> = digits.then(|| value.parse().ok()).flatten();
                    let seconds = seconds.ok_or(wrong("sts-policy-max-age"))?;
                    max_age = Some(u32::try_from(seconds).unwrap_or(MAX_AGE).min(MAX_AGE));
                }
                "mx" => mx.push(Pattern::parse(value).ok_or(wrong("sts-policy-mx"))?),
                _ => {}
            }
        }
        version.ok_or(PolicyError::Without("version"))?;
        let mode = mode.ok_or(PolicyError::Without("mode"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Without("mx"));
        }
        Ok(Self { mode, max_age: max_age.ok_or(PolicyError::Without("max_age"))?, mx })
    }

    /// Reads the body of a response; its media type must be `text/plain`, if it says one (RFC 8461 §3.2).
    ///
    /// # Errors
    /// Why it is no policy.
    pub fn from_body(body: &PolicyBody) -> Result<Self, PolicyError> {
        let plain = body.media_type.as_deref().is_none_or(|media_type| {
            media_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/plain"))
        });
        if plain { Self::parse(&body.octets) } else { Err(PolicyError::MediaType) }
    }

    /// Whether a host is one of the domain's (RFC 8461 §4.1).
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(host))
    }

    /// The policy line by line, as a TLS report quotes it (RFC 8460 §4.5).
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {}", self.mode)];
        lines.extend(self.mx.iter().map(|pattern| format!("mx: {pattern}")));
        lines.push(format!("max_age: {}", self.max_age));
        lines
    }

    /// The policy as a file. What is printed reads the same.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.lines().into_iter().flat_map(|line| [line, "\r\n".to_owned()]).collect()
    }
}

/// What is remembered of a domain's policy between lookups, and kept in the store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CachedPolicy {
    /// The last policy that was fetched.
    pub kept: Option<Kept>,
    /// The last fetch that failed since.
    pub failed: Option<Failed>,
}

/// A policy that was fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// The id of the record that announced it.
    pub id: String,
    /// When it was fetched, in whole seconds.
    pub fetched: Timestamp,
    /// What it says.
    pub policy: Policy,
}

/// A fetch that failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// The id of the record that announced the policy.
    pub id: String,
    /// When, in whole seconds.
    pub at: Timestamp,
}

impl Kept {
    /// The end of its life: `max_age` after the fetch.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        after(self.fetched, Duration::from_secs(self.policy.max_age.into()))
    }

    /// When it should be fetched anew although its id is the same: after a day, and well before its end (RFC 8461 §3.3).
    #[must_use]
    pub fn refresh_at(&self) -> Timestamp {
        let half = Duration::from_secs(u64::from(self.policy.max_age) / 2);
        after(self.fetched, half.min(REFRESH_AFTER))
    }
}

impl CachedPolicy {
    /// The policy, if it is still in force. A clock that was put back does not end it.
    #[must_use]
    pub fn valid(&self, now: Timestamp) -> Option<&Kept> {
        self.kept.as_ref().filter(|kept| now <= kept.expires())
    }

    /// Whether the policy of that id may be fetched now: the last attempt did not fail just before.
    #[must_use]
    pub fn may_fetch(&self, id: &str, now: Timestamp) -> bool {
        self.failed
            .as_ref()
            .is_none_or(|failed| failed.id != id || now >= after(failed.at, RETRY_AFTER) || now < failed.at)
    }

    /// When nothing of it matters any longer, and a store may forget it.
    #[must_use]
    pub fn forget_at(&self) -> Timestamp {
        let kept = self.kept.as_ref().map(Kept::expires);
        kept.max(self.failed.as_ref().map(|failed| after(failed.at, RETRY_AFTER))).unwrap_or(Timestamp::MIN)
    }

    /// As octets for a store: a version, then lines.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::from("1\n");
        if let Some(failed) = &self.failed {
            text += &format!("failed {} {}\n", failed.at.as_second(), failed.id);
        }
        if let Some(kept) = &self.kept {
            text += &format!("kept {} {}\n{}", kept.fetched.as_second(), kept.id, kept.policy.to_text());
        }
        text.into_bytes()
    }

    /// What [`CachedPolicy::encode`] made. `None` for octets of another version, or damaged ones: nothing is known then.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut rest = std::str::from_utf8(octets).ok()?.strip_prefix("1\n")?;
        let mut cached = Self::default();
        while !rest.is_empty() {
            let (line, behind) = rest.split_once('\n')?;
            let mut words = line.splitn(3, ' ');
            let (word, second, id) = (words.next()?, words.next()?, words.next()?.to_owned());
            let time = Timestamp::from_second(second.parse().ok()?).ok()?;
            rest = behind;
            match word {
                "failed" => cached.failed = Some(Failed { id, at: time }),
                "kept" => {
                    let policy = Policy::parse(behind.as_bytes()).ok()?;
                    cached.kept = Some(Kept { id, fetched: time, policy });
                    rest = "";
                }
                _ => return None,
            }
        }
        Some(cached)
    }
}

/// The time that long after another, or the end of time.
pub(crate) fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// The time without its fraction of a second.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        use TxtError::{NoId, None, Several};
        let table: [(&[&str], Result<&str, TxtError>); 18] = [
            // RFC 8461 §3.1, appendix A.
            (&["v=STSv1; id=20160831085700Z;"], Ok("20160831085700Z")),
            (&["v=STSv1;id=1"], Ok("1")),
            (&["v=STSv1 ;\tid=1 ; x=y"], Ok("1")),
            (&["v=STSv1; x-y.z_=a:b; id=1;"], Ok("1")),
            (&["v=STSv1; id=1; id=2;"], Ok("1")),
            (&["v=spf1 -all", "v=STSv1; id=1;"], Ok("1")),
            (&[], Err(None)),
            (&["v=STSv2; id=1;"], Err(None)),
            (&["V=STSv1; id=1;"], Err(None)),
            (&[" v=STSv1; id=1;"], Err(None)),
            (&["v=STSv1"], Err(None)),
            (&["v=STSv1; id=1;", "v=STSv1; id=1;"], Err(Several)),
            (&["v=STSv1;"], Err(NoId)),
            (&["v=STSv1; ID=1;"], Err(NoId)),
            (&["v=STSv1; id=a-b;"], Err(TxtError::Syntax { at: 9, expected: "sts-id" })),
            (&["v=STSv1; id=;"], Err(TxtError::Syntax { at: 9, expected: "sts-field" })),
            (&["v=STSv1; id=1;; x=y"], Err(TxtError::Syntax { at: 14, expected: "sts-field" })),
            (&["v=STSv1; id=1; x y=z"], Err(TxtError::Syntax { at: 15, expected: "sts-field" })),
        ];
        for (texts, expected) in table {
            let records: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(record(&records).as_deref(), expected.as_ref().copied(), "{texts:?}");
        }
        for (length, fits) in [(32, true), (33, false)] {
            assert_eq!(record(&[format!("v=STSv1; id={};", "a".repeat(length)).into_bytes()]).is_ok(), fits);
        }
    }

    #[test]
    fn example_of_the_rfc() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n\
                    mx: backupmx.example.com\r\nmax_age: 604800\r\n";
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, 604_800));
        assert_eq!(policy.to_text(), text);
        // RFC 8461 §4.1
        for (host, expected) in [
            ("mail.example.com", true),
            ("MAIL.example.com", true),
            ("a.mail.example.com", false),
            ("mx1.example.net", true),
            ("example.net", false),
            (".example.net", false),
            ("foo.bar.example.net", false),
        ] {
            assert_eq!(policy.allows(host), expected, "{host}");
        }
    }

    #[test]
    fn policies() {
        use PolicyError::{Syntax, Without};
        let rest = "mode: testing\nmx: a.example\nmax_age: 1\n";
        let line = |line, expected| Err(Syntax { line, expected });
        let table = [
            (format!("version: STSv1\n{rest}"), Ok(())),
            (format!("version:STSv1 \t\n{rest}"), Ok(())),
            (format!("{rest}version:\tSTSv1"), Ok(())),
            (format!("version: STSv1\r\n\r\n{rest}\n"), Ok(())),
            (format!("version: STSv1\nx-new.field: grüße an alle\n{rest}"), Ok(())),
            (format!("version: STSv1\nversion: STSv2\n{rest}mode: what\nmax_age: -1"), Ok(())),
            ("version: STSv1\nmode: none\nmax_age: 0".into(), Ok(())),
            ("version: STSv1\nmode: enforce\nmax_age: 0".into(), Err(Without("mx"))),
            ("version: STSv1\nmode: enforce\nmx: a.example".into(), Err(Without("max_age"))),
            ("version: STSv1\nmx: a.example\nmax_age: 1".into(), Err(Without("mode"))),
            (rest.to_owned(), Err(Without("version"))),
            (String::new(), Err(Without("version"))),
            (format!("version: STSv2\n{rest}"), line(1, "sts-policy-version")),
            (format!("Version: STSv1\n{rest}"), Err(Without("version"))),
            (format!("version: STSv1\nmode: Enforce\n{rest}"), line(2, "sts-policy-mode")),
            (format!("version: STSv1\nmax_age: 1s\n{rest}"), line(2, "sts-policy-max-age")),
            (format!("version: STSv1\nmax_age: 12345678901\n{rest}"), line(2, "sts-policy-max-age")),
            (format!("version: STSv1\nmx: a.*.example\n{rest}"), line(2, "sts-policy-mx")),
            (format!("version: STSv1\nmx: *\n{rest}"), line(2, "sts-policy-mx")),
            (format!("version: STSv1\nmx: bücher.example\n{rest}"), line(2, "sts-policy-mx")),
            (format!("version: STSv1\nmx:\n{rest}"), line(2, "sts-policy-field")),
            (format!("version: STSv1\nno field\n{rest}"), line(2, "sts-policy-field")),
            (format!("version: STSv1\nx: a\rb\n{rest}"), line(2, "sts-policy-field")),
            ("<html>\n".into(), line(1, "sts-policy-field")),
        ];
        for (text, expected) in table {
            assert_eq!(Policy::parse(text.as_bytes()).map(drop), expected, "{text:?}");
        }
        assert_eq!(Policy::parse(b"version: \xff"), Err(Syntax { line: 1, expected: "UTF-8" }));
    }

    #[test]
    fn limits_at_the_edge() {
        let policy = |age: &str| Policy::parse(format!("version: STSv1\nmode: none\nmax_age: {age}").as_bytes());
        for (age, expected) in [("31557600", MAX_AGE), ("31557601", MAX_AGE), ("9999999999", MAX_AGE), ("5", 5)] {
            assert_eq!(policy(age).unwrap().max_age, expected, "{age}");
        }
        let mut text = b"version: STSv1\nmode: none\nmax_age: 1\nx: ".to_vec();
        text.resize(MAX_POLICY, b'y');
        assert!(Policy::parse(&text).is_ok());
        text.push(b'y');
        assert_eq!(Policy::parse(&text), Err(PolicyError::TooLong));
    }

    #[test]
    fn media_types() {
        let octets = b"version: STSv1\nmode: none\nmax_age: 1\n".to_vec();
        for (media_type, expected) in [
            (None, true),
            (Some("text/plain"), true),
            (Some("Text/Plain ; charset=utf-8"), true),
            (Some("text/html"), false),
            (Some(""), false),
        ] {
            let body = PolicyBody { octets: octets.clone(), media_type: media_type.map(str::to_owned) };
            assert_eq!(Policy::from_body(&body).is_ok(), expected, "{media_type:?}");
        }
    }

    #[test]
    fn kept_and_forgotten() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let policy = Policy { mode: Mode::Enforce, max_age: 1000, mx: vec![Pattern::parse("*.a.example").unwrap()] };
        let cached = CachedPolicy {
            kept: Some(Kept { id: "1".into(), fetched: at(5000), policy }),
            failed: Some(Failed { id: "2".into(), at: at(5500) }),
        };
        assert_eq!(CachedPolicy::decode(&cached.encode()), Some(cached.clone()));
        assert_eq!(CachedPolicy::decode(&CachedPolicy::default().encode()), Some(CachedPolicy::default()));
        for octets in [&b""[..], b"2\n", b"1\nkept 1 x\n", b"1\nfailed x y\n", b"1\nwhat 1 x\n", b"1\nfailed 1"] {
            assert_eq!(CachedPolicy::decode(octets), None, "{octets:?}");
        }
        assert!(cached.valid(at(6000)).is_some() && cached.valid(at(6001)).is_none() && cached.valid(at(0)).is_some());
        assert_eq!(cached.kept.as_ref().unwrap().refresh_at(), at(5500));
        assert!(!cached.may_fetch("2", at(5500)) && !cached.may_fetch("2", at(5799)));
        assert!(cached.may_fetch("2", at(5800)) && cached.may_fetch("3", at(5500)) && cached.may_fetch("2", at(5499)));
        assert_eq!(cached.forget_at(), at(6000));
        assert_eq!(CachedPolicy::default().forget_at(), Timestamp::MIN);
    }
}
