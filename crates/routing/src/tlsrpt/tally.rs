//! What is counted during a day.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::ResultType;
use super::report::Day;
use crate::dane::Tlsa;
use crate::plan::{Host, Plan, Skip, Skipped, StsFailure};
use crate::question::Missing;
use crate::security::{Demand, Source};
use crate::sts::Policy;

/// How many policies a tally tells apart; sessions under further ones are not counted. A domain whose policy changes
/// more often in a day, or that has more MX hosts with TLSA records, gets an incomplete report.
pub const MAX_POLICIES: usize = 40;
/// How many kinds of failure are told apart under one policy; further ones count in the sum alone.
pub const MAX_DETAILS: usize = 100;
/// How much of a text that a peer chose is kept, in characters.
const MAX_TEXT: usize = 200;

/// The policy under which a session is counted (RFC 8460 §4.4).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Applied {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub kind: &'static str,
    /// The policy domain: the next-hop domain, but for DANE the TLSA base domain (RFC 8460 §1.1); A-labels.
    pub domain: String,
    /// The policy as text (RFC 8460 §4.5).
    pub strings: Vec<String>,
    /// The patterns of an MTA-STS policy.
    pub mx_hosts: Vec<String>,
}

impl Applied {
    const KINDS: [&'static str; 3] = ["tlsa", "sts", "no-policy-found"];

    /// TLSA records at a base domain.
    #[must_use]
    pub fn dane(base: &str, records: &[Tlsa]) -> Self {
        let strings = records.iter().map(Tlsa::to_string).collect();
        Self { kind: "tlsa", domain: base.to_owned(), strings, mx_hosts: Vec::new() }
    }

    /// An MTA-STS policy; nothing of it where it could not be had.
    #[must_use]
    pub fn sts(domain: &str, policy: Option<&Policy>) -> Self {
        let mx_hosts = policy.iter().flat_map(|policy| &policy.mx).map(ToString::to_string).collect();
        Self {
            kind: "sts",
            domain: domain.to_owned(),
            strings: policy.map(Policy::lines).unwrap_or_default(),
            mx_hosts,
        }
    }

    /// No policy.
    #[must_use]
    pub fn none(domain: &str) -> Self {
        Self { kind: "no-policy-found", domain: domain.to_owned(), strings: Vec::new(), mx_hosts: Vec::new() }
    }

    /// The policies under which a session with a host of a plan is counted: each that applies, or "none". Empty if the
    /// destination is an address, about which nobody is told.
    #[must_use]
    pub fn of(plan: &Plan, host: &Host) -> Vec<Self> {
        let Some(domain) = &plan.policy_domain else { return Vec::new() };
        let mut applied = Vec::new();
        match &host.security.demand {
            Demand::Dane { records, names } => {
                applied.push(Self::dane(names.first().unwrap_or(&host.name), records));
            }
            _ if host.security.source == Source::Dane => applied.push(Self::dane(&host.name, &[])),
            _ => {}
        }
        applied.extend(plan.sts.as_ref().map(|policy| Self::sts(domain, Some(policy.as_ref()))));
        if applied.is_empty() {
            applied.push(Self::none(domain));
        }
        applied
    }

    fn json(&self) -> Value {
        let mut policy = json!({ "policy-type": self.kind, "policy-domain": self.domain });
        if !self.strings.is_empty() {
            policy["policy-string"] = json!(self.strings);
        }
        if !self.mx_hosts.is_empty() {
            policy["mx-host"] = json!(self.mx_hosts);
        }
        policy
    }

    fn from_json(value: &Value) -> Option<Self> {
        let list = |name: &str| match &value[name] {
            Value::Null => Some(Vec::new()),
            Value::Array(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let kind = value["policy-type"].as_str()?;
        Some(Self {
            kind: Self::KINDS.into_iter().find(|known| *known == kind)?,
            domain: value["policy-domain"].as_str()?.to_owned(),
            strings: list("policy-string")?,
            mx_hosts: list("mx-host")?,
        })
    }
}

/// A failure of a session (RFC 8460 §4.4, `failure-details`). Equal ones are counted together.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Failure {
    /// What kind.
    pub result: ResultType,
    /// Our address.
    pub sending_ip: Option<IpAddr>,
    /// The MX host.
    pub mx_host: Option<String>,
    /// The name it greeted with.
    pub helo: Option<String>,
    /// Its address.
    pub receiving_ip: Option<IpAddr>,
    /// More, in a word such as an error's name.
    pub reason: Option<String>,
}

impl Failure {
    /// A failure of which only the kind is known.
    #[must_use]
    pub fn new(result: ResultType) -> Self {
        Self { result, sending_ip: None, mx_host: None, helo: None, receiving_ip: None, reason: None }
    }

    fn bounded(mut self) -> Self {
        for text in [&mut self.mx_host, &mut self.helo, &mut self.reason].into_iter().flatten() {
            *text = text.chars().filter(|character| !character.is_control()).take(MAX_TEXT).collect();
        }
        self
    }

    fn json(&self, count: u64) -> Value {
        let mut details = json!({ "result-type": self.result.as_str(), "failed-session-count": count });
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                details[name] = Value::String(value);
            }
        };
        put("sending-mta-ip", self.sending_ip.map(|address| address.to_string()));
        put("receiving-mx-hostname", self.mx_host.clone());
        put("receiving-mx-helo", self.helo.clone());
        put("receiving-ip", self.receiving_ip.map(|address| address.to_string()));
        put("failure-reason-code", self.reason.clone());
        details
    }

