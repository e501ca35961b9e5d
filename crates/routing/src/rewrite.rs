//! Envelope senders that lead back: SRS for forwarded mail, VERP for mail to many.
//!
//! *SRS*, the Sender Rewriting Scheme (M. Wong, 2003; no RFC): a forwarder that keeps the sender fails the sender's SPF
//! (RFC 7208 §10.3), so it puts a domain of its own there and the sender into the local part. A bounce finds its way back,
//! and only bounces of what was forwarded do: a keyed hash and a day are part of the local part.
//!
//! ```text
//! ann@a.example      first forwarder   SRS0=HHHHHH=TT=a.example=ann@f.example
//! that one           second            SRS1=HHHHHH=f.example==HHHHHH=TT=a.example=ann@g.example
//! that one           third             SRS1=HHHHHH=f.example==HHHHHH=TT=a.example=ann@h.example
//! ```
//!
//! A third forwarder does not wrap again: it leads back to the *first*, which alone knows whether its stamp is good. The
//! hash of each is made with its own key and says that this forwarder made the address.
//!
//! *VERP*, Variable Envelope Return Path (D. Bernstein, 1997; no RFC): the owner of a list gets each recipient's bounces
//! at an address of their own: `owner+bob=b.example@lists.example` for `bob@b.example`.

use address::{Domain, Host, LocalPart, MAX_LOCAL_PART, Mailbox};
use jiff::Timestamp;

/// How long a rewritten sender is answered to, unless set otherwise. Bounces come within the days for which a queue
/// retries (RFC 5321 §4.5.4.1: 4 to 5 days).
pub const SRS_MAX_AGE_DAYS: u16 = 21;
/// Characters of the hash, five bits each. Thirty bits take a thousand million guesses, one RCPT each, to bounce one
/// message; more would leave less of the 64 octets of a local part to the sender.
const HASH: usize = 6;
/// The digits of hash and stamp. Local parts may lose their case on the way, so there is only one.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Stamps count days modulo this: two digits.
const DAYS: i64 = 1024;

/// A forwarder's key, or keys: the first signs, all are accepted, so that keys can be changed.
#[derive(Clone)]
pub struct Srs {
    keys: Vec<[u8; 32]>,
    domain: Domain,
    max_age_days: u16,
}

impl std::fmt::Debug for Srs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srs").field("domain", &self.domain).field("max_age_days", &self.max_age_days).finish()
    }
}

/// Why an address is not rewritten, or not led back.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SrsError {
    /// It is not of the form; or of another domain than ours. It is an address like any other.
    #[error("not a rewritten address")]
    NotRewritten,
    /// It is of the form, and the hash is not ours: a guess.
    #[error("the hash of the rewritten address is wrong")]
    Hash,
    /// It was ours, and is too old; or its day is yet to come.
    #[error("the rewritten address has expired")]
    Expired,
    /// The result is longer than RFC 5321 §4.5.3.1 allows, or is no address: the sender stays as it is.
    #[error("the rewritten address would be too long")]
    TooLong,
    /// The sender's domain is an address literal: there is nowhere to lead back to.
    #[error("a sender without a domain cannot be rewritten")]
    Literal,
}

impl Srs {
    /// A forwarder that rewrites to that domain, which must be one whose mail comes back here.
    #[must_use]
    pub fn new(key: [u8; 32], domain: Domain) -> Self {
        Self { keys: vec![key], domain, max_age_days: SRS_MAX_AGE_DAYS }
    }

    /// Accepts what was signed with an earlier key.
    #[must_use]
    pub fn with_earlier_key(mut self, key: [u8; 32]) -> Self {
        self.keys.push(key);
        self
    }

    /// Answers to what is at most so many days old: 1 to 1000.
    #[must_use]
    pub fn with_max_age(mut self, days: u16) -> Self {
        self.max_age_days = days.clamp(1, 1000);
        self
    }

