//! Which MTA-STS policy applies now (RFC 8461 §3.3, §5.1).

use std::sync::Arc;

use jiff::Timestamp;

use super::{Lookup, policy_domain};
use crate::note::Note;
use crate::plan::StsFailure;
use crate::question::{Answer, Missing, Question, Trouble};
use crate::sts::{self, CachedPolicy, Failed, Kept, Mode, Policy};

/// What is known of a domain's policy.
#[derive(Debug, Default)]
pub(super) struct StsState {
    /// The policy to apply; its mode is not `none`.
    pub(super) policy: Option<Arc<Policy>>,
    /// Why a policy that is published could not be had.
    pub(super) failure: Option<StsFailure>,
    /// What to store, if that changed.
    pub(super) update: Option<CachedPolicy>,
    pub(super) notes: Vec<Note>,
    /// How long that holds.
    pub(super) valid_until: Option<Timestamp>,
}

impl Lookup {
    /// The state of the policy, or the question to which an answer is needed.
    pub(super) fn sts(&self) -> Result<StsState, Question> {
        let mut state = StsState::default();
        let Some(domain) = policy_domain(&self.target) else { return Ok(state) };
        if !self.settings.sts || !self.target.tls.asks() {
            return Ok(state);
        }
        let announced = self.announced(domain, &mut state)?;
        let cached = self.cached.clone().unwrap_or_default();
        let now = self.started;
        let kept = cached.valid(now).cloned();
        let in_force = match announced {
            // No record, or none that can be read now, does not end a policy that was fetched (RFC 8461 §3.1).
            None => kept,
            Some(id) if kept.as_ref().is_some_and(|kept| kept.id == id && now < kept.refresh_at()) => kept,
            Some(id) if !cached.may_fetch(&id, now) => {
                state.notes.push(Note::StsWaiting);
                kept
            }
            Some(id) => {
                let fetched = self.fetched(domain, id, kept, &mut state)?;
                if let Some(fetched) = fetched {
                    return Ok(state.in_force(&fetched));
                }
                return Ok(state);
            }
        };
        let Some(kept) = in_force else { return Ok(state) };
        state.notes.push(Note::StsKept { id: kept.id.clone() });
        Ok(state.in_force(&kept))
    }

    /// The id that the domain's record announces.
    fn announced(&self, domain: &str, state: &mut StsState) -> Result<Option<String>, Question> {
        let question = Question::Txt(sts::record_name(domain));
        let Some((answer, at)) = self.answers.get(&question) else { return Err(question) };
        let missing = Missing::Temporary(Trouble::Mismatch);
        let reply = match answer {
            Answer::Txt(reply) => reply.as_ref(),
            _ => Err(&missing),
        };
        let ttl = match reply {
            Ok(records) => records.ttl,
            Err(Missing::NoData { ttl, .. } | Missing::NxDomain { ttl, .. }) => *ttl,
            Err(_) => super::evaluate::TROUBLE,
        };
        state.limit(sts::after(*at, ttl));
        Ok(match reply.map(|records| sts::record(&records.records)) {
            Ok(Ok(id)) => Some(id),
            Ok(Err(error)) => {
                state.notes.push(Note::StsRecord(error));
                None
            }
            Err(missing) => {
                state.notes.push(Note::StsNone(missing.clone()));
                None
            }
        })
    }

    /// The policy to apply after an attempt to fetch the one with that id.
    fn fetched(
        &self,
        domain: &str,
        id: String,
        kept: Option<Kept>,
        state: &mut StsState,
    ) -> Result<Option<Kept>, Question> {
        let question = Question::Policy { domain: domain.to_owned(), id };
        let Some((answer, at)) = self.answers.get(&question) else { return Err(question) };
        let Question::Policy { id, .. } = question else { return Ok(kept) };
        let at = sts::whole_second(*at);
        let result = match answer {
            Answer::Policy(Ok(body)) => Policy::from_body(body).map_err(StsFailure::from),
            Answer::Policy(Err(error)) => Err(StsFailure::from(*error)),
            _ => Err(StsFailure::Fetch(crate::FetchError::Unreachable)),
        };
        match result {
            Ok(policy) => {
                let fetched = Kept { id, fetched: at, policy };
                state.notes.push(Note::StsFetched { id: fetched.id.clone() });
                state.update = Some(CachedPolicy { kept: Some(fetched.clone()), failed: None });
                Ok(Some(fetched))
            }
            Err(failure) => {
                state.notes.push(Note::StsFailed(failure));
                state.failure = Some(failure);
                state.limit(sts::after(at, sts::RETRY_AFTER));
                state.update = Some(CachedPolicy { kept: kept.clone(), failed: Some(Failed { id, at }) });
                state.notes.extend(kept.iter().map(|kept| Note::StsKept { id: kept.id.clone() }));
                Ok(kept)
            }
        }
    }
}

impl StsState {
    fn in_force(mut self, kept: &Kept) -> Self {
        self.notes.push(Note::StsMode(kept.policy.mode));
        self.limit(kept.expires());
        self.policy = (kept.policy.mode != Mode::None).then(|| Arc::new(kept.policy.clone()));
        self
    }

    fn limit(&mut self, until: Timestamp) {
        self.valid_until = Some(self.valid_until.map_or(until, |known| known.min(until)));
    }
}