    fn from_json(value: &Value) -> Option<(Self, u64)> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let address = |name: &str| match value[name].as_str() {
            None => Some(None),
            Some(text) => text.parse().ok().map(Some),
        };
        let failure = Self {
            result: ResultType::from_name(value["result-type"].as_str()?)?,
            sending_ip: address("sending-mta-ip")?,
            mx_host: text("receiving-mx-hostname"),
            helo: text("receiving-mx-helo"),
            receiving_ip: address("receiving-ip")?,
            reason: text("failure-reason-code"),
        };
        Some((failure, value["failed-session-count"].as_u64()?))
    }
}

/// How one session went, under one policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The policy.
    pub applied: Applied,
    /// What failed; `None` if TLS was negotiated as the policy wants it.
    pub failure: Option<Failure>,
}

/// What there is to report of a lookup.
pub(crate) fn before_any_session(
    domain: Option<&str>,
    policy: Option<&Policy>,
    failure: Option<StsFailure>,
    skipped: &[Skipped],
) -> Vec<Outcome> {
    let Some(domain) = domain else { return Vec::new() };
    let mut outcomes = Vec::new();
    if let Some(failure) = failure {
        let reason = Some(failure.to_string());
        let failure = Some(Failure { reason, ..Failure::new(failure.into()) });
        outcomes.push(Outcome { applied: Applied::sts(domain, policy), failure });
    }
    for Skipped { name, why, .. } in skipped {
        let (applied, result, reason) = match why {
            Skip::TlsaTrouble { base, why: Missing::Bogus } => {
                (Applied::dane(base, &[]), ResultType::DnssecInvalid, None)
            }
            Skip::NoDane => (Applied::dane(name, &[]), ResultType::DaneRequired, None),
            Skip::NotInPolicy => {
                let reason = Some("mx-not-in-policy".to_owned());
                (Applied::sts(domain, policy), ResultType::ValidationFailure, reason)
            }
            // RFC 8460 §4.3.4: what passes need not be told.
            _ => continue,
        };
        let failure = Some(Failure { mx_host: Some(name.clone()), reason, ..Failure::new(result) });
        outcomes.push(Outcome { applied, failure });
    }
    outcomes
}

/// The sessions of one day with the hosts of one domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tally {
    domain: String,
    day: Day,
    policies: Vec<Counts>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Counts {
    applied: Applied,
    successes: u64,
    failures: u64,
    details: BTreeMap<Failure, u64>,
}

impl Tally {
    /// No sessions yet with a domain (A-labels) on a day.
    #[must_use]
    pub fn new(domain: &str, day: Day) -> Self {
        Self { domain: domain.to_owned(), day, policies: Vec::new() }
    }

    /// The domain that is reported to.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The day.
    #[must_use]
    pub fn day(&self) -> Day {
        self.day
    }

    /// Whether nothing was counted: then there is no report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Counts a session.
    pub fn add(&mut self, outcome: Outcome) {
        let Some(counts) = self.counts(outcome.applied) else { return };
        match outcome.failure {
            None => counts.successes = counts.successes.saturating_add(1),
            Some(failure) => counts.fail(failure.bounded(), 1),
        }
    }

    /// Counts what another tally of the same domain and day counted: tallies of several processes become one.
    pub fn merge(&mut self, other: Self) {
        for counted in other.policies {
            let Some(counts) = self.counts(counted.applied) else { continue };
            counts.successes = counts.successes.saturating_add(counted.successes);
            let told: u64 = counted.details.values().fold(0, |sum, count| sum.saturating_add(*count));
            counts.failures = counts.failures.saturating_add(counted.failures.saturating_sub(told));
            for (failure, count) in counted.details {
                counts.fail(failure, count);
            }
        }
    }