    /// The domain that rewritten senders have.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The sender to use when a message is forwarded. A sender of our own domain stays as it is.
    ///
    /// # Errors
    /// `TooLong`, `Literal`: forward with the sender as it is, or with none.
    pub fn forward(&self, sender: &Mailbox, now: Timestamp) -> Result<Mailbox, SrsError> {
        let Host::Domain(domain) = &sender.host else { return Err(SrsError::Literal) };
        if *domain == self.domain {
            return Ok(sender.clone());
        }
        let local = sender.local.as_str();
        let domain = domain.ascii();
        let local = if let Some(rest) = tagged(local, "SRS0") {
            // The second forwarder: what the first made stays behind its domain, its separator included.
            self.signed("SRS1", &format!("{domain}={rest}"))
        } else if let Some((_, rest)) = tagged(local, "SRS1").and_then(|rest| rest[1..].split_once('=')) {
            // The third one, and all behind it: the hash of the one before is replaced.
            self.signed("SRS1", rest)
        } else {
            self.signed("SRS0", &format!("{}={domain}={local}", stamp(now)))
        };
        self.mailbox(&local)
    }

    /// Whether an address is one of ours, by its look: [`Srs::back`] can tell more.
    #[must_use]
    pub fn is_rewritten(&self, recipient: &Mailbox) -> bool {
        recipient.domain() == Some(&self.domain)
            && ["SRS0", "SRS1"].iter().any(|tag| tagged(recipient.local.as_str(), tag).is_some())
    }

    /// Where mail to a rewritten sender goes: to the sender, or to the first forwarder.
    ///
    /// Only bounces should come: the caller refuses other mail than from `<>`.
    ///
    /// # Errors
    /// `NotRewritten` for an address like any other; otherwise it is refused.
    pub fn back(&self, recipient: &Mailbox, now: Timestamp) -> Result<Mailbox, SrsError> {
        if !self.is_rewritten(recipient) {
            return Err(SrsError::NotRewritten);
        }
        let local = recipient.local.as_str();
        if let Some(rest) = tagged(local, "SRS0") {
            let signed = self.verified("SRS0", &rest[1..])?;
            let (days, rest) = signed.split_once('=').ok_or(SrsError::NotRewritten)?;
            let (domain, local) = rest.split_once('=').ok_or(SrsError::NotRewritten)?;
            let age = age(days, now).ok_or(SrsError::NotRewritten)?;
            if age > i64::from(self.max_age_days) {
                return Err(SrsError::Expired);
            }
            return mailbox(local, domain);
        }
        let rest = tagged(local, "SRS1").ok_or(SrsError::NotRewritten)?;
        let signed = self.verified("SRS1", &rest[1..])?;
        let (domain, rest) = signed.split_once('=').ok_or(SrsError::NotRewritten)?;
        mailbox(&format!("SRS0{rest}"), domain)
    }

    fn signed(&self, tag: &str, rest: &str) -> String {
        let hash = self.keys.first().map(|key| hash(key, tag, rest)).unwrap_or_default();
        format!("{tag}={hash}={rest}")
    }

    /// What the hash at the front signs.
    fn verified<'a>(&self, tag: &str, text: &'a str) -> Result<&'a str, SrsError> {
        let (found, rest) = text.split_once('=').ok_or(SrsError::NotRewritten)?;
        let right =
            self.keys.iter().any(|key| same(hash(key, tag, rest).as_bytes(), found.to_ascii_lowercase().as_bytes()));
        if right { Ok(rest) } else { Err(SrsError::Hash) }
    }

    fn mailbox(&self, local: &str) -> Result<Mailbox, SrsError> {
        if local.len() > MAX_LOCAL_PART {
            return Err(SrsError::TooLong);
        }
        let local = LocalPart::parse(&quoted(local)).map_err(|_| SrsError::TooLong)?;
        Ok(Mailbox { local, host: Host::Domain(self.domain.clone()) })
    }
}

/// What follows the tag, its separator (`=`, `+` or `-`) included, if the local part begins so, in any case.
fn tagged<'a>(local: &'a str, tag: &str) -> Option<&'a str> {
    let (found, rest) = local.split_at_checked(tag.len())?;
    let separated = rest.len() > 1 && matches!(rest.as_bytes()[0], b'=' | b'+' | b'-');
    (found.eq_ignore_ascii_case(tag) && separated).then_some(rest)
}

fn mailbox(local: &str, domain: &str) -> Result<Mailbox, SrsError> {
    if local.is_empty() {
        return Err(SrsError::NotRewritten);
    }
    Mailbox::parse(&format!("{}@{domain}", quoted(local))).map_err(|_| SrsError::NotRewritten)
}

