//! RFC 7672 §2.2: when TLSA records are asked for, where, and what follows.

use address::Host;
use mailwright_routing::dane::Tlsa;
use mailwright_routing::{Answer, Demand, Missing, Proof, Question, Skip, Source, Target, TlsPolicy};

use crate::canned::World;

use Proof::{Insecure, Secure};

fn usable() -> Tlsa {
    Tlsa::new(3, 1, 1, vec![1; 32])
}

fn unusable() -> Tlsa {
    Tlsa::new(1, 1, 1, vec![1; 32])
}

fn signed() -> World {
    World::default().mx("example.com", Secure, &[(1, "mx.example.com")]).host("mx.example.com", Secure, &["192.0.2.1"])
}

fn tlsa_of(base: &str) -> Question {
    Question::Tlsa { port: 25, name: base.into() }
}

fn target(tls: TlsPolicy) -> Target {
    Target::recipient(Host::parse("example.com").unwrap()).with_tls(tls)
}

#[test]
fn usable_records_authenticate() {
    let ended = signed().tlsa("mx.example.com", Secure, &[usable(), unusable()]).lookup("example.com");
    let security = &ended.plan().hosts[0].security;
    let names = vec!["mx.example.com".to_owned(), "example.com".to_owned()];
    assert_eq!(security.demand, Demand::Dane { records: vec![usable()], names });
    assert_eq!((security.source, security.server_name()), (Source::Dane, Some("mx.example.com")));
    assert!(security.name_is_sure);
}

#[test]
fn unusable_records_demand_encryption() {
    let ended = signed().tlsa("mx.example.com", Secure, &[unusable()]).lookup("example.com");
    assert_eq!(ended.plan().hosts[0].security.demand, Demand::Encrypted);
}

// rule 36: RFC 7672 §2.2.1, §2.2.2
#[test]
fn asked_only_after_secure_answers() {
    let question = "_25._tcp.mx.example.com TLSA";
    for (mx, host, asked) in
        [(Secure, Secure, true), (Secure, Insecure, false), (Insecure, Secure, false), (Insecure, Insecure, false)]
    {
        let world = World::default()
            .mx("example.com", mx, &[(1, "mx.example.com")])
            .host("mx.example.com", host, &["192.0.2.1", "2001:db8::1"])
            .tlsa("mx.example.com", Secure, &[usable()]);
        let ended = world.lookup("example.com");
        assert_eq!(ended.asked(question), asked, "{mx} {host}");
        assert_eq!(ended.plan().hosts[0].security.demand.authenticates(), asked);
        // Never before the addresses are known.
        let at = |text: &str| ended.asked.iter().position(|question| question.to_string() == text);
        assert!(at(question).is_none_or(|at_tlsa| at("mx.example.com A") < Some(at_tlsa)));
    }
    let off = signed().tlsa("mx.example.com", Secure, &[usable()]).set(|settings| settings.dane = false);
    assert!(!off.lookup("example.com").asked(question));
}

#[test]
fn insecure_mx_by_policy() {
    let world = World::default()
        .mx("example.com", Insecure, &[(1, "mx.example.com")])
        .host("mx.example.com", Secure, &["192.0.2.1"])
        .tlsa("mx.example.com", Secure, &[usable()])
        .set(|settings| settings.dane_with_insecure_mx = true);
    let ended = world.lookup("example.com");
    let security = &ended.plan().hosts[0].security;
    // RFC 7672 §3.2.2: "the MX hostname is the only reference identifier".
    assert_eq!(security.demand, Demand::Dane { records: vec![usable()], names: vec!["mx.example.com".into()] });
    assert!(!security.name_is_sure);
    assert!(ended.notes().iter().any(|note| note.ends_with("although the MX records are not signed")));
}

// RFC 7672 §2.1.2: an error is not an absence.
#[test]
fn errors_make_a_host_unusable() {
    let two = signed().mx("example.com", Secure, &[(1, "mx.example.com"), (2, "mx2.example.com")]).host(
        "mx2.example.com",
        Secure,
        &["192.0.2.2"],
    );
    for world in [
        two.clone().fails(tlsa_of("mx.example.com")),
        two.clone().answer(tlsa_of("mx.example.com"), Answer::Tlsa(Err(Missing::Bogus))),
    ] {
        let ended = world.lookup("example.com");
        assert_eq!(ended.hosts(), ["mx2.example.com"]);
        assert!(matches!(ended.plan().skipped[0].why, Skip::TlsaTrouble { .. }));
    }
    let (code, why) = signed().fails(tlsa_of("mx.example.com")).lookup("example.com").error();
    assert_eq!(code, "4.4.3");
    assert_eq!(
        why,
        "no mail server of example.com can be used; mx.example.com: TLSA records of mx.example.com: response code 2"
    );
}

