//! From the target to the list of hosts (RFC 5321 §5.1), and from the hosts to the plan.

use std::time::Duration;

use address::{AddressLiteral, Host as TargetHost};
use jiff::Timestamp;
use wire::EnhancedCode;

use super::{Lookup, policy::StsState};
use crate::note::Note;
use crate::plan::{Host, Plan, Skip, Skipped, Unroutable, Why, mix};
use crate::question::{Answer, Missing, Mx, Proof, Question, Records, Reply, Trouble, host_name};
use crate::security::TlsPolicy;
use crate::settings::{SMTP_PORT, Settings, Target};
use crate::sts::after;

/// After a question failed, or an answer was bogus, it is asked again no later than after this time.
pub(super) const TROUBLE: Duration = Duration::from_secs(300);

/// An evaluation under way: what the answers so far say, and what is missing.
pub(super) struct Work<'a> {
    pub(super) lookup: &'a Lookup,
    pub(super) settings: &'a Settings,
    pub(super) target: &'a Target,
    pub(super) sts: Option<StsState>,
    pub(super) needs: Vec<Question>,
    pub(super) notes: Vec<Note>,
    pub(super) valid_until: Timestamp,
}

/// The hosts of a destination.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// The next-hop domain, or the host that was given.
    pub(super) next_hop: String,
    /// What the next-hop domain is an alias of.
    pub(super) expanded: Option<String>,
    /// The proof of the MX records, if the hosts come from such.
    pub(super) mx: Option<Proof>,
    /// Hosts, best first, each once.
    pub(super) hosts: Vec<(u16, String)>,
    /// Records that are no hosts.
    pub(super) skipped: Vec<Skipped>,
}

impl Lookup {
    /// The result, or the questions whose answers are missing.
    pub(super) fn evaluate(&self) -> Result<Result<Plan, Box<Unroutable>>, Vec<Question>> {
        let mut work = Work {
            lookup: self,
            settings: &self.settings,
            target: &self.target,
            sts: None,
            needs: Vec::new(),
            notes: Vec::new(),
            valid_until: after(self.started, self.settings.longest_validity),
        };
        if self.target.tls != TlsPolicy::Auto {
            work.notes.push(Note::Setting(self.target.tls));
        }
        let outcome = work.run();
        if work.needs.is_empty() { Ok(outcome) } else { Err(work.needs) }
    }
}

impl<'a> Work<'a> {
    /// The outcome, which counts only if nothing is needed.
    fn run(&mut self) -> Result<Plan, Box<Unroutable>> {
        // The policy does not depend on the hosts, so both are asked for at once; a domain that is known to take no mail
        // is not asked for a policy.
        let exchanges = match self.exchanges() {
            Ok(exchanges) => exchanges.unwrap_or_default(),
            Err(why) => return Err(self.unroutable(why, Vec::new())),
        };
        match self.lookup.sts() {
            Ok(mut state) => {
                self.notes.append(&mut state.notes);
                self.valid_until = state.valid_until.map_or(self.valid_until, |until| until.min(self.valid_until));
                self.sts = Some(state);
            }
            Err(question) => self.needs.push(question),
        }
        let group = group(&exchanges, self.target.port);
        let (hosts, skipped) = self.hosts(&exchanges);
        if !self.needs.is_empty() || hosts.is_empty() {
            let why = self.why_none(&exchanges, &skipped);
            return Err(self.unroutable(why, skipped));
        }
        let sts = self.sts.take().unwrap_or_default();
        Ok(Plan {
            hosts,
            skipped,
            valid_until: self.valid_until,
            group,
            port: self.target.port,
            policy_domain: super::policy_domain(self.target).map(str::to_owned),
            sts: sts.policy,
            sts_failure: sts.failure,
            notes: std::mem::take(&mut self.notes),
        })
    }