/// The local part as it is written: a quoted string where it must be one.
fn quoted(local: &str) -> String {
    if !local.starts_with('"') && LocalPart::parse(local).is_ok() {
        return local.to_owned();
    }
    let escaped: String =
        local.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
    format!("\"{escaped}\"")
}

/// Bits over tag and text. Case is folded, as hosts on the way may fold it.
fn hash(key: &[u8; 32], tag: &str, text: &str) -> String {
    let digest = blake3::keyed_hash(key, format!("{tag}={}", text.to_ascii_lowercase()).as_bytes());
    let bits = digest.as_bytes()[..8].iter().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
    (0..HASH).map(|at| digit((bits >> (59 - 5 * at)) as usize)).collect()
}

fn digit(bits: usize) -> char {
    char::from(BASE32[bits & 31])
}

fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn day(now: Timestamp) -> i64 {
    now.as_second().div_euclid(86_400)
}

fn stamp(now: Timestamp) -> String {
    let day = usize::try_from(day(now).rem_euclid(DAYS)).unwrap_or(0);
    [digit(day >> 5), digit(day)].iter().collect()
}

/// The age of a stamp in days, 0 to 1023; a stamp of tomorrow, as a clock elsewhere may have it, counts as of today.
fn age(stamp: &str, now: Timestamp) -> Option<i64> {
    let digits: Option<Vec<usize>> =
        stamp.bytes().map(|octet| BASE32.iter().position(|digit| *digit == octet.to_ascii_lowercase())).collect();
    let &[high, low] = digits?.as_slice() else { return None };
    let stamped = i64::try_from(high << 5 | low).ok()?;
    let age = (day(now) - stamped).rem_euclid(DAYS);
    Some(if age == DAYS - 1 { 0 } else { age })
}

/// The address at which the owner gets a recipient's bounces: the recipient behind `separator`, its `@` written `=`. The
/// owner's own local part must not hold the separator, or [`unverp`] cuts there.
///
/// # Errors
/// `TooLong`, `Literal`: use the owner's address as it is.
pub fn verp(owner: &Mailbox, separator: char, recipient: &Mailbox) -> Result<Mailbox, SrsError> {
    let domain = recipient.domain().ok_or(SrsError::Literal)?;
    let local = format!("{}{separator}{}={}", owner.local.as_str(), recipient.local.as_str(), domain.ascii());
    if local.len() > MAX_LOCAL_PART {
        return Err(SrsError::TooLong);
    }
    let local = LocalPart::parse(&quoted(&local)).map_err(|_| SrsError::TooLong)?;
    Ok(Mailbox { local, host: owner.host.clone() })
}

