//! Records as they came, read as the answer to a question.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::dnssec::{Proof as Status, rdata::DNSSECRData};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::net::{DnsError, NetError};
use routing::dane::Tlsa;
use routing::{Alias, Missing, Mx, Proof, Records, Reply, Trouble};

/// Aliases that are followed.
pub(super) const MAX_ALIASES: usize = 16;
/// What is not there is asked for again after this, whatever its zone says (RFC 2308 §5).
const MAX_ABSENCE: Duration = Duration::from_secs(3 * 3600);

/// What was found: records, or the word of a name server that there are none.
#[derive(Debug)]
pub(super) struct Found {
    answers: Vec<(Record, Result<Proof, Missing>)>,
    /// What it means if no record is of the kind that was asked for.
    absence: Result<Absence, Missing>,
}

#[derive(Debug)]
struct Absence {
    name_exists: bool,
    proof: Proof,
    ttl: Duration,
    /// Nothing backs it, not even an SOA record.
    bare: bool,
}

impl Found {
    /// What a validating resolver on this machine says.
    pub(super) fn of_validated(message: Message) -> Self {
        let proof = if message.authentic_data { Proof::Secure } else { Proof::Insecure };
        let absence = Absence {
            name_exists: message.response_code != ResponseCode::NXDomain,
            proof,
            ttl: negative_ttl(&message.authorities),
            bare: false,
        };
        let answers = message.answers.into_iter().map(|record| (record, Ok(proof))).collect();
        Self { answers, absence: Ok(absence) }
    }

    /// What the library found.
    pub(super) fn of_lookup(answers: &[Record], validates: bool) -> Self {
        let answers = answers.iter().map(|record| (record.clone(), proof_of(record, validates))).collect();
        // It also counts records of the other sections, which answer nothing and which nobody has validated.
        Self { answers, absence: Err(Missing::Temporary(Trouble::Malformed)) }
    }

    /// What the library makes of an answer without records, or why it has none.
    pub(super) fn of_error(error: NetError, validates: bool) -> Result<Self, Missing> {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => {
                let name_exists = match none.response_code {
                    ResponseCode::NoError => true,
                    ResponseCode::NXDomain => false,
                    other => return Err(Missing::Temporary(Trouble::Rcode(other.into()))),
                };
                // Where answers about something else came along, the library keeps no more than the SOA record.
                let soa: Vec<Record> = none.soa.into_iter().map(|soa| soa.into_record_of_rdata()).collect();
                let authorities = none.authorities.as_deref().filter(|all| !all.is_empty()).unwrap_or(&soa);
                if soa.is_empty() && none.ns.is_some() {
                    // A referral: the server does not resolve for us.
                    return Err(Missing::Temporary(Trouble::Malformed));
                }
                let proof = if validates { proof_of_absence(&none.query.name, authorities)? } else { Proof::Insecure };
                let bare = authorities.is_empty();
                let ttl = negative_ttl(authorities);
                Ok(Self { answers: Vec::new(), absence: Ok(Absence { name_exists, proof, ttl, bare }) })
            }
            // The denial is not proved, though nothing is forged: too many iterations of NSEC3, an opt-out. Records that
            // came with it (from a wildcard) are worth no more.
            NetError::Dns(DnsError::Nsec { response, proof: Status::Insecure, .. }) => {
                let message = response.into_message();
                let mut found = Self::of_validated(message);
                found.absence = found.absence.map(|absence| Absence { proof: Proof::Insecure, ..absence });
                for (record, proof) in &mut found.answers {
                    *proof = proof_of(record, validates).map(|_| Proof::Insecure);
                }
                Ok(found)
            }
            NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => Err(Missing::Bogus),
            NetError::Dns(DnsError::ResponseCode(code)) => Err(Missing::Temporary(Trouble::Rcode(code.into()))),
            NetError::Timeout => Err(Missing::Temporary(Trouble::Timeout)),
            NetError::NoConnections | NetError::Io(_) | NetError::Busy => Err(Missing::Temporary(Trouble::Unreachable)),
            _ => Err(Missing::Temporary(Trouble::Malformed)),
        }
    }

    /// Whether nothing was found, and nothing backs it.
    pub(super) fn is_bare(&self) -> bool {
        self.answers.is_empty() && self.absence.as_ref().is_ok_and(|absence| absence.bare)
    }

    /// The name at which the chain of aliases that begins at `asked` breaks off, although records were found.
    pub(super) fn gap(&self, asked: &Name, kind: RecordType) -> Option<Name> {
        let mut name = asked;
        for _ in 0..=MAX_ALIASES {
            let mut here = self.answers.iter().map(|(record, _)| record).filter(|record| record.name == *name);
            if self.answers.is_empty() || here.clone().any(|record| record.record_type() == kind) {
                return None;
            }
            let alias = here.find_map(|record| match &record.data {
                RData::CNAME(target) => Some(&target.0),
                _ => None,
            });
            match alias {
                Some(target) => name = target,
                None => return Some(name.clone()),
            }
        }
        None
    }

    /// Adds the alias at a name; false if it is not among those records.
    pub(super) fn add_alias(&mut self, name: &Name, alias: Self) -> bool {
        let before = self.answers.len();
        let is_alias = |record: &Record| record.name == *name && record.record_type() == RecordType::CNAME;
        self.answers.extend(alias.answers.into_iter().filter(|(record, _)| is_alias(record)));
        self.answers.len() > before
    }

    /// The proof of what was found at a name, of this kind; or of there being none, if a zone that encloses it says so.
    pub(super) fn proof_at(&self, name: &Name, kind: RecordType) -> Option<Result<Proof, Missing>> {
        let at = |(record, _): &&(Record, _)| record.record_type() == kind && record.name == *name;
        match self.answers.iter().find(at) {
            Some((_, status)) => Some(status.clone()),
            None => self.absence.as_ref().ok().filter(|absence| !absence.bare).map(|absence| Ok(absence.proof)),
        }
    }

    /// The records of a kind at a name or where its aliases lead.
    pub(super) fn records<T>(self, asked: &Name, kind: RecordType, read: fn(&RData) -> Option<T>) -> Reply<T> {
        let mut name = asked.clone();
        let mut proof = Proof::Secure;
        let mut ttl = u32::MAX;
        let mut first = None;
        let mut aliases = 0;
        loop {
            let mut records = Vec::new();
            for (record, status) in &self.answers {
                if record.record_type() == kind && record.name == name {
                    proof = proof.min(status.clone()?);
                    ttl = ttl.min(record.ttl);
                    records.extend(read(&record.data));
                }
            }
            if !records.is_empty() {
                let alias = first.map(|first| Alias { canonical: text(&name), first });
                return Ok(Records { records, proof, ttl: Duration::from_secs(ttl.into()), alias });
            }
            let alias = self.answers.iter().find_map(|(record, status)| match &record.data {
                RData::CNAME(target) if record.name == name => Some((target.0.clone(), record.ttl, status)),
                _ => None,
            });
            let Some((target, alias_ttl, status)) = alias else { break };
            let status = status.clone()?;
            first = first.or(Some(status));
            proof = proof.min(status);
            ttl = ttl.min(alias_ttl);
            name = target;
            aliases += 1;
            if aliases > MAX_ALIASES {
                return Err(Missing::Temporary(Trouble::AliasLoop));
            }
        }
        let Absence { name_exists, ttl: absent, proof: denied, .. } = self.absence?;
        let (proof, ttl) = (proof.min(denied), absent.min(Duration::from_secs(ttl.into())));
        Err(if name_exists { Missing::NoData { proof, ttl } } else { Missing::NxDomain { proof, ttl } })
    }
}