    /// The sessions that succeeded and those that failed, under all policies.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.policies.iter().fold((0, 0), |(successes, failures), counts| {
            (successes.saturating_add(counts.successes), failures.saturating_add(counts.failures))
        })
    }

    /// As octets for a store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        json!({ "v": 1, "domain": self.domain, "day": self.day.number(), "policies": self.json() })
            .to_string()
            .into_bytes()
    }

    /// What [`Tally::encode`] made; `None` for octets of another version, or damaged ones.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(octets).ok()?;
        if value["v"] != json!(1) {
            return None;
        }
        let policies = value["policies"].as_array()?.iter().map(Counts::from_json).collect::<Option<_>>()?;
        Some(Self {
            domain: value["domain"].as_str()?.to_owned(),
            day: Day::from_number(i32::try_from(value["day"].as_i64()?).ok()?),
            policies,
        })
    }

    /// The value of `policies` in a report.
    pub(super) fn json(&self) -> Value {
        Value::Array(self.policies.iter().map(Counts::json).collect())
    }

    fn counts(&mut self, applied: Applied) -> Option<&mut Counts> {
        let at = match self.policies.iter().position(|counts| counts.applied == applied) {
            Some(at) => at,
            None if self.policies.len() < MAX_POLICIES => {
                self.policies.push(Counts { applied, successes: 0, failures: 0, details: BTreeMap::new() });
                self.policies.len() - 1
            }
            None => return None,
        };
        self.policies.get_mut(at)
    }
}

impl Counts {
    fn fail(&mut self, failure: Failure, count: u64) {
        self.failures = self.failures.saturating_add(count);
        let room = self.details.len() < MAX_DETAILS;
        match self.details.get_mut(&failure) {
            Some(known) => *known = known.saturating_add(count),
            None if room => _ = self.details.insert(failure, count),
            None => {}
        }
    }

    fn json(&self) -> Value {
        let mut policy = json!({
            "policy": self.applied.json(),
            "summary": {
                "total-successful-session-count": self.successes,
                "total-failure-session-count": self.failures,
            },
        });
        if !self.details.is_empty() {
            policy["failure-details"] =
                self.details.iter().map(|(failure, count)| failure.json(*count)).collect::<Value>();
        }
        policy
    }

    fn from_json(value: &Value) -> Option<Self> {
        let details = match &value["failure-details"] {
            Value::Null => BTreeMap::new(),
            details => details.as_array()?.iter().map(Failure::from_json).collect::<Option<_>>()?,
        };
        Some(Self {
            applied: Applied::from_json(&value["policy"])?,
            successes: value["summary"]["total-successful-session-count"].as_u64()?,
            failures: value["summary"]["total-failure-session-count"].as_u64()?,
            details,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Day {
        Day::of("2016-04-01T12:00:00Z".parse().unwrap())
    }

    fn fail(tally: &mut Tally, failure: Failure) {
        tally.add(Outcome { applied: Applied::none("a.example"), failure: Some(failure) });
    }

    #[test]
    fn counts_and_keeps() {
        let mut tally = Tally::new("a.example", day());
        assert!(tally.is_empty());
        tally.add(Outcome { applied: Applied::none("a.example"), failure: None });
        let failure = Failure {
            sending_ip: Some("2001:db8::1".parse().unwrap()),
            mx_host: Some("mx.a.example".into()),
            helo: Some("h\r\ni".into()),
            receiving_ip: Some("192.0.2.1".parse().unwrap()),
            reason: Some("\"x\"".repeat(300)),
            ..Failure::new(ResultType::CertificateExpired)
        };
        fail(&mut tally, failure.clone());
        fail(&mut tally, failure);
        tally
            .add(Outcome { applied: Applied::dane("mx.a.example", &[Tlsa::new(3, 1, 1, vec![1; 32])]), failure: None });
        assert_eq!(tally.totals(), (2, 2));
        let again = Tally::decode(&tally.encode()).unwrap();
        assert_eq!(again, tally);
        assert_eq!((again.domain(), again.day()), ("a.example", day()));
        let mut sum = again.clone();
        sum.merge(again);
        assert_eq!(sum.totals(), (4, 4));
        let text = String::from_utf8(tally.encode()).unwrap();
        assert!(text.contains("\"receiving-mx-helo\":\"hi\"") && text.len() < 1500, "{text}");
        for octets in [&b""[..], b"{}", b"{\"v\":2}", b"{\"v\":1,\"domain\":\"a\",\"day\":1,\"policies\":[{}]}"] {
            assert_eq!(Tally::decode(octets), None);
        }
    }

    #[test]
    fn bounded() {
        let mut tally = Tally::new("a.example", day());
        for at in 0..=MAX_DETAILS {
            let reason = Some(at.to_string());
            fail(&mut tally, Failure { reason, ..Failure::new(ResultType::ValidationFailure) });
        }
        assert_eq!(tally.policies[0].details.len(), MAX_DETAILS);
        assert_eq!(tally.totals().1, MAX_DETAILS as u64 + 1);
        // What the sum alone knows is not lost when tallies are merged.
        let mut sum = Tally::new("a.example", day());
        sum.merge(tally.clone());
        assert_eq!(sum, tally);
        for at in 0..=MAX_POLICIES {
            tally.add(Outcome { applied: Applied::none(&format!("d{at}.example")), failure: None });
        }
        assert_eq!(tally.policies.len(), MAX_POLICIES);
    }
}
