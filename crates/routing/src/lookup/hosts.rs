//! One host: its addresses, its TLSA records (RFC 7672 §2.2.2, §2.2.3), and how it must be secured.

use std::net::IpAddr;

use address::{AddressLiteral, Host as TargetHost};

use super::evaluate::{Exchanges, Work};
use crate::dane::{self, Origin, Tlsa};
use crate::note::{NoDane, Note};
use crate::plan::{Host, Skip, interleave};
use crate::question::{Answer, Family, Missing, Proof, Question, Records, Trouble};
use crate::security::{Demand, Security, Source, Sts, TlsPolicy};
use crate::sts::Mode;

/// What DNS says of a host's certificates.
enum Dane {
    /// Nothing.
    None,
    /// There are records, and none can be used.
    Unusable,
    /// These authenticate it.
    Usable { records: Vec<Tlsa>, names: Vec<String> },
}

impl<'a> Work<'a> {
    /// The host, or why it is not tried; nothing if an answer is missing.
    pub(super) fn host(&mut self, exchanges: &Exchanges, name: &str, preference: u16) -> Option<Result<Host, Skip>> {
        let (addresses, answers) = match self.addresses(name)? {
            Ok(found) => found,
            Err(skip) => return Some(Err(skip)),
        };
        let addresses = match self.usable_addresses(name, &addresses) {
            Ok(addresses) => addresses,
            Err(skip) => return Some(Err(skip)),
        };
        let canonical = answers.iter().find_map(|records| records.alias.as_ref()).map(|alias| alias.canonical.clone());
        if let Some(canonical) = canonical {
            let (host, is_mx) = (name.to_owned(), exchanges.mx.is_some());
            self.notes.push(if is_mx {
                Note::MxIsAlias { host, canonical }
            } else {
                Note::Alias { name: host, canonical }
            });
        }
        let dane = match self.dane(exchanges, name, &answers)? {
            Ok(dane) => dane,
            Err(skip) => return Some(Err(skip)),
        };
        // The demand depends on the policy: without it the host is not ready, but its questions are asked.
        self.sts.as_ref()?;
        Some(self.security(exchanges, name, dane).map(|security| Host {
            name: name.to_owned(),
            preference,
            addresses,
            security,
        }))
    }

    /// All addresses of a host, and the answers they come from.
    #[expect(clippy::type_complexity, reason = "two lists that are born together")]
    fn addresses(&mut self, name: &str) -> Option<Result<(Vec<IpAddr>, Vec<&'a Records<IpAddr>>), Skip>> {
        if let TargetHost::Literal(AddressLiteral::Ip(address)) = &self.target.host {
            return Some(Ok((vec![*address], Vec::new())));
        }
        let (mut found, mut trouble, mut complete) = (Vec::new(), None, true);
        for family in [Family::V4, Family::V6] {
            if !self.settings.families.contains(&family) {
                continue;
            }
            match self.get(Question::Addresses { name: name.to_owned(), family }) {
                None => complete = false,
                Some(Answer::Addresses(Ok(records))) => found.push(records),
                Some(Answer::Addresses(Err(Missing::NoData { .. } | Missing::NxDomain { .. }))) => {}
                Some(Answer::Addresses(Err(missing))) => trouble = trouble.or(Some(missing.clone())),
                Some(_) => trouble = trouble.or(Some(Missing::Temporary(Trouble::Mismatch))),
            }
        }
        if !complete {
            return None;
        }
        let addresses: Vec<IpAddr> =
            found.iter().flat_map(|records| &records.records).map(IpAddr::to_canonical).collect();
        Some(match trouble {
            _ if !addresses.is_empty() => {
                if let Some(why) = trouble {
                    self.notes.push(Note::HalfKnown { host: name.to_owned(), why });
                }
                Ok((addresses, found))
            }
            Some(missing) => Err(Skip::AddressTrouble(missing)),
            None => Err(Skip::NoAddress),
        })
    }

    /// Those that may be tried, in order.
    fn usable_addresses(&mut self, name: &str, all: &[IpAddr]) -> Result<Vec<IpAddr>, Skip> {
        if self.may_be_us() && all.iter().any(|address| self.settings.own_addresses.contains(address)) {
            return Err(Skip::OurOwn);
        }
        let mut allowed = Vec::with_capacity(all.len());
        let mut refused = None;
        for address in all {
            match self.settings.reach.check(*address) {
                Err(special) if self.target.use_mx => {
                    let why = Skip::Refused { address: *address, special };
                    self.notes.push(Note::AddressRefused { host: name.to_owned(), why: why.clone() });
                    refused = refused.or(Some(why));
                }
                _ => allowed.push(*address),
            }
        }
        let found = interleave(&allowed, self.lookup.seed, usize::MAX).len();
        let kept = interleave(&allowed, self.lookup.seed, self.settings.limits.addresses_per_host.max(1));
        if found > kept.len() {
            self.notes.push(Note::AddressLimit { host: name.to_owned(), found, kept: kept.len() });
        }
        match refused {
            Some(refused) if kept.is_empty() => Err(refused),
            _ => Ok(kept),
        }
    }