/// The owner and the recipient in an address that [`verp`] made; `None` for any other. It is not signed: what it says is
/// a hint, as a bounce itself is.
#[must_use]
pub fn unverp(address: &Mailbox, separator: char) -> Option<(Mailbox, Mailbox)> {
    let (owner, rest) = address.local.as_str().split_once(separator)?;
    let (local, domain) = rest.rsplit_once('=')?;
    let owner = Mailbox { local: LocalPart::parse(&quoted(owner)).ok()?, host: address.host.clone() };
    Some((owner, mailbox(local, domain).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn srs(domain: &str, key: u8) -> Srs {
        Srs::new([key; 32], Domain::parse(domain).unwrap())
    }

    fn on(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400 + 5).unwrap()
    }

    #[test]
    fn there_and_back() {
        let forwarders = [srs("f.example", 1), srs("g.example", 2), srs("h.example", 3)];
        for sender in ["ann@a.example", "\"a b\"@a.example", "A.nn+x=y@a.example", "\"\\\"q\\\"\"@a.example"] {
            let sender = mailbox(sender);
            let first = forwarders[0].forward(&sender, on(20_000)).unwrap();
            assert!(first.local.as_str().starts_with("SRS0="), "{first}");
            let second = forwarders[1].forward(&first, on(20_000)).unwrap();
            assert!(second.local.as_str().starts_with("SRS1="), "{second}");
            let third = forwarders[2].forward(&second, on(20_000)).unwrap();
            assert_eq!(third.local.as_str().len(), second.local.as_str().len());
            // Any on the way may fold the case, and every form prints and reads.
            let folded = mailbox(&third.to_string().to_uppercase());
            let first_again = forwarders[2].back(&folded, on(20_003)).unwrap();
            assert_eq!(first_again.key(), first.key());
            assert_eq!(forwarders[1].back(&second, on(20_003)), Ok(first.clone()));
            assert_eq!(forwarders[0].back(&first, on(20_003)), Ok(sender));
        }
    }

    #[test]
    fn only_what_we_signed() {
        let f = srs("f.example", 1);
        let made = f.forward(&mailbox("ann@a.example"), on(20_000)).unwrap();
        for (address, expected) in [
            (made.to_string().replace("ann", "bob"), SrsError::Hash),
            (made.to_string().replace("a.example=", "b.example="), SrsError::Hash),
            (made.to_string().replace("SRS0", "SRS1"), SrsError::Hash),
            (made.to_string().replace("f.example", "g.example"), SrsError::NotRewritten),
            ("SRS0@f.example".into(), SrsError::NotRewritten),
            ("SRS0=@f.example".into(), SrsError::NotRewritten),
            ("SRS0=x@f.example".into(), SrsError::NotRewritten),
            ("SRS0=aaaaaa=bb=a.example=ann@f.example".into(), SrsError::Hash),
            ("ann@f.example".into(), SrsError::NotRewritten),
        ] {
            assert_eq!(f.back(&mailbox(&address), on(20_000)), Err(expected), "{address}");
        }
        assert_eq!(srs("f.example", 2).back(&made, on(20_000)), Err(SrsError::Hash));
        let changed = srs("f.example", 2).with_earlier_key([1; 32]);
        assert!(changed.back(&made, on(20_000)).is_ok());
        assert_ne!(changed.forward(&mailbox("ann@a.example"), on(20_000)).unwrap(), made);
        assert!(!format!("{f:?}").contains("keys"));
    }

    #[test]
    fn stamps_age() {
        let f = srs("f.example", 1).with_max_age(7);
        for start in [0, 1023, 1024, 20_000, 20_479] {
            let made = f.forward(&mailbox("ann@a.example"), on(start)).unwrap();
            for (later, expected) in [(-2, false), (-1, true), (0, true), (7, true), (8, false), (1000, false)] {
                assert_eq!(f.back(&made, on(start + later)).is_ok(), expected, "{start} {later}");
            }
        }
    }

    #[test]
    fn what_stays_as_it_is() {
        let f = srs("f.example", 1);
        let own = mailbox("bob@f.example");
        assert_eq!(f.forward(&own, on(1)), Ok(own.clone()));
        assert_eq!(f.forward(&mailbox("ann@[192.0.2.1]"), on(1)), Err(SrsError::Literal));
        // SRS0= HHHHHH= TT= and = take 16 octets of 64.
        let most = format!("{}@a.example", "x".repeat(64 - 16 - 9));
        assert!(f.forward(&mailbox(&most), on(1)).is_ok());
        assert_eq!(f.forward(&mailbox(&format!("x{most}")), on(1)), Err(SrsError::TooLong));
    }

    #[test]
    fn bounces_of_many() {
        let owner = mailbox("owner-news@lists.example");
        for (recipient, expected) in [
            ("bob@b.example", "owner-news+bob=b.example@lists.example"),
            ("b=ob@b.example", "owner-news+b=ob=b.example@lists.example"),
            ("bob+x@bücher.example", "owner-news+bob+x=xn--bcher-kva.example@lists.example"),
            ("\"b b\"@b.example", "\"owner-news+b b=b.example\"@lists.example"),
        ] {
            let recipient = mailbox(recipient);
            let made = verp(&owner, '+', &recipient).unwrap();
            assert_eq!(made.to_string(), expected);
            assert_eq!(unverp(&made, '+'), Some((owner.clone(), recipient)));
        }
        assert_eq!(verp(&owner, '+', &mailbox("a@[192.0.2.1]")), Err(SrsError::Literal));
        let long = format!("{}@b.example", "x".repeat(44));
        assert_eq!(verp(&owner, '+', &mailbox(&long)), Err(SrsError::TooLong));
        assert!(verp(&owner, '+', &mailbox(&long[1..])).is_ok());
        for text in ["owner-news@lists.example", "a+b@lists.example", "a+=b@lists.example", "a+b=@lists.example"] {
            assert_eq!(unverp(&mailbox(text), '+'), None, "{text}");
        }
    }
}
