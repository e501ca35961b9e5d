//! RFC 5321 §5.1, RFC 7505, and what is refused.

use std::time::Duration;

use address::Host;
use mailwright_routing::{
    Answer, Demand, Family, Missing, Mx, Proof, Question, Records, Skip, Target, TlsPolicy, Trouble,
};

use crate::canned::{HOUR, World, now};

use Proof::{Insecure, Secure};

fn three() -> World {
    World::default()
        .mx("example.com", Insecure, &[(20, "c.example"), (10, "A.Example."), (10, "b.example")])
        .host("a.example", Insecure, &["192.0.2.1", "2001:db8::1", "192.0.2.2"])
        .host("b.example", Insecure, &["192.0.2.3"])
        .host("c.example", Insecure, &["192.0.2.4"])
}

#[test]
fn by_preference_and_equals_at_random() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let world = World { seed, ..three() };
        let ended = world.lookup("example.com");
        assert_eq!(ended.hosts()[2], "c.example");
        let mut shuffled = World { seed: 0, ..three() }.lookup("example.com").plan().clone();
        shuffled.shuffle(seed);
        assert_eq!(shuffled.hosts, ended.plan().hosts);
        orders.insert(ended.hosts().join(" "));
    }
    assert_eq!(orders.len(), 2);
    let ended = three().lookup("Example.COM");
    let a = ended.plan().hosts.iter().find(|host| host.name == "a.example").unwrap();
    assert_eq!(a.addresses.iter().map(std::net::IpAddr::is_ipv6).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(a.security.demand, Demand::Opportunistic);
    assert_eq!(ended.plan().group, "a.example,b.example,c.example");
    assert_eq!(ended.plan().policy_domain.as_deref(), Some("example.com"));
}

#[test]
fn one_host_twice_counts_with_its_best_preference() {
    let world = three().mx("example.com", Insecure, &[(30, "b.example"), (5, "b.example"), (10, "a.example")]);
    assert_eq!(world.lookup("example.com").hosts(), ["b.example", "a.example"]);
}

#[test]
fn implicit_mx() {
    let world = World::default().host("example.com", Insecure, &["192.0.2.1"]);
    let ended = world.lookup("example.com");
    assert_eq!(ended.hosts(), ["example.com"]);
    assert!(ended.notes().contains(&"example.com has no MX records (secure): it is its own mail server".to_owned()));
    // MX records that lead nowhere do not make the domain its own server (RFC 5321 §5.1).
    let world = world.mx("example.com", Insecure, &[(10, "gone.example")]);
    assert_eq!(world.lookup("example.com").error().0, "5.4.4");
}

#[test]
fn a_domain_in_a_labels() {
    let world = World::default().host("xn--bcher-kva.example", Insecure, &["192.0.2.1"]);
    let ended = world.lookup("bücher.example");
    assert_eq!(ended.hosts(), ["xn--bcher-kva.example"]);
    assert!(ended.asked("xn--bcher-kva.example MX"));
}