    /// The TLSA records of a host. They are asked for only where secure answers led to it (rule 36).
    fn dane(&mut self, exchanges: &Exchanges, name: &str, answers: &[&Records<IpAddr>]) -> Option<Result<Dane, Skip>> {
        let redirected = exchanges.mx == Some(Proof::Insecure);
        let off = !self.settings.dane || !self.target.tls.asks();
        // Where families differ, the answer that leads further is followed.
        let candidates = answers.iter().map(|answer| dane::candidates(name, *answer)).max_by_key(Vec::len);
        let candidates = candidates.unwrap_or_default();
        let why_not = if answers.is_empty() {
            Some(NoDane::Literal)
        } else if off {
            Some(NoDane::Off)
        } else if redirected && !self.settings.dane_with_insecure_mx {
            Some(NoDane::InsecureMx)
        } else if candidates.is_empty() {
            Some(NoDane::InsecureAddresses)
        } else {
            None
        };
        if let Some(why) = why_not {
            self.notes.push(Note::DaneNotAsked { host: name.to_owned(), why });
            return Some(Ok(Dane::None));
        }
        for base in candidates {
            let found = match self.get(Question::Tlsa { port: self.target.port, name: base.clone() })? {
                Answer::Tlsa(Ok(found)) if found.proof.is_secure() && !found.records.is_empty() => found,
                Answer::Tlsa(Ok(_) | Err(Missing::NoData { .. } | Missing::NxDomain { .. })) => continue,
                Answer::Tlsa(Err(why)) => return Some(Err(Skip::TlsaTrouble { base, why: why.clone() })),
                _ => {
                    return Some(Err(Skip::TlsaTrouble { base, why: Missing::Temporary(Trouble::Mismatch) }));
                }
            };
            let host = name.to_owned();
            let records = dane::usable(&found.records);
            if records.is_empty() {
                self.notes.push(Note::DaneUnusable { host, base });
                return Some(Ok(Dane::Unusable));
            }
            let expanded = exchanges.expanded.as_deref();
            let names = dane::reference_names(
                &base,
                name,
                Origin { next_hop: &exchanges.next_hop, expanded, mx: exchanges.mx },
            );
            self.notes.push(Note::DaneUsable { host, base, usable: records.len(), redirected });
            return Some(Ok(Dane::Usable { records, names }));
        }
        self.notes.push(Note::DaneNone { host: name.to_owned() });
        Some(Ok(Dane::None))
    }

    /// What is demanded of a host. Where DANE authenticates, DANE decides (RFC 8461 §2, rule 36).
    fn security(&mut self, exchanges: &Exchanges, name: &str, dane: Dane) -> Result<Security, Skip> {
        let is_literal = self.target.host.domain().is_none();
        let policy = self.sts.as_ref().and_then(|state| state.policy.clone());
        let sts =
            policy.as_ref().map(|policy| Sts { testing: policy.mode == Mode::Testing, listed: policy.allows(name) });
        let enforce = sts.is_some_and(|sts| !sts.testing);
        let listed = sts.is_some_and(|sts| sts.listed);
        let authentic_dane = matches!(dane, Dane::Usable { .. }) && exchanges.mx != Some(Proof::Insecure);
        if enforce && !listed && !authentic_dane {
            return Err(Skip::NotInPolicy);
        }
        if sts.is_some() && !listed {
            self.notes.push(Note::StsUnlisted(name.to_owned()));
        }
        let own_name = || if is_literal { Vec::new() } else { vec![name.to_owned()] };
        let verified = || {
            let mut names = own_name();
            if exchanges.next_hop != name {
                names.push(exchanges.next_hop.clone());
            }
            Demand::Verified { names }
        };
        let tls = self.target.tls;
        let (demand, source) = match (dane, tls) {
            (_, TlsPolicy::None) => (Demand::None, Source::Setting),
            (_, TlsPolicy::Opportunistic) => (Demand::Opportunistic, Source::Setting),
            (Dane::Usable { records, names }, _) => (Demand::Dane { records, names }, Source::Dane),
            (_, TlsPolicy::Dane) => return Err(Skip::NoDane),
            _ if enforce => (Demand::Verified { names: own_name() }, Source::Sts),
            (_, TlsPolicy::Verified) => (verified(), Source::Setting),
            (Dane::Unusable, TlsPolicy::Auto) => (Demand::Encrypted, Source::Dane),
            (_, TlsPolicy::Required) => (Demand::Encrypted, Source::Setting),
            (Dane::None, TlsPolicy::Auto) => (Demand::Opportunistic, Source::Default),
        };
        // Without MX records the host is the domain itself, or what the operator wrote.
        let name_is_sure = exchanges.mx.is_none_or(Proof::is_secure) || listed;
        Ok(Security { demand, source, sts, name_is_sure, names: own_name() })
    }
}