    /// The answer to a question, if it is there; else the question is needed.
    pub(super) fn get(&mut self, question: Question) -> Option<&'a Answer> {
        let Some((answer, at)) = self.lookup.answers.get(&question) else {
            self.needs.push(question);
            return None;
        };
        let ttl = match answer {
            Answer::Mx(reply) => ttl(reply),
            Answer::Addresses(reply) => ttl(reply),
            Answer::Tlsa(reply) => ttl(reply),
            Answer::Txt(reply) => ttl(reply),
            Answer::Policy(_) => Duration::MAX,
        };
        self.valid_until = self.valid_until.min(after(*at, ttl));
        Some(answer)
    }

    /// The hosts of the target; nothing if an answer is missing.
    fn exchanges(&mut self) -> Result<Option<Exchanges>, Why> {
        let domain = match &self.target.host {
            TargetHost::Literal(AddressLiteral::Ip(_)) if self.target.tls.needs_name() => {
                return Err(Why::LiteralWithPolicy(self.target.tls));
            }
            TargetHost::Literal(literal @ AddressLiteral::Ip(_)) => {
                return Ok(Some(Exchanges::given(literal.to_string())));
            }
            TargetHost::Literal(AddressLiteral::General { .. }) => return Err(Why::UnknownLiteral),
            TargetHost::Domain(domain) => domain.ascii(),
        };
        let name = host_name(domain).ok_or_else(|| Why::NotAName(domain.to_owned()))?;
        if !self.target.use_mx {
            self.notes.push(Note::Given(name.clone()));
            return Ok(Some(Exchanges::given(name)));
        }
        let Some(answer) = self.get(Question::Mx(name.clone())) else { return Ok(None) };
        let found = match answer {
            Answer::Mx(Ok(found)) if found.records.is_empty() => Err((name, Proof::Insecure)),
            Answer::Mx(Ok(found)) => Ok(found),
            Answer::Mx(Err(Missing::NoData { proof, .. })) => Err((name, *proof)),
            Answer::Mx(Err(Missing::NxDomain { .. })) => return Err(Why::NoSuchDomain(name)),
            Answer::Mx(Err(missing)) => return Err(Why::MxTrouble(name, missing.clone())),
            _ => return Err(Why::MxTrouble(name, Missing::Temporary(Trouble::Mismatch))),
        };
        let proof = found.as_ref().map_or_else(|(_, proof)| *proof, |found| found.proof);
        if self.target.tls == TlsPolicy::Dane && !proof.is_secure() {
            return Err(Why::InsecureMx(domain.to_owned()));
        }
        match found {
            Ok(found) => self.listed(domain, found).map(Some),
            // RFC 5321 §5.1: "the initial name is treated as if it was associated with an implicit MX RR".
            Err((name, proof)) => {
                self.notes.push(Note::ImplicitMx { domain: name.clone(), proof });
                Ok(Some(Exchanges::given(name)))
            }
        }
    }

    fn listed(&mut self, domain: &str, found: &Records<Mx>) -> Result<Exchanges, Why> {
        // RFC 7505 §3: a null MX stands alone; beside others it is one record that is no host.
        let is_null = |mx: &Mx| mx.exchange.is_empty() || mx.exchange == ".";
        if found.records.iter().all(is_null) {
            return Err(Why::NullMx(domain.to_owned()));
        }
        self.notes.push(Note::MxFound { domain: domain.to_owned(), count: found.records.len(), proof: found.proof });
        let expanded = found.alias.as_ref().map(|alias| alias.canonical.clone());
        if let Some(canonical) = &expanded {
            self.notes.push(Note::Alias { name: domain.to_owned(), canonical: canonical.clone() });
        }
        let (mut hosts, mut skipped) = (Vec::new(), Vec::new());
        for mx in &found.records {
            match host_name(&mx.exchange) {
                Some(name) => hosts.push((mx.preference, name)),
                None => {
                    // What stands in the record is a stranger's text of any octets: it is shown escaped.
                    let name = if is_null(mx) { ".".into() } else { mx.exchange.escape_default().to_string() };
                    skipped.push(Skipped { name, preference: mx.preference, why: Skip::NotAName });
                }
            }
        }
        // Each host once, with its best preference; then best first, equals in an order that the seed makes.
        hosts.sort_by(|(preference, name), (other, other_name)| (name, preference).cmp(&(other_name, other)));
        hosts.dedup_by(|(_, later), (_, kept)| later == kept);
        // Of an absurd list the best are kept, and whatever is us, wherever it stands.
        hosts.sort_unstable();
        let mut place = 0..;
        hosts.retain(|(_, name)| place.next() < Some(MOST_LISTED) || self.settings.own_names.contains(name));
        hosts.sort_by_key(|(preference, name)| (*preference, mix(self.lookup.seed, name.as_bytes())));
        skipped.sort_by(|one, other| (one.preference, &one.name).cmp(&(other.preference, &other.name)));
        skipped.truncate(MOST_LISTED);
        Ok(Exchanges { next_hop: domain.to_owned(), expanded, mx: Some(found.proof), hosts, skipped })
    }

    /// The hosts to try and those to skip, in order.
    fn hosts(&mut self, exchanges: &Exchanges) -> (Vec<Host>, Vec<Skipped>) {
        let mut skipped = exchanges.skipped.clone();
        let (mut hosts, mut cut, mut looked_up) = (Vec::<Host>::new(), None, 0);
        for (preference, name) in &exchanges.hosts {
            let outcome = if cut.is_some_and(|cut| *preference >= cut) {
                Err(Skip::BehindUs)
            } else if self.may_be_us() && self.settings.own_names.contains(name) {
                Err(Skip::OurOwn)
            } else if looked_up >= self.settings.limits.mx_hosts.max(1) {
                Err(Skip::Limit)
            } else {
                looked_up += 1;
                match self.host(exchanges, name, *preference) {
                    Some(outcome) => outcome,
                    None => continue,
                }
            };
            match outcome {
                Ok(host) => hosts.push(host),
                Err(why) => {
                    if why == Skip::OurOwn && cut.is_none() {
                        cut = Some(*preference);
                        self.notes.push(Note::CutAtOwn { host: name.clone(), preference: *preference });
                    }
                    skipped.push(Skipped { name: name.clone(), preference: *preference, why });
                }
            }
        }
        // Equals of our own that came before it in the list are cut, too.
        if let Some(cut) = cut {
            let behind = |host: &Host| host.preference >= cut;
            skipped.extend(hosts.iter().filter(|host| behind(host)).map(|host| Skipped {
                name: host.name.clone(),
                preference: host.preference,
                why: Skip::BehindUs,
            }));
            hosts.retain(|host| !behind(host));
        }
        skipped.sort_by_key(|skipped| skipped.preference);
        self.notes.extend(
            skipped.iter().map(|skipped| Note::Skipped { host: skipped.name.clone(), why: skipped.why.clone() }),
        );
        (hosts, skipped)
    }

    /// Whether a host could be this server: only on the port where this server takes mail from others, and not where the
    /// operator named the host.
    pub(super) fn may_be_us(&self) -> bool {
        self.target.use_mx && self.target.port == self.settings.own_port
    }

    fn why_none(&self, exchanges: &Exchanges, skipped: &[Skipped]) -> Why {
        let domain = exchanges.next_hop.clone();
        let chosen = skipped.iter().find(|skipped| skipped.why.is_temporary()).or(skipped.first());
        let own = skipped.iter().any(|skipped| skipped.why == Skip::OurOwn);
        match chosen {
            Some(chosen) if own && !chosen.why.is_temporary() => Why::LoopsBack(domain),
            Some(Skipped { why: Skip::NoAddress, .. }) | None if exchanges.mx.is_none() => Why::NoHost(domain),
            Some(chosen) => Why::NoUsableHost { domain, host: chosen.name.clone(), skip: chosen.why.clone() },
            None => Why::NoHost(domain),
        }
    }

    fn unroutable(&mut self, why: Why, skipped: Vec<Skipped>) -> Box<Unroutable> {
        let code = match &why {
            Why::NoSuchDomain(_) | Why::NotAName(_) | Why::UnknownLiteral => EnhancedCode::permanent(1, 2),
            Why::NullMx(_) => EnhancedCode::permanent(1, 10),
            Why::NoHost(_) => EnhancedCode::permanent(4, 4),
            Why::MxTrouble(..) => EnhancedCode::transient(4, 3),
            Why::LoopsBack(_) => EnhancedCode::permanent(4, 6),
            Why::InsecureMx(_) | Why::LiteralWithPolicy(_) => EnhancedCode::transient(7, 5),
            Why::NoUsableHost { skip, .. } => skip.code(),
        };
        // A host that the operator named and that is not there is the operator's mistake, which mail outlives.
        let nowhere = EnhancedCode::permanent(4, 4);
        let code = if !self.target.use_mx && code == nowhere { EnhancedCode::transient(4, 4) } else { code };
        let sts = self.sts.take().unwrap_or_default();
        Box::new(Unroutable {
            code,
            why,
            valid_until: self.valid_until,
            skipped,
            policy_domain: super::policy_domain(self.target).map(str::to_owned),
            sts: sts.policy,
            sts_failure: sts.failure,
            notes: std::mem::take(&mut self.notes),
        })
    }
}

