//! How TLS with each domain went, counted, and told once a day to those who ask for it (RFC 8460).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use address::Mailbox;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use routing::tlsrpt::{Applied, Day, Endpoint, Failure, Outcome, Report, ResultType, Tally, record, record_name};
use routing::{Answer, Host, Missing, Plan, Question, Unroutable};
use smtp::client::Failure as SmtpFailure;
use store::{RoomFact, Store};

use crate::hand::Left;
use crate::office::Office;
use crate::world::{Called, Trouble, World};

/// The room of tallies that were not reported yet: `DAY DOMAIN`.
const TALLIES: &str = "tls-rpt";
/// The room of reports that wait until mail can be signed (RFC 8460 §3): `DAY DOMAIN`.
const MAILED: &str = "tls-rpt-mail";
/// Domains of a day that are counted.
const DOMAINS: usize = 10_000;
/// How long a tally, or a report that cannot be sent yet, is kept.
const KEPT_DAYS: i64 = 7;

/// What was counted since it was last written down.
#[derive(Debug, Default)]
pub(crate) struct TlsReports {
    tallies: Mutex<BTreeMap<String, Tally>>,
}

impl TlsReports {
    /// A connection to a host of a plan has ended.
    pub(crate) fn note(&self, plan: &Plan, host: &Host, left: &Left, called: &Called, now: Timestamp) {
        let detail = |result| Failure {
            mx_host: Some(host.name.clone()),
            receiving_ip: left.address.or(host.addresses.first().copied()),
            ..Failure::new(result)
        };
        let failure = failure(left, called);
        let is_known = left.tls.is_some() || failure.is_some();
        if !is_known {
            return;
        }
        let mut outcomes = plan.reportable();
        outcomes.extend(Applied::of(plan, host).into_iter().map(|applied| {
            let failure = failure.or_else(|| if applied.kind == "sts" { tested(host, called) } else { None });
            Outcome { applied, failure: failure.map(detail) }
        }));
        self.add(plan.policy_domain.as_deref(), outcomes, now);
    }

    /// There was not even a plan.
    pub(crate) fn note_unroutable(&self, unroutable: &Unroutable, now: Timestamp) {
        self.add(unroutable.policy_domain.as_deref(), unroutable.reportable(), now);
    }

    fn add(&self, domain: Option<&str>, outcomes: Vec<Outcome>, now: Timestamp) {
        let Some(domain) = domain.filter(|_| !outcomes.is_empty()) else { return };
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let day = Day::of(now);
        let key = format!("{day} {domain}");
        if tallies.len() >= DOMAINS && !tallies.contains_key(&key) {
            return;
        }
        let tally = tallies.entry(key).or_insert_with(|| Tally::new(domain, day));
        for outcome in outcomes {
            tally.add(outcome);
        }
    }

    /// Writes down what was counted.
    pub(crate) async fn flush(&self, store: &Arc<dyn Store>, now: Timestamp) -> store::Result<()> {
        let counted = std::mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner));
        let mut facts = Vec::new();
        for (key, mut tally) in counted {
            if let Some(before) = store.room_fact(TALLIES, &key).await?.and_then(|fact| Tally::decode(&fact.value)) {
                tally.merge(before);
            }
            facts.push(RoomFact { key, value: tally.encode(), expires: Some(days_from(now)) });
        }
        if facts.is_empty() { Ok(()) } else { store.put_room_facts(TALLIES, facts).await }
    }
}

fn days_from(now: Timestamp) -> i64 {
    now.as_millisecond() + KEPT_DAYS * 86_400_000
}

/// What of a connection was a failure of TLS.
fn failure(left: &Left, called: &Called) -> Option<ResultType> {
    if left.tls.is_some() {
        // A certificate that nobody asked for proves nothing, and fails nothing.
        return None;
    }
    match (&called.certificate, &called.trouble, &left.failure) {
        (Some(Err(distrust)), Some(Trouble::Broken(_)), _) => Some(distrust.result_type()),
        (_, Some(Trouble::Broken(_)), _) => Some(ResultType::ValidationFailure),
        (_, _, Some(SmtpFailure::TlsNotOffered)) => Some(ResultType::StarttlsNotSupported),
        (_, None, _) if left.ready => Some(ResultType::StarttlsNotSupported),
        _ => None,
    }
}

/// What a policy in testing would have failed, had it been enforced (RFC 8461 §5).
fn tested(host: &Host, called: &Called) -> Option<ResultType> {
    let sts = host.security.sts.filter(|sts| sts.testing)?;
    match &called.certificate {
        _ if !sts.listed => Some(ResultType::ValidationFailure),
        Some(Err(distrust)) => Some(distrust.result_type()),
        _ => None,
    }
}

/// Sends the reports of days that are over; called about once an hour.
pub(crate) async fn send<W: World>(office: &Office<W>) -> store::Result<()> {
    let Some(contact) = &office.settings.tls_reports else { return Ok(()) };
    let Ok(contact) = Mailbox::parse(contact) else { return Ok(()) };
    let now = office.world.now();
    office.tls_reports.flush(&office.store, now).await?;
    let mut after: Option<String> = None;
    loop {
        let facts = office.store.room_facts(TALLIES, after.as_deref(), 100).await?;
        let Some(last) = facts.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for fact in facts {
            match Tally::decode(&fact.value) {
                Some(tally) if tally.day().over() > now => {}
                Some(tally) => {
                    if report(office, &contact, &tally).await? {
                        office.store.remove_room_facts(TALLIES, vec![fact.key]).await?;
                    }
                }
                None => _ = office.store.remove_room_facts(TALLIES, vec![fact.key]).await?,
            }
        }
    }
}

/// Whether a tally is done with.
async fn report<W: World>(office: &Office<W>, contact: &Mailbox, tally: &Tally) -> store::Result<bool> {
    let question = Question::Txt(record_name(tally.domain()));
    let endpoints = match office.world.answer(&question).await {
        Answer::Txt(Ok(found)) => record(&found.records).unwrap_or_default(),
        Answer::Txt(Err(Missing::NoData { .. } | Missing::NxDomain { .. })) => Vec::new(),
        // Nobody knows now: in an hour.
        _ => return Ok(false),
    };
    let id = format!("{:016x}@{}", office.world.random(), office.settings.hostname);
    let report = Report { organization: &office.settings.hostname, contact, id: &id, tally };
    let mut done = true;
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Https(url) => {
                let document = match compress(report.json().as_bytes()) {
                    Ok(document) => document,
                    Err(error) => {
                        tracing::warn!(%error, "a TLS report is not compressed");
                        return Ok(true);
                    }
                };
                match office.world.post(&url, "application/tlsrpt+gzip", document).await {
                    Ok(status) if status / 100 == 2 => {
                        tracing::info!(domain = tally.domain(), day = %tally.day(), url, "TLS report sent");
                    }
                    Ok(status) => {
                        tracing::info!(domain = tally.domain(), url, status, "TLS report refused");
                        done &= status / 100 == 4;
                    }
                    Err(error) => {
                        tracing::info!(domain = tally.domain(), url, error, "TLS report not sent yet");
                        done = false;
                    }
                }
            }
            Endpoint::Mailto(_) => {
                // rule 36: such mail needs a signature, so it waits until there is one.
                let key = format!("{} {}", tally.day(), tally.domain());
                let expires = Some(days_from(office.world.now()));
                let fact = RoomFact { key, value: tally.encode(), expires };
                office.store.put_room_facts(MAILED, vec![fact]).await?;
            }
        }
    }
    Ok(done)
}

fn compress(octets: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(octets)?;
    encoder.finish()
}