/// What validation says of a record. "Indeterminate" is what the library could not find out, and no answer.
fn proof_of(record: &Record, validates: bool) -> Result<Proof, Missing> {
    match record.proof {
        _ if !validates => Ok(Proof::Insecure),
        Status::Secure => Ok(Proof::Secure),
        Status::Insecure => Ok(Proof::Insecure),
        // The library answers for these itself (RFC 6761 §6.3).
        _ if record.name.is_localhost() => Ok(Proof::Insecure),
        Status::Bogus | Status::Indeterminate => Err(Missing::Bogus),
    }
}

/// What validation says of a denial that the library let pass.
///
/// It lets one pass, too, whose authority records are of an unsigned zone, any unsigned zone: those of a stranger's would
/// deny the TLSA records of a signed one. So the zone must be one that encloses the name.
fn proof_of_absence(name: &Name, authorities: &[Record]) -> Result<Proof, Missing> {
    let told = || authorities.iter().filter(|record| record.record_type() != RecordType::RRSIG);
    if told().any(|record| matches!(record.proof, Status::Bogus | Status::Indeterminate)) {
        return Err(Missing::Bogus);
    }
    let is_denial =
        |record: &Record| matches!(&record.data, RData::DNSSEC(DNSSECRData::NSEC(_) | DNSSECRData::NSEC3(_)));
    if told().any(|record| is_denial(record) && record.proof == Status::Secure) {
        return Ok(Proof::Secure);
    }
    let encloses = |record: &Record| matches!(record.data, RData::SOA(_) | RData::NS(_)) && record.name.zone_of(name);
    if authorities.is_empty() || told().any(|record| encloses(record) && record.proof == Status::Insecure) {
        return Ok(Proof::Insecure);
    }
    Err(Missing::Bogus)
}

/// RFC 2308 §5: the lesser of the SOA record's own time to live and its last field.
fn negative_ttl(authorities: &[Record]) -> Duration {
    let ttl = authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    Duration::from_secs(ttl.unwrap_or(0).into()).min(MAX_ABSENCE)
}

/// A name as [`routing`] has it: lower case, no final dot.
fn text(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map(str::to_owned).unwrap_or(text)
}

/// The name in a PTR record, in lower case without the final dot.
pub(super) fn ptr(data: &RData) -> Option<String> {
    match data {
        RData::PTR(name) => Some(name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()),
        _ => None,
    }
}

pub(super) fn mx(data: &RData) -> Option<Mx> {
    match data {
        RData::MX(mx) => Some(Mx::new(mx.preference, &text(&mx.exchange))),
        _ => None,
    }
}

pub(super) fn address(data: &RData) -> Option<IpAddr> {
    data.ip_addr()
}

pub(super) fn tlsa(data: &RData) -> Option<Tlsa> {
    match data {
        RData::TLSA(tlsa) => {
            let (usage, selector, matching) = (tlsa.cert_usage.into(), tlsa.selector.into(), tlsa.matching.into());
            Some(Tlsa::new(usage, selector, matching, tlsa.cert_data.clone()))
        }
        _ => None,
    }
}

/// The strings of a record joined (RFC 7208 §3.3, RFC 8461 §3.1).
pub(super) fn txt(data: &RData) -> Option<Vec<u8>> {
    match data {
        RData::TXT(txt) => Some(txt.txt_data.concat()),
        _ => None,
    }
}
