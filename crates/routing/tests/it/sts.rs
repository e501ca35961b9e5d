//! RFC 8461 §5: what a policy does to a plan.

use std::time::Duration;

use address::Host;
use mailwright_routing::dane::Tlsa;
use mailwright_routing::sts::{CachedPolicy, Failed, Kept, Policy};
use mailwright_routing::tlsrpt::{Applied, ResultType};
use mailwright_routing::{
    Answer, Demand, FetchError, PolicyBody, Proof, Question, Source, Sts, StsFailure, Target, TlsPolicy, TlsWish,
};

use crate::canned::{World, now};

use Proof::{Insecure, Secure};

const ENFORCE: [&str; 3] = ["mode: enforce", "mx: mx.example.com", "max_age: 604800"];
const TESTING: [&str; 3] = ["mode: testing", "mx: mx.example.com", "max_age: 604800"];

fn two_hosts() -> World {
    World::default()
        .mx("example.com", Insecure, &[(1, "evil.example"), (2, "mx.example.com")])
        .host("evil.example", Insecure, &["192.0.2.66"])
        .host("mx.example.com", Insecure, &["192.0.2.1"])
}

fn kept(id: &str, lines: &[&str], age: i64) -> CachedPolicy {
    let text = format!("version: STSv1\n{}\n", lines.join("\n"));
    let fetched = now() - Duration::from_secs(age.unsigned_abs());
    let policy = Policy::parse(text.as_bytes()).unwrap();
    CachedPolicy { kept: Some(Kept { id: id.into(), fetched, policy }), failed: None }
}

fn fetches(id: &str) -> Question {
    Question::Policy { domain: "example.com".into(), id: id.into() }
}

const DAY: i64 = 86_400;

#[test]
fn enforce() {
    let ended = two_hosts().policy("example.com", "1", &ENFORCE).lookup("example.com");
    assert_eq!(ended.hosts(), ["mx.example.com"]);
    let security = &ended.plan().hosts[0].security;
    assert_eq!(security.demand, Demand::Verified { names: vec!["mx.example.com".into()] });
    assert_eq!((security.source, security.sts), (Source::Sts, Some(Sts { testing: false, listed: true })));
    // RFC 8689 §2: a policy that lists the host makes its name sure.
    assert!(security.for_message(TlsWish::Required).is_ok());
    assert_eq!(security.for_message(TlsWish::NotRequired).unwrap().demand, Demand::Opportunistic);
    let stored = ended.store.clone().unwrap();
    assert_eq!(stored.kept.unwrap().id, "1");
    let applied = Applied::of(ended.plan(), &ended.plan().hosts[0]);
    assert_eq!((applied.len(), applied[0].kind, applied[0].strings.len()), (1, "sts", 4));
}

#[test]
fn enforce_with_no_host_left() {
    let lines = ["mode: enforce", "mx: other.example", "max_age: 604800"];
    let ended = two_hosts().policy("example.com", "1", &lines).lookup("example.com");
    let (code, why) = ended.error();
    let reported = ended.result.unwrap_err().reportable();
    let hosts: Vec<_> = reported.iter().filter_map(|outcome| outcome.failure.as_ref()?.mx_host.as_deref()).collect();
    assert_eq!(hosts, ["evil.example", "mx.example.com"]);
    assert!(reported.iter().all(|outcome| outcome.applied.kind == "sts"));
    assert_eq!(code, "4.7.5");
    assert_eq!(why, "no mail server of example.com can be used; evil.example: the MTA-STS policy does not list it");
}

// Testing never blocks: it reports.
#[test]
fn testing() {
    let ended = two_hosts().policy("example.com", "1", &TESTING).lookup("example.com");
    assert_eq!(ended.hosts(), ["evil.example", "mx.example.com"]);
    let facts: Vec<_> =
        ended.plan().hosts.iter().map(|host| (host.security.demand.word(), host.security.sts)).collect();
    assert_eq!(facts[0], ("opportunistic", Some(Sts { testing: true, listed: false })));
    assert_eq!(facts[1], ("opportunistic", Some(Sts { testing: true, listed: true })));
    assert!(ended.plan().hosts[0].security.for_message(TlsWish::Required).is_err());
    assert!(ended.plan().hosts[1].security.for_message(TlsWish::Required).is_ok());
}

