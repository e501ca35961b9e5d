//! A world of canned answers, in which lookups run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use address::Host;
use jiff::Timestamp;
use mailwright_routing::dane::Tlsa;
use mailwright_routing::sts::CachedPolicy;
use mailwright_routing::{
    Answer, Family, FetchError, Lookup, Missing, Mx, Plan, PolicyBody, Proof, Question, Records, Settings, Step,
    Target, Trouble, Unroutable,
};

/// The time at which everything happens.
pub(crate) fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// What is answered. What is not in it, is not there: a signed NODATA of an hour.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) answers: BTreeMap<Question, Answer>,
    pub(crate) settings: Settings,
    pub(crate) cached: Option<CachedPolicy>,
    pub(crate) seed: u64,
}

/// How a lookup ended, and what was asked.
pub(crate) struct Ended {
    pub(crate) result: Result<Plan, Box<Unroutable>>,
    pub(crate) asked: Vec<Question>,
    pub(crate) store: Option<CachedPolicy>,
}

impl Ended {
    pub(crate) fn plan(&self) -> &Plan {
        self.result.as_ref().unwrap()
    }

    pub(crate) fn hosts(&self) -> Vec<&str> {
        self.plan().hosts.iter().map(|host| host.name.as_str()).collect()
    }

    /// Its code, and why.
    pub(crate) fn error(&self) -> (String, String) {
        let error = self.result.as_ref().unwrap_err();
        (error.code.to_string(), error.why.to_string())
    }

    pub(crate) fn asked(&self, text: &str) -> bool {
        self.asked.iter().any(|question| question.to_string() == text)
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let notes = self.result.as_ref().map_or_else(|error| &error.notes, |plan| &plan.notes);
        notes.iter().map(ToString::to_string).collect()
    }
}

fn records<T>(records: Vec<T>, proof: Proof) -> Records<T> {
    Records::new(records, proof, HOUR)
}

fn family_of(address: &str) -> (Family, IpAddr) {
    let address: IpAddr = address.parse().unwrap();
    (if address.is_ipv4() { Family::V4 } else { Family::V6 }, address)
}

impl World {
    pub(crate) fn mx(self, name: &str, proof: Proof, list: &[(u16, &str)]) -> Self {
        let list = list.iter().map(|(preference, host)| Mx::new(*preference, host)).collect();
        self.answer(Question::Mx(name.into()), Answer::Mx(Ok(records(list, proof))))
    }

    /// Addresses, each family its own answer.
    pub(crate) fn host(mut self, name: &str, proof: Proof, addresses: &[&str]) -> Self {
        for wanted in [Family::V4, Family::V6] {
            let list: Vec<IpAddr> = addresses
                .iter()
                .map(|text| family_of(text))
                .filter(|(family, _)| *family == wanted)
                .map(|(_, a)| a)
                .collect();
            let question = Question::Addresses { name: name.into(), family: wanted };
            let missing = Missing::NoData { proof, ttl: HOUR };
            let reply = if list.is_empty() { Err(missing) } else { Ok(records(list, proof)) };
            self = self.answer(question, Answer::Addresses(reply));
        }
        self
    }

    /// An alias with one IPv4 address behind it.
    pub(crate) fn alias(self, name: &str, canonical: &str, first: Proof, proof: Proof) -> Self {
        let found = records(vec!["192.0.2.77".parse().unwrap()], proof).via(canonical, first);
        let question = Question::Addresses { name: name.into(), family: Family::V4 };
        self.answer(question, Answer::Addresses(Ok(found)))
    }

    pub(crate) fn tlsa(self, name: &str, proof: Proof, list: &[Tlsa]) -> Self {
        let question = Question::Tlsa { port: 25, name: name.into() };
        self.answer(question, Answer::Tlsa(Ok(records(list.to_vec(), proof))))
    }

    pub(crate) fn txt(self, name: &str, text: &str) -> Self {
        let found = records(vec![text.as_bytes().to_vec()], Proof::Insecure);
        self.answer(Question::Txt(name.into()), Answer::Txt(Ok(found)))
    }

    /// A record and a policy of that id; each line of the policy but the version.
    pub(crate) fn policy(self, domain: &str, id: &str, lines: &[&str]) -> Self {
        let text = format!("version: STSv1\n{}\n", lines.join("\n"));
        let body = PolicyBody { octets: text.into_bytes(), media_type: Some("text/plain".into()) };
        self.txt(&format!("_mta-sts.{domain}"), &format!("v=STSv1; id={id};"))
            .answer(Question::Policy { domain: domain.into(), id: id.into() }, Answer::Policy(Ok(body)))
    }

    pub(crate) fn answer(mut self, question: Question, answer: Answer) -> Self {
        self.answers.insert(question, answer);
        self
    }

    pub(crate) fn fails(self, question: Question) -> Self {
        let answer = Answer::temporary(&question, Trouble::Rcode(2));
        self.answer(question, answer)
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn lookup(&self, target: &str) -> Ended {
        self.run(Target::recipient(Host::parse(target).unwrap()))
    }

    pub(crate) fn run(&self, target: Target) -> Ended {
        self.run_in_order(target, |waiting| waiting.len() - 1)
    }

    /// Runs a lookup; of the questions that wait `choose` says which is answered next.
    pub(crate) fn run_in_order(&self, target: Target, mut choose: impl FnMut(&[Question]) -> usize) -> Ended {
        let settings = Arc::new(self.settings.clone());
        let mut lookup = Lookup::new(target, settings, self.cached.clone(), self.seed, now());
        let (mut asked, mut waiting) = (Vec::new(), Vec::new());
        loop {
            match lookup.poll() {
                Step::Ask(questions) => {
                    assert!(!questions.is_empty());
                    asked.extend(questions.iter().cloned());
                    waiting.extend(questions);
                }
                Step::Wait => assert!(!waiting.is_empty(), "it waits for nothing"),
                Step::Done(result) => {
                    assert_eq!(lookup.poll(), Step::Done(result.clone()));
                    return Ended { result, asked, store: lookup.policy_to_store() };
                }
            }
            let question = waiting.remove(choose(&waiting));
            lookup.answer(&question, self.of(&question), now());
        }
    }

    fn of(&self, question: &Question) -> Answer {
        let missing = Missing::NoData { proof: Proof::Secure, ttl: HOUR };
        self.answers.get(question).cloned().unwrap_or(match question {
            Question::Mx(_) => Answer::Mx(Err(missing)),
            Question::Addresses { .. } => Answer::Addresses(Err(missing)),
            Question::Tlsa { .. } => Answer::Tlsa(Err(missing)),
            Question::Txt(_) => Answer::Txt(Err(missing)),
            Question::Policy { .. } => Answer::Policy(Err(FetchError::Unreachable)),
        })
    }
}