impl Exchanges {
    /// A single host that no MX record names.
    fn given(name: String) -> Self {
        Self { next_hop: name.clone(), hosts: vec![(0, name)], ..Self::default() }
    }
}

fn ttl<T>(reply: &Reply<T>) -> Duration {
    match reply {
        Ok(records) => records.ttl,
        Err(Missing::NoData { ttl, .. } | Missing::NxDomain { ttl, .. }) => *ttl,
        Err(Missing::Temporary(_) | Missing::Bogus) => TROUBLE,
    }
}

/// A key of the set of hosts, the same whatever order they have: their names, or the first and a hash of all if that
/// would be long; the port, unless it is 25.
fn group(exchanges: &Exchanges, port: u16) -> String {
    let mut names: Vec<&str> = exchanges.hosts.iter().map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    let mut group = names.join(",");
    if group.len() > LONGEST_GROUP {
        let hash = blake3::hash(group.as_bytes()).to_hex();
        group = format!("{}+{}", names.first().unwrap_or(&""), &hash[..16]);
    }
    if port == SMTP_PORT { group } else { format!("{group}:{port}") }
}

/// The longest list of names, in octets, that is a group's key as it is.
const LONGEST_GROUP: usize = 120;

/// How many hosts of a destination are listed at all, tried or not; a DNS answer can hold thousands.
const MOST_LISTED: usize = 100;