#[test]
fn none() {
    let ended = two_hosts().policy("example.com", "1", &["mode: none", "max_age: 604800"]).lookup("example.com");
    assert_eq!(ended.hosts().len(), 2);
    assert!(ended.plan().sts.is_none() && ended.plan().hosts[0].security.sts.is_none());
    // It is kept: its id is known, and not fetched each time.
    assert!(ended.store.unwrap().kept.is_some());
}

#[test]
fn no_policy() {
    let ended = two_hosts().lookup("example.com");
    assert_eq!((ended.hosts().len(), ended.store.is_some()), (2, false));
    assert_eq!(Applied::of(ended.plan(), &ended.plan().hosts[0])[0].kind, "no-policy-found");
    let off = two_hosts().policy("example.com", "1", &ENFORCE).set(|settings| settings.sts = false);
    assert!(!off.lookup("example.com").asked("_mta-sts.example.com TXT"));
}

// RFC 8461 §3.3: without a policy from earlier, a fetch that fails means no policy.
#[test]
fn a_fetch_that_fails() {
    let table = [
        (Answer::Policy(Err(FetchError::Status(301))), ResultType::StsPolicyFetchError),
        (Answer::Policy(Err(FetchError::Certificate)), ResultType::StsWebpkiInvalid),
        (Answer::Policy(Ok(PolicyBody { octets: vec![], media_type: None })), ResultType::StsPolicyInvalid),
    ];
    for (answer, result) in table {
        let world = two_hosts().policy("example.com", "1", &ENFORCE).answer(fetches("1"), answer);
        let ended = world.lookup("example.com");
        assert_eq!(ended.hosts().len(), 2);
        assert_eq!(ended.plan().sts_failure.map(ResultType::from), Some(result));
        assert_eq!(ended.plan().reportable()[0].failure.as_ref().unwrap().result, result);
        let stored = ended.store.unwrap();
        assert_eq!(stored, CachedPolicy { kept: None, failed: Some(Failed { id: "1".into(), at: now() }) });
        // The next one is not tried for five minutes.
        let again = World { cached: Some(stored), ..world }.lookup("example.com");
        assert!(!again.asked.contains(&fetches("1")) && again.store.is_none());
    }
}

// RFC 8461 §3.3, §5.1: a policy that is still in force survives every failure.
#[test]
fn a_kept_policy_survives() {
    let cached = Some(kept("1", &ENFORCE, 2 * DAY));
    let failing_txt = two_hosts().fails(Question::Txt("_mta-sts.example.com".into()));
    let broken_txt = two_hosts().txt("_mta-sts.example.com", "v=STSv1; id=?");
    let new_id = two_hosts().txt("_mta-sts.example.com", "v=STSv1; id=2;");
    for world in [two_hosts(), failing_txt, broken_txt, new_id.clone()] {
        let ended = World { cached: cached.clone(), ..world }.lookup("example.com");
        assert_eq!(ended.hosts(), ["mx.example.com"], "{:?}", ended.notes());
    }
    let ended = World { cached: cached.clone(), ..new_id.clone() }.lookup("example.com");
    assert_eq!(ended.plan().sts_failure, Some(StsFailure::Fetch(FetchError::Unreachable)));
    let stored = ended.store.unwrap();
    assert_eq!((stored.kept.unwrap().id, stored.failed.unwrap().id), ("1".to_owned(), "2".to_owned()));
    // After its max_age it is nothing.
    for (age, hosts) in [(604_800, 1), (604_801, 2)] {
        let world = World { cached: Some(kept("1", &ENFORCE, age)), ..two_hosts() };
        assert_eq!(world.lookup("example.com").hosts().len(), hosts, "{age}");
    }
}

