//! The lookup of a destination: questions out, answers in, a plan at the end.
//!
//! The machine keeps the answers, and what to do next is a function of them alone: of the set, not of the order in which
//! they came. The steps are those of RFC 5321 §5.1 (MX, in [`mod@self`]), RFC 8461 §5.1 (policy, in `lookup/policy.rs`)
//! and RFC 7672 §2.2 (TLSA, in `lookup/hosts.rs`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::plan::{Plan, Unroutable};
use crate::question::{Answer, Question, Trouble};
use crate::settings::{Settings, Target};
use crate::sts::CachedPolicy;

mod evaluate;
mod hosts;
mod policy;

/// What a lookup needs next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Answers to these, in any order; each question comes once.
    Ask(Vec<Question>),
    /// Answers to questions that were asked already.
    Wait,
    /// Nothing more.
    Done(Result<Plan, Box<Unroutable>>),
}

/// A lookup under way. Poll it, answer what it asks, poll it again.
#[derive(Clone, Debug)]
pub struct Lookup {
    target: Target,
    settings: Arc<Settings>,
    cached: Option<CachedPolicy>,
    seed: u64,
    started: Timestamp,
    asked: HashSet<Question>,
    answers: HashMap<Question, (Answer, Timestamp)>,
}

impl Lookup {
    /// Begins a lookup.
    ///
    /// `cached` is what the store keeps of the policy of [`policy_domain`]; `seed` decides between equals and should be
    /// random; `now` is the time.
    #[must_use]
    pub fn new(
        target: Target,
        settings: Arc<Settings>,
        cached: Option<CachedPolicy>,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        Self { target, settings, cached, seed, started: now, asked: HashSet::new(), answers: HashMap::new() }
    }

    /// What is looked up.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What to do next. After `Done` it says `Done` again.
    pub fn poll(&mut self) -> Step {
        match self.evaluate() {
            Ok(result) => Step::Done(result),
            Err(questions) => {
                let new: Vec<Question> =
                    questions.into_iter().filter(|question| self.asked.insert(question.clone())).collect();
                if new.is_empty() { Step::Wait } else { Step::Ask(new) }
            }
        }
    }

    /// Takes an answer. Times to live count from `now`. An answer to what was not asked is dropped, a second answer too;
    /// one of another kind than the question counts as a temporary failure.
    pub fn answer(&mut self, question: &Question, answer: Answer, now: Timestamp) {
        if !self.asked.contains(question) {
            return;
        }
        let answer = if answer.fits(question) { answer } else { Answer::temporary(question, Trouble::Mismatch) };
        self.answers.entry(question.clone()).or_insert((answer, now));
    }

    /// What the store should keep of the domain's policy, if the lookup learnt something new; ask at the end.
    #[must_use]
    pub fn policy_to_store(&self) -> Option<CachedPolicy> {
        self.sts().ok().and_then(|sts| sts.update)
    }
}

/// The domain whose policy counts for a target, A-labels in lower case: the next hop's, which is the smart host's own
/// where one is used (RFC 8461 §3.4). None for an address.
#[must_use]
pub fn policy_domain(target: &Target) -> Option<&str> {
    target.host.domain().map(address::Domain::ascii)
}