#[test]
fn why_there_is_no_plan() {
    let mx = |reply| World::default().answer(Question::Mx("example.com".into()), Answer::Mx(reply));
    let nx = Missing::NxDomain { proof: Insecure, ttl: HOUR };
    let one = |world: World| world.mx("example.com", Insecure, &[(10, "a.example"), (20, "b.example")]);
    let a4 = || Question::Addresses { name: "a.example".into(), family: Family::V4 };
    let table = [
        (mx(Err(nx.clone())), "5.1.2", "the domain example.com does not exist"),
        (World::default(), "5.4.4", "the domain example.com has no mail server"),
        (
            mx(Err(Missing::Temporary(Trouble::Timeout))),
            "4.4.3",
            "looking up the mail servers of example.com: no answer in time",
        ),
        (mx(Err(Missing::Bogus)), "4.4.3", "looking up the mail servers of example.com: DNSSEC validation failed"),
        // RFC 7505 §4.1, both spellings.
        (World::default().mx("example.com", Insecure, &[(0, "")]), "5.1.10", "the domain example.com accepts no mail"),
        (World::default().mx("example.com", Insecure, &[(0, ".")]), "5.1.10", "the domain example.com accepts no mail"),
        (one(World::default()), "5.4.4", "no mail server of example.com can be used; a.example: no addresses"),
        // One host that may recover is reason enough to wait.
        (
            one(World::default()).answer(
                Question::Addresses { name: "b.example".into(), family: Family::V6 },
                Answer::Addresses(Err(Missing::Bogus)),
            ),
            "4.4.3",
            "no mail server of example.com can be used; b.example: addresses: DNSSEC validation failed",
        ),
        (
            one(World::default()).fails(a4()),
            "4.4.3",
            "no mail server of example.com can be used; a.example: addresses: response code 2",
        ),
        (
            World::default().mx("example.com", Insecure, &[(10, "192.0.2.1")]),
            "5.4.4",
            "no mail server of example.com can be used; 192.0.2.1: not a host name",
        ),
        (
            World::default().mx("example.com", Insecure, &[(10, "a\r\nb")]),
            "5.4.4",
            "no mail server of example.com can be used; a\\r\\nb: not a host name",
        ),
        // rule 30
        (
            World::default().host("example.com", Insecure, &["10.0.0.1"]),
            "5.4.4",
            "no mail server of example.com can be used; example.com: 10.0.0.1 is a private address, which [routing] \
             private_targets does not list",
        ),
        (
            World::default().host("example.com", Insecure, &["::ffff:127.0.0.1"]),
            "5.4.4",
            "no mail server of example.com can be used; example.com: 127.0.0.1 is a loopback address, which [routing] \
             private_targets does not list",
        ),
    ];
    for (world, code, why) in table {
        assert_eq!(world.lookup("example.com").error(), (code.to_owned(), why.to_owned()));
    }
}

#[test]
fn one_family_suffices() {
    let world = World::default()
        .host("example.com", Insecure, &["192.0.2.1"])
        .fails(Question::Addresses { name: "example.com".into(), family: Family::V6 });
    let ended = world.lookup("example.com");
    assert_eq!(ended.hosts(), ["example.com"]);
    // What could not be known is asked again soon.
    assert_eq!(ended.plan().valid_until, now() + Duration::from_secs(300));
    let world = world.set(|settings| settings.families = vec![Family::V4]);
    assert!(!world.lookup("example.com").asked("example.com AAAA"));
}

// RFC 5321 §5.1: only hosts better than ourselves.
#[test]
fn cut_off_at_ourselves() {
    let own =
        |name: &'static str| move |settings: &mut mailwright_routing::Settings| settings.own_names = vec![name.into()];
    let world = three().set(own("c.example"));
    let mut hosts = world.lookup("example.com");
    assert_eq!(hosts.hosts().len(), 2);
    assert!(!hosts.asked("c.example A"));
    // An equal of ours is not better.
    for seed in 0..10 {
        let world = World { seed, ..three().set(own("b.example")) };
        hosts = world.lookup("example.com");
        assert_eq!(hosts.error(), ("5.4.6".into(), "mail for example.com loops back to this server".into()));
    }
    let by_address = three().set(|settings| settings.own_addresses = vec!["192.0.2.4".parse().unwrap()]);
    let ended = by_address.lookup("example.com");
    assert_eq!(ended.hosts().len(), 2);
    assert_eq!(ended.plan().skipped[0].why, Skip::OurOwn);
    let implicit = World::default()
        .host("example.com", Insecure, &["192.0.2.4"])
        .set(|settings| settings.own_addresses = vec!["192.0.2.4".parse().unwrap()]);
    assert_eq!(implicit.lookup("example.com").error().0, "5.4.6");
    // A better host that may recover is waited for.
    let waits = World::default()
        .mx("example.com", Insecure, &[(1, "a.example"), (2, "me.example")])
        .fails(Question::Addresses { name: "a.example".into(), family: Family::V4 })
        .set(own("me.example"));
    assert_eq!(waits.lookup("example.com").error().0, "4.4.3");
}