// An absence, whatever its proof, is no error; nor are insecure records.
#[test]
fn absence_means_opportunistic() {
    let ttl = std::time::Duration::from_secs(60);
    for answer in [
        Answer::Tlsa(Err(Missing::NoData { proof: Secure, ttl })),
        Answer::Tlsa(Err(Missing::NxDomain { proof: Insecure, ttl })),
    ] {
        let ended = signed().answer(tlsa_of("mx.example.com"), answer).lookup("example.com");
        assert_eq!(ended.plan().hosts[0].security.demand, Demand::Opportunistic);
    }
    let ended = signed().tlsa("mx.example.com", Insecure, &[usable()]).lookup("example.com");
    assert_eq!(ended.plan().hosts[0].security.demand, Demand::Opportunistic);
}

// RFC 7672 §2.2.2: aliases.
#[test]
fn base_domains() {
    let world = |first, proof| {
        World::default().mx("example.com", Secure, &[(1, "mx.example.com")]).alias(
            "mx.example.com",
            "host.example.net",
            first,
            proof,
        )
    };
    let names = |world: World| {
        let ended = world.lookup("example.com");
        match ended.plan().hosts[0].security.demand.clone() {
            Demand::Dane { names, .. } => (names, ended.asked("_25._tcp.host.example.net TLSA")),
            other => (vec![other.word().to_owned()], ended.asked("_25._tcp.mx.example.com TLSA")),
        }
    };
    let both =
        |world: World| world.tlsa("mx.example.com", Secure, &[usable()]).tlsa("host.example.net", Secure, &[usable()]);
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(both(world(Secure, Secure))), (list(&["host.example.net", "example.com"]), true));
    let only_first = world(Secure, Secure).tlsa("mx.example.com", Secure, &[usable()]);
    assert_eq!(names(only_first), (list(&["mx.example.com", "example.com"]), true));
    assert_eq!(names(both(world(Secure, Insecure))), (list(&["mx.example.com", "example.com"]), false));
    assert_eq!(names(both(world(Insecure, Insecure))), (list(&["opportunistic"]), false));
    // An error at the first base domain is not a reason to try the second.
    let failing = both(world(Secure, Secure)).fails(tlsa_of("host.example.net"));
    assert_eq!(failing.lookup("example.com").error().0, "4.4.3");
}

#[test]
fn without_mx_records() {
    let world = World::default().host("example.com", Secure, &["192.0.2.1"]).tlsa("example.com", Secure, &[usable()]);
    let ended = world.lookup("example.com");
    assert_eq!(
        ended.plan().hosts[0].security.demand,
        Demand::Dane { records: vec![usable()], names: vec!["example.com".into()] }
    );
    let relay = Target::relay(Host::parse("example.com").unwrap(), 587);
    assert!(world.run(relay).asked("_587._tcp.example.com TLSA"));
}

// RFC 7672 §6
#[test]
fn dane_by_setting() {
    let world = signed().tlsa("mx.example.com", Secure, &[usable()]);
    assert!(world.run(target(TlsPolicy::Dane)).plan().hosts[0].security.demand.authenticates());
    let without = signed().run(target(TlsPolicy::Dane));
    assert_eq!(without.error().0, "4.7.5");
    let unusable = signed().tlsa("mx.example.com", Secure, &[unusable()]).run(target(TlsPolicy::Dane));
    assert_eq!(unusable.error().0, "4.7.5");
    let insecure = world.clone().mx("example.com", Insecure, &[(1, "mx.example.com")]).run(target(TlsPolicy::Dane));
    assert_eq!(
        insecure.error(),
        ("4.7.5".to_owned(), "DANE is required for example.com and its MX records are not signed".to_owned())
    );
    // Other settings are a minimum; what is published is obeyed.
    for tls in [TlsPolicy::Required, TlsPolicy::Verified] {
        assert_eq!(world.run(target(tls)).plan().hosts[0].security.demand.word(), "dane");
    }
    for tls in [TlsPolicy::None, TlsPolicy::Opportunistic] {
        assert!(!world.run(target(tls)).asked("_25._tcp.mx.example.com TLSA"));
    }
}