#[test]
fn when_it_is_fetched() {
    let world = two_hosts().policy("example.com", "1", &TESTING);
    // The same id, and young: the kept one.
    let young = World { cached: Some(kept("1", &ENFORCE, DAY - 1)), ..world.clone() }.lookup("example.com");
    assert!(!young.asked.contains(&fetches("1")) && young.store.is_none());
    assert_eq!(young.hosts().len(), 1);
    // The same id, a day old: refreshed before its end.
    let old = World { cached: Some(kept("1", &ENFORCE, DAY)), ..world.clone() }.lookup("example.com");
    assert_eq!((old.hosts().len(), old.store.unwrap().kept.unwrap().fetched), (2, now()));
    // Another id: at once.
    let other = World { cached: Some(kept("0", &ENFORCE, 5)), ..world }.lookup("example.com");
    assert_eq!((other.hosts().len(), other.store.unwrap().kept.unwrap().id), (2, "1".to_owned()));
}

#[test]
fn a_plan_is_not_valid_longer_than_its_policy() {
    let world = World { cached: Some(kept("1", &ENFORCE, 604_790)), ..two_hosts() };
    assert_eq!(world.lookup("example.com").plan().valid_until, now() + Duration::from_secs(10));
}

// rule 36, RFC 8461 §2: a policy does not override DANE.
#[test]
fn dane_decides() {
    let usable = Tlsa::new(3, 1, 1, vec![1; 32]);
    let signed = |records: &[Tlsa]| {
        World::default()
            .mx("example.com", Secure, &[(1, "evil.example"), (2, "mx.example.com")])
            .host("evil.example", Secure, &["192.0.2.66"])
            .host("mx.example.com", Secure, &["192.0.2.1"])
            .tlsa("evil.example", Secure, records)
            .tlsa("mx.example.com", Secure, records)
            .policy("example.com", "1", &ENFORCE)
    };
    let ended = signed(std::slice::from_ref(&usable)).lookup("example.com");
    assert_eq!(ended.hosts().len(), 2);
    assert!(ended.plan().hosts.iter().all(|host| host.security.demand.word() == "dane"));
    let kinds: Vec<_> = Applied::of(ended.plan(), &ended.plan().hosts[1]).iter().map(|applied| applied.kind).collect();
    assert_eq!(kinds, ["tlsa", "sts"]);
    // Records that cannot be used authenticate nobody: the policy does.
    let ended = signed(&[Tlsa { usage: 0, ..usable.clone() }]).lookup("example.com");
    assert_eq!(ended.hosts(), ["mx.example.com"]);
    assert_eq!(ended.plan().hosts[0].security.demand.word(), "verified");
    // TLSA records that cannot be had defer, whatever the policy says.
    let failing = signed(&[usable])
        .fails(Question::Tlsa { port: 25, name: "mx.example.com".into() })
        .fails(Question::Tlsa { port: 25, name: "evil.example".into() });
    assert_eq!(failing.lookup("example.com").error().0, "4.4.3");
}

// RFC 8461 §3.4: the smart host's own domain counts, and never a parent's.
#[test]
fn smart_hosts_and_subdomains() {
    let world = World::default().host("relay.example.com", Insecure, &["192.0.2.1"]).policy(
        "relay.example.com",
        "1",
        &["mode: enforce", "mx: relay.example.com", "max_age: 604800"],
    );
    let ended = world.run(Target::relay(Host::parse("relay.example.com").unwrap(), 587));
    assert_eq!(ended.plan().hosts[0].security.demand.word(), "verified");
    assert!(ended.asked("https://mta-sts.relay.example.com/.well-known/mta-sts.txt"));
    assert!(!ended.asked("_mta-sts.example.com TXT"));
}

#[test]
fn settings_beside_a_policy() {
    let world = two_hosts().policy("example.com", "1", &ENFORCE);
    let run = |tls| world.run(Target::recipient(Host::parse("example.com").unwrap()).with_tls(tls));
    assert_eq!(run(TlsPolicy::Required).plan().hosts[0].security.demand.word(), "verified");
    assert_eq!(run(TlsPolicy::Opportunistic).hosts().len(), 2);
    assert_eq!(run(TlsPolicy::None).plan().hosts[0].security.demand, Demand::None);
}