#[test]
fn address_literals() {
    let world = World::default();
    let ended = world.lookup("[192.0.2.1]");
    assert_eq!(ended.hosts(), ["[192.0.2.1]"]);
    assert!(ended.asked.is_empty());
    assert_eq!((&ended.plan().policy_domain, ended.plan().hosts[0].security.server_name()), (&None, None));
    assert_eq!(world.lookup("[IPv6:2001:db8::1]").hosts(), ["[IPv6:2001:db8::1]"]);
    assert_eq!(world.lookup("[X-net:abc]").error().0, "5.1.2");
    assert_eq!(world.lookup("[127.0.0.1]").error().0, "5.4.4");
    let own = World::default().set(|settings| settings.own_addresses = vec!["192.0.2.1".parse().unwrap()]);
    assert_eq!(own.lookup("[192.0.2.1]").error().0, "5.4.6");
    let private =
        World::default().set(|settings| settings.reach.private_targets = vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(private.lookup("[127.0.0.1]").hosts(), ["[127.0.0.1]"]);
    let target = Target::recipient(Host::parse("[192.0.2.1]").unwrap()).with_tls(TlsPolicy::Verified);
    assert_eq!(world.run(target).error().0, "4.7.5");
}

// rule 30: of a host with several addresses only the public ones are tried.
#[test]
fn private_addresses_are_left_out() {
    let world = World::default().host("example.com", Insecure, &["10.0.0.1", "192.0.2.1", "fe80::1"]);
    assert_eq!(
        world.lookup("example.com").plan().hosts[0].addresses,
        ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[test]
fn relays() {
    let world = World::default()
        .host("relay.example", Insecure, &["10.0.0.1"])
        .set(|settings| settings.own_names = vec!["relay.example".into()]);
    let relay = |port| Target::relay(Host::parse("relay.example").unwrap(), port);
    // The operator named it: it may be private, and on this machine.
    for port in [25, 587] {
        let ended = world.run(relay(port));
        assert_eq!(ended.hosts(), ["relay.example"]);
        assert!(!ended.asked("relay.example MX") && ended.plan().hosts[0].security.name_is_sure);
    }
    assert_eq!(world.run(relay(587)).plan().group, "relay.example:587");
    let error = World::default().run(relay(25));
    assert_eq!(error.error().0, "4.4.4");
}

#[test]
fn limits_at_the_edge() {
    for (count, limit, expected) in [(3, 3, 3), (4, 3, 3), (1, 0, 1)] {
        let names: Vec<String> = (0..count).map(|at| format!("mx{at}.example")).collect();
        let list: Vec<(u16, &str)> = names.iter().zip(0..).map(|(name, at)| (at, name.as_str())).collect();
        let mut world =
            World::default().mx("example.com", Insecure, &list).set(|settings| settings.limits.mx_hosts = limit);
        for name in &names {
            world = world.host(name, Insecure, &["192.0.2.1"]);
        }
        let ended = world.lookup("example.com");
        assert_eq!(ended.hosts().len(), expected);
        assert_eq!(ended.hosts()[0], "mx0.example");
        assert_eq!(ended.plan().skipped.len(), count - expected);
        assert_eq!(
            ended.asked.iter().filter(|question| matches!(question, Question::Addresses { .. })).count(),
            expected * 2
        );
    }
    for (count, limit, expected) in [(5, 5, 5), (6, 5, 5), (2, 0, 1)] {
        let texts: Vec<String> = (0..count).map(|at| format!("192.0.2.{at}")).collect();
        let addresses: Vec<&str> = texts.iter().map(String::as_str).collect();
        let world = World::default()
            .host("example.com", Insecure, &addresses)
            .set(|settings| settings.limits.addresses_per_host = limit);
        assert_eq!(world.lookup("example.com").plan().hosts[0].addresses.len(), expected);
    }
}

#[test]
fn absurd_lists() {
    let names: Vec<String> = (0..3000).map(|at| format!("mx{at:04}.example")).collect();
    let list: Vec<(u16, &str)> = names.iter().map(|name| (1, name.as_str())).collect();
    let world = World::default().mx("example.com", Insecure, &list).host("mx0005.example", Insecure, &["192.0.2.1"]);
    let world = world.set(|settings| settings.limits.mx_hosts = 1000);
    let ended = world.lookup("example.com");
    assert_eq!((ended.hosts().len(), ended.plan().skipped.len()), (1, 99));
    assert_eq!(World { seed: 9, ..world.clone() }.lookup("example.com").plan().group, ended.plan().group);
    // We are found even at its end.
    let own = world.set(|settings| settings.own_names = vec!["mx2999.example".into()]);
    assert_eq!(own.lookup("example.com").error().0, "5.4.6");
}

#[test]
fn validity() {
    let with_ttl = |seconds| {
        let records = Records::new(vec![Mx::new(1, "a.example")], Insecure, Duration::from_secs(seconds));
        three().answer(Question::Mx("example.com".into()), Answer::Mx(Ok(records))).lookup("example.com")
    };
    assert_eq!(with_ttl(60).plan().valid_until, now() + Duration::from_secs(60));
    assert_eq!(with_ttl(86_400).plan().valid_until, now() + HOUR);
    assert_eq!(with_ttl(u64::MAX).plan().valid_until, now() + HOUR);
}

#[test]
fn groups_of_many_hosts_are_short() {
    let names: Vec<String> = (0..15).map(|at| format!("mail-exchanger-{at}.example")).collect();
    let list: Vec<(u16, &str)> = names.iter().map(|name| (1, name.as_str())).collect();
    let mut world = World::default();
    for domain in ["one.example", "two.example"] {
        world = world.mx(domain, Insecure, &list).host(&names[0], Insecure, &["192.0.2.1"]);
    }
    let one = World { seed: 1, ..world.clone() }.lookup("one.example").plan().group.clone();
    let two = World { seed: 2, ..world }.lookup("two.example").plan().group.clone();
    assert_eq!(one, two);
    assert!(one.len() < 60 && one.starts_with("mail-exchanger-0.example+"), "{one}");
}

#[test]
fn settings_for_a_destination() {
    let world = three();
    for (tls, word) in
        [(TlsPolicy::None, "none"), (TlsPolicy::Opportunistic, "opportunistic"), (TlsPolicy::Required, "encrypted")]
    {
        let ended = world.run(Target::recipient(Host::parse("example.com").unwrap()).with_tls(tls));
        assert!(ended.plan().hosts.iter().all(|host| host.security.demand.word() == word), "{tls}");
        assert_eq!(ended.asked("_mta-sts.example.com TXT"), tls.asks());
    }
    let ended = world.run(Target::recipient(Host::parse("example.com").unwrap()).with_tls(TlsPolicy::Verified));
    let names = vec!["c.example".to_owned(), "example.com".to_owned()];
    assert_eq!(ended.plan().hosts[2].security.demand, Demand::Verified { names });
    assert!(!ended.plan().hosts[2].security.name_is_sure);
    assert_eq!(three().mx("example.com", Secure, &[(1, "b.example")]).lookup("example.com").plan().hosts.len(), 1);
}

#[test]
fn an_answer_to_another_question_is_no_absence() {
    let world = three().answer(Question::Mx("example.com".into()), Answer::Txt(Err(Missing::Bogus)));
    assert_eq!(world.lookup("example.com").error().0, "4.4.3");
}
