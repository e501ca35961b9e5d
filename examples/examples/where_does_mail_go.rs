//! Where mail for a domain goes, from canned answers: `routing` alone, without a resolver, a socket or a clock.
use std::{sync::Arc, time::Duration};

use routing::{Answer, Family, Lookup, Missing, Mx, Proof, Question, Records, Settings, Step, Target, Trouble};

fn main() -> anyhow::Result<()> {
    println!("{}", first_host("example.com")?);
    Ok(())
}

/// The first host, and how it must be secured.
pub(crate) fn first_host(domain: &str) -> anyhow::Result<String> {
    let (proof, ttl, now) = (Proof::Insecure, Duration::from_secs(60), "2026-01-02T03:04:05Z".parse()?);
    let canned = |question: &Question| match question {
        Question::Mx(_) => Answer::Mx(Ok(Records::new(vec![Mx::new(10, "mx.example.com")], proof, ttl))),
        Question::Addresses { family: Family::V4, .. } => {
            Answer::Addresses(Ok(Records::new(vec![[192, 0, 2, 1].into()], proof, ttl)))
        }
        Question::Addresses { .. } => Answer::Addresses(Err(Missing::NoData { proof, ttl })),
        Question::Txt(_) => Answer::Txt(Err(Missing::NxDomain { proof, ttl })),
        other => Answer::temporary(other, Trouble::Timeout),
    };
    let target = Target::domain(address::Domain::parse(domain)?);
    let mut lookup = Lookup::new(target, Arc::new(Settings::default()), None, 0, now);
    while let Step::Ask(asked) = lookup.poll() {
        asked.iter().for_each(|question| lookup.answer(question, canned(question), now));
    }
    let Step::Done(plan) = lookup.poll() else { anyhow::bail!("a question is open") };
    plan?.hosts.first().map_or(Ok(String::new()), |host| Ok(format!("{} {}", host.name, host.security.demand.word())))
}
