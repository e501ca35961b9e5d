//! The records and policies that the RFCs show, as zones in which lookups run.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mailwright_routing::dane::{Certificate, Match, Tlsa, authenticate, match_tlsa, usable};
use mailwright_routing::sts::{Mode, Policy};
use mailwright_routing::{Answer, Demand, Family, Mx, PolicyBody, Proof, Question, Records};

use crate::canned::{HOUR, World};

use Proof::Secure;

/// A world of the records of a zone, in the presentation form of RFC 1035 §5.1 as far as the examples use it: names are
/// absolute, `;` begins a comment, `( )` go over lines. All is signed, and aliases are followed. What an example cuts off
/// with `...` is filled up with zeros to the 32 octets of SHA-256.
fn zone(text: &str) -> World {
    let mut owners: BTreeMap<String, Vec<(String, Vec<String>)>> = BTreeMap::new();
    let (mut words, mut open) = (Vec::<String>::new(), false);
    for line in text.lines() {
        let line = line.trim();
        let line = if line.starts_with(';') { "" } else { line };
        for word in line.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            match word {
                "(" => open = true,
                ")" => open = false,
                word => words.push(word.to_owned()),
            }
        }
        if !open && !words.is_empty() {
            let record = std::mem::take(&mut words);
            assert_eq!(record[1], "IN", "{record:?}");
            owners.entry(absolute(&record[0])).or_default().push((record[2].clone(), record[3..].to_vec()));
        }
    }
    let mut world = World::default();
    for owner in owners.keys() {
        let mut end = owner.clone();
        while let Some((_, target)) =
            owners.get(&end).and_then(|records| records.iter().find(|(kind, _)| kind == "CNAME"))
        {
            end = absolute(&target[0]);
        }
        let of = |wanted: &str| -> Vec<Vec<String>> {
            let records = owners.get(&end).into_iter().flatten().filter(|(kind, _)| kind == wanted);
            records.map(|(_, data)| data.clone()).collect()
        };
        for (question, answer) in answers(owner, &of, (*owner != end).then_some(&*end)) {
            world = world.answer(question, answer);
        }
    }
    world
}

fn answers(owner: &str, of: &dyn Fn(&str) -> Vec<Vec<String>>, end: Option<&str>) -> Vec<(Question, Answer)> {
    fn records<T>(list: Vec<T>, end: Option<&str>) -> Option<Records<T>> {
        let found = Records::new(list, Secure, HOUR);
        let found = if found.records.is_empty() { return None } else { found };
        Some(match end {
            Some(end) => found.via(end, Secure),
            None => found,
        })
    }
    let name = owner.to_owned();
    let mut list = Vec::new();
    let mx = of("MX").iter().map(|data| Mx::new(data[0].parse().unwrap(), &absolute(&data[1]))).collect();
    list.extend(records(mx, end).map(|found| (Question::Mx(name.clone()), Answer::Mx(Ok(found)))));
    for (kind, family) in [("A", Family::V4), ("AAAA", Family::V6)] {
        let found: Vec<IpAddr> = of(kind).iter().map(|data| data[0].parse().unwrap()).collect();
        let question = Question::Addresses { name: name.clone(), family };
        list.extend(records(found, end).map(|found| (question, Answer::Addresses(Ok(found)))));
    }
    let txt = of("TXT").iter().map(|data| data.join(" ").trim_matches('"').as_bytes().to_vec()).collect();
    list.extend(records(txt, end).map(|found| (Question::Txt(name), Answer::Txt(Ok(found)))));
    if let Some(base) = owner.strip_prefix("_25._tcp.") {
        let found = of("TLSA").iter().map(|data| tlsa(data)).collect();
        let question = Question::Tlsa { port: 25, name: base.to_owned() };
        list.extend(records(found, end).map(|found| (question, Answer::Tlsa(Ok(found)))));
    }
    list
}

fn absolute(name: &str) -> String {
    name.strip_suffix('.').unwrap().to_ascii_lowercase()
}

fn tlsa(data: &[String]) -> Tlsa {
    let number = |at: usize| data[at].parse().unwrap();
    let text = data[3..].concat();
    let mut octets = hex(text.trim_end_matches('.'));
    if text.ends_with("...") {
        octets.resize(32, 0);
    }
    Tlsa::new(number(0), number(1), number(2), octets)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) * 16 + pair.get(1).map_or(0, |low| digit(*low))).collect()
}

/// Each host with the presentation of its first record, shortened, and the names that its certificate may bear.
fn authenticated(world: &World, domain: &str) -> Vec<(String, String, String)> {
    let ended = world.lookup(domain);
    let mut hosts: Vec<_> = ended.plan().hosts.iter().collect();
    hosts.sort_by_key(|host| &host.name);
    let row = |demand: &Demand| match demand {
        Demand::Dane { records, names } => (records[0].to_string()[..14].to_owned(), names.join(" ")),
        other => (other.word().to_owned(), String::new()),
    };
    let rows = hosts.iter().map(|host| (host.name.clone(), row(&host.security.demand)));
    rows.map(|(name, (record, names))| (name, record, names)).collect()
}

fn rows(list: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    list.iter().map(|(name, record, names)| ((*name).into(), (*record).into(), (*names).into())).collect()
}

/// RFC 5321 appendix D.3: from bar.com to both, best first; from foo.com to xyz.com alone.
#[test]
fn relayed_mail() {
    let world = zone(
        "xyz.com. IN MX 10 xyz.com.\n xyz.com. IN MX 20 foo.com.\n xyz.com. IN A 192.0.2.1\n foo.com. IN A 192.0.2.2",
    );
    let from = |name: &str| world.clone().set(|settings| settings.own_names = vec![name.to_owned()]);
    assert_eq!(from("bar.com").lookup("XYZ.COM").hosts(), ["xyz.com", "foo.com"]);
    assert_eq!(from("foo.com").lookup("xyz.com").hosts(), ["xyz.com"]);
}

/// RFC 7505 §3.
#[test]
fn null_mx() {
    assert_eq!(zone("nomail.example. IN MX 0 .").lookup("nomail.example").error().0, "5.1.10");
}

/// RFC 7672 §2.2.3 and §3.1.2: one trust anchor for several hosts. The base domains stay those of the hosts.
#[test]
fn a_shared_trust_anchor() {
    let world = zone(
        "example.com.                IN MX 0 mx1.example.com.
         example.com.                IN MX 0 mx2.example.com.
         mx1.example.com.            IN A 192.0.2.1
         mx2.example.com.            IN A 192.0.2.2
         _25._tcp.mx1.example.com.   IN CNAME tlsa201._dane.example.com.
         _25._tcp.mx2.example.com.   IN CNAME tlsa201._dane.example.com.
         tlsa201._dane.example.com.  IN TLSA 2 0 1 e3b0c44298fc1c149a...",
    );
    let expected = rows(&[
        ("mx1.example.com", "2 0 1 E3B0C442", "mx1.example.com example.com"),
        ("mx2.example.com", "2 0 1 E3B0C442", "mx2.example.com example.com"),
    ]);
    assert_eq!(authenticated(&world, "example.com"), expected);
}

/// RFC 7672 §3.2.2: aliases before and behind the MX records.
#[test]
fn names_of_a_certificate() {
    let world = zone(
        "exchange.example.org.            IN CNAME mail.example.org.
         mail.example.org.                IN CNAME example.com.
         example.com.                     IN MX    10 mx10.example.com.
         example.com.                     IN MX    15 mx15.example.com.
         example.com.                     IN MX    20 mx20.example.com.
         ;
         mx10.example.com.                IN A     192.0.2.10
         _25._tcp.mx10.example.com.       IN TLSA  2 0 1 ...
         ;
         mx15.example.com.                IN CNAME mxbackup.example.com.
         mxbackup.example.com.            IN A     192.0.2.15
         ; _25._tcp.mxbackup.example.com. IN TLSA ? (NXDOMAIN)
         _25._tcp.mx15.example.com.       IN TLSA  2 0 1 ...
         ;
         mx20.example.com.                IN CNAME mxbackup.example.net.
         mxbackup.example.net.            IN A     198.51.100.20
         _25._tcp.mxbackup.example.net.   IN TLSA  2 0 1 ...",
    );
    let expected = rows(&[
        ("mx10.example.com", "2 0 1 00000000", "mx10.example.com exchange.example.org example.com"),
        ("mx15.example.com", "2 0 1 00000000", "mx15.example.com exchange.example.org example.com"),
        ("mx20.example.com", "2 0 1 00000000", "mxbackup.example.net exchange.example.org example.com"),
    ]);
    assert_eq!(authenticated(&world, "exchange.example.org"), expected);
    let ended = world.lookup("exchange.example.org");
    assert_eq!(ended.hosts(), ["mx10.example.com", "mx15.example.com", "mx20.example.com"]);
    assert!(ended.asked("_25._tcp.mxbackup.example.com TLSA"));
}

/// RFC 7671 §2.1, §5.1, §6 and §10.2. What is about HTTPS there is asked here for port 25.
#[test]
fn publishing_records() {
    let world = zone(
        "example.com.               IN MX 0 mail.example.com.
         mail.example.com.          IN A 192.0.2.1
         _25._tcp.mail.example.com. IN TLSA 2 0 1 (
                                       E8B54E0B4BAA815B06D3462D65FBC7C0
                                       CF556ECCF9F5303EBFBB77D022F834C0 )",
    );
    let expected = rows(&[("mail.example.com", "2 0 1 E8B54E0B", "mail.example.com example.com")]);
    assert_eq!(authenticated(&world, "example.com"), expected);
    assert_eq!(world.lookup("example.com").plan().hosts[0].security.server_name(), Some("mail.example.com"));

    let customers = zone(
        "www.example.com.              IN CNAME ex-com.example.net.
         www.example.org.              IN CNAME ex-org.example.net.
         ex-com.example.net.           IN A 192.0.2.1
         ex-org.example.net.           IN A 192.0.2.1
         _25._tcp.ex-com.example.net.  IN CNAME tlsa._dane.example.net.
         _25._tcp.ex-org.example.net.  IN CNAME tlsa._dane.example.net.
         tlsa._dane.example.net.       IN TLSA 3 1 1 e3b0c44298fc1c14...",
    );
    for (customer, base) in [("www.example.com", "ex-com.example.net"), ("www.example.org", "ex-org.example.net")] {
        let found = authenticated(&customers, customer);
        assert_eq!(found[0].1, "3 1 1 E3B0C442");
        assert!(found[0].2.starts_with(base), "{found:?}");
    }

    let redirected = zone(
        "www1.example.com.            IN CNAME w1.example.net.
         w1.example.net.              IN A 192.0.2.1
         _25._tcp.www1.example.com.   IN CNAME _25._tcp.w1.example.net.
         _25._tcp.w1.example.net.     IN TLSA 3 1 1 (
                                         8A9A70596E869BED72C69D97A8895DFA
                                         D86F300A343FECEFF19E89C27C896BC9 )
         www2.example.com.            IN CNAME w2.example.net.
         w2.example.net.              IN A 192.0.2.2
         _25._tcp.www2.example.com.   IN CNAME _25._tcp.w2.example.net.
         _25._tcp.w2.example.net.     IN TLSA 2 0 1 (
                                         C164B2C3F36D068D42A6138E446152F5
                                         68615F28C69BD96A73E354CAC88ED00C )",
    );
    let found = authenticated(&redirected, "www1.example.com");
    assert_eq!(found, rows(&[("www1.example.com", "3 1 1 8A9A7059", "w1.example.net www1.example.com")]));
    let found = authenticated(&redirected, "www2.example.com");
    assert_eq!(found, rows(&[("www2.example.com", "2 0 1 C164B2C3", "w2.example.net www2.example.com")]));

    let hosted = zone(
        "example.com.               IN MX 0 mx1.example.net.
         example.com.               IN MX 0 mx2.example.net.
         mx1.example.net.           IN A 192.0.2.1
         mx2.example.net.           IN A 192.0.2.2
         _25._tcp.mx1.example.net.  IN TLSA 3 1 1 (
                                       8A9A70596E869BED72C69D97A8895DFA
                                       D86F300A343FECEFF19E89C27C896BC9 )
         _25._tcp.mx2.example.net.  IN TLSA 3 1 1 (
                                       C164B2C3F36D068D42A6138E446152F5
                                       68615F28C69BD96A73E354CAC88ED00C )",
    );
    let expected = rows(&[
        ("mx1.example.net", "3 1 1 8A9A7059", "mx1.example.net example.com"),
        ("mx2.example.net", "3 1 1 C164B2C3", "mx2.example.net example.com"),
    ]);
    assert_eq!(authenticated(&hosted, "example.com"), expected);
}

/// RFC 7671 §8: while keys are changed, the old and the new one are both matched, or only one is in use.
#[test]
fn changing_keys() {
    let set = |records: &[&str]| {
        let records = records.iter().map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        usable(&records.map(|data| tlsa(&data)).collect::<Vec<_>>())
    };
    let (old, new, anchor) = ("3 1 1 01d09d19c2139a46...", "3 1 1 7aa7a5359173d05b...", "2 0 1 c57bce38455d9e3d...");
    // §8.1, §8.2
    for (records, count) in [(&[old][..], 1), (&[old, new], 2), (&[new], 1), (&[anchor], 1)] {
        assert_eq!(set(records).len(), count, "{records:?}");
    }
    // §8.1, the second: what only PKIX could use becomes usable.
    assert!(set(&["1 1 1 01d09d19c2139a46..."]).is_empty());
    // §8.3: of SHA-512 there is one for each, so that who prefers it loses no key.
    let long = |start: &str| format!("3 1 2 {start}{}", "0".repeat(112));
    let (old_512, new_512) = (long("d9947c35089310bc"), long("89a7486a4b6ae714"));
    let kept = set(&[old, &old_512, new, &new_512]);
    assert_eq!(kept.iter().map(|record| record.matching).collect::<Vec<_>>(), [2, 2]);
}

/// RFC 7671 §9: of `3 1 0`, `3 1 1` and `3 1 2` the first and the last count.
#[test]
fn the_strongest_digest() {
    let world = zone(
        "mail.example.com.          IN A 192.0.2.1
         _25._tcp.mail.example.com. IN TLSA 3 1 1 (
                                       3FE246A848798236DD2AB78D39F0651D
                                       6B6E7CA8E2984012EB0A2E1AC8A87B72 )
         _25._tcp.mail.example.com. IN TLSA 3 1 2 (
                                       D4F5AF015B46C5057B841C7E7BAB759C
                                       BF029526D29520C5BE6A32C67475439E
                                       54AB3A945D80C743347C9BD4DADC9D8D
                                       57FAB78EAA835362F3CA07CCC19A3214 )
         _25._tcp.mail.example.com. IN TLSA 3 1 0 (
                                       3059301306072A8648CE3D020106082A
                                       8648CE3D0301070342000471CB1F504F
                                       9E4B33971376C005445DACD33CD79A28
                                       81C3DED1981F18E7AAA76609DD0E4EF2
                                       8265C82703030AD60C5DBA6FB8A9397A
                                       C0FCF06D424C885D484887 )",
    );
    let ended = world.lookup("mail.example.com");
    let Demand::Dane { records, .. } = &ended.plan().hosts[0].security.demand else { panic!("no DANE") };
    assert_eq!(records.iter().map(|record| record.matching).collect::<Vec<_>>(), [0, 2]);
    let key = records[0].data.clone();
    let server = Certificate { der: b"any", spki: &key };
    assert_eq!(authenticate(records, &[server]), [Match::EndEntity { record: 0 }]);
    // All three are of one key.
    let weak = Tlsa::new(3, 1, 1, hex("3FE246A848798236DD2AB78D39F0651D6B6E7CA8E2984012EB0A2E1AC8A87B72"));
    assert!(records.iter().chain([&weak]).all(|record| match_tlsa(record, server)));
}

/// RFC 6698 §2.3: which of the three SMTP can use, and how they are written.
#[test]
fn records_in_presentation_form() {
    for (text, is_usable) in [
        ("0 0 1 d2abde240d7cd3ee6b4b28c54df034b9 7983a1d16e8a410e4561cb106618e971", false),
        (
            "1 1 2 92003ba34942dc74152e2f2c408d29ec a5a520e7f2e06bb944f4dca346baf63c 1b177615d466f6c4b71c216a50292bd5 \
             8c9ebdd2f74e38fe51ffd48c43326cbc",
            false,
        ),
        ("3 0 0 30820307308201efa003020102020", true),
    ] {
        let data: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let record = tlsa(&data);
        assert_eq!(record.is_usable(), is_usable, "{text}");
        // The last of them is cut off in the middle of an octet.
        let written = format!("{} {}", data[..3].join(" "), data[3..].concat().to_uppercase());
        assert!(record.to_string().starts_with(&written), "{record}");
    }
}

/// RFC 6698 appendix A.2.1.1, for port 25 and with a usage that SMTP has. There only the record of the name asked for
/// counts; between MTAs the one behind the alias comes first (RFC 7672 §2.2.2).
#[test]
fn records_of_aliases() {
    let base = "sub5.example.com. IN CNAME sub6.example.com.
                sub6.example.com. IN A 192.0.2.1
                sub6.example.com. IN AAAA 2001:db8::1\n";
    for (more, record, names) in [
        ("_25._tcp.sub5.example.com. IN TLSA 3 1 1 308202c5308201ab...", "3 1 1 308202C5", "sub5.example.com"),
        (
            "_25._tcp.sub5.example.com. IN CNAME _25._tcp.sub6.example.com.
             _25._tcp.sub6.example.com. IN TLSA 3 1 1 536a570ac49d9ba4...",
            "3 1 1 536A570A",
            "sub6.example.com sub5.example.com",
        ),
        (
            "_25._tcp.sub5.example.com. IN TLSA 3 1 1 308202c5308201ab...
             _25._tcp.sub6.example.com. IN TLSA 3 1 1 ac49d9ba4570ac49...",
            "3 1 1 AC49D9BA",
            "sub6.example.com sub5.example.com",
        ),
    ] {
        let found = authenticated(&zone(&format!("{base}{more}")), "sub5.example.com");
        assert_eq!(found, rows(&[("sub5.example.com", record, names)]));
    }
}

/// RFC 6698 appendix C: one certificate, by each selector and matching type.
#[test]
fn association_data() {
    let mut found: Vec<Tlsa> = Vec::new();
    for line in include_str!("rfc6698-c.txt").lines().skip(1) {
        match (line.strip_prefix("  "), found.last_mut()) {
            (Some(octets), Some(record)) => record.data.extend(hex(octets)),
            _ => {
                let (selector, matching) = line.split_once(' ').unwrap();
                found.push(Tlsa::new(3, selector.parse().unwrap(), matching.parse().unwrap(), Vec::new()));
            }
        }
    }
    assert_eq!(found.len(), 6);
    let (der, spki) = (found[0].data.clone(), found[3].data.clone());
    let certificate = Certificate { der: &der, spki: &spki };
    // The key is part of the certificate.
    assert!(der.windows(spki.len()).any(|octets| octets == spki));
    for record in &found {
        assert!(record.is_usable() && match_tlsa(record, certificate), "{} {}", record.selector, record.matching);
        let other = Tlsa { selector: 1 - record.selector, ..record.clone() };
        assert!(!match_tlsa(&other, certificate));
    }
}

/// RFC 8461 appendix A: a policy on trial. (The record and the policy of §3 are tests of `sts`.)
#[test]
fn a_policy_on_trial() {
    let policy = "version: STSv1\r\nmode: testing\r\nmx: mx1.example.com\r\nmx: mx2.example.com\r\n\
                  mx: mx.backup-example.com\r\nmax_age: 1296000\r\n";
    let world = zone(
        "_mta-sts.example.com.  IN TXT \"v=STSv1; id=20160831085700Z;\"
         example.com.           IN MX 1 mx1.example.com.
         example.com.           IN MX 2 mx3.example.com.
         example.com.           IN MX 3 mx.backup-example.com.
         mx1.example.com.       IN A 192.0.2.1
         mx3.example.com.       IN A 192.0.2.3
         mx.backup-example.com. IN A 192.0.2.4",
    );
    let id = "20160831085700Z";
    let ended = world.answer(fetch("example.com", id), body(policy)).lookup("example.com");
    assert!(ended.asked("https://mta-sts.example.com/.well-known/mta-sts.txt"));
    assert_eq!(ended.hosts(), ["mx1.example.com", "mx3.example.com", "mx.backup-example.com"]);
    let listed: Vec<_> = ended.plan().hosts.iter().map(|host| host.security.sts.unwrap()).collect();
    assert!(listed.iter().all(|sts| sts.testing));
    assert_eq!(listed.iter().map(|sts| sts.listed).collect::<Vec<_>>(), [true, false, true]);
    let kept = ended.store.unwrap().kept.unwrap();
    assert_eq!((&*kept.id, kept.policy.mode, kept.policy.max_age), (id, Mode::Testing, 1_296_000));
    assert_eq!(Policy::parse(policy.as_bytes()).unwrap().to_text(), policy);
}

/// RFC 8461 §8.2: the record is an alias of the provider's; the policy is still asked of the domain's own host.
#[test]
fn a_policy_delegated() {
    let world = zone(
        "_mta-sts.user.example.      IN CNAME _mta-sts.provider.example.
         _mta-sts.provider.example.  IN TXT \"v=STSv1; id=1;\"
         user.example.               IN MX 1 mx.provider.example.
         mx.provider.example.        IN A 192.0.2.1",
    );
    let policy = "version: STSv1\nmode: enforce\nmx: mx.provider.example\nmax_age: 604800\n";
    let ended = world.answer(fetch("user.example", "1"), body(policy)).lookup("user.example");
    assert!(ended.asked("https://mta-sts.user.example/.well-known/mta-sts.txt"));
    assert!(!ended.asked("https://mta-sts.provider.example/.well-known/mta-sts.txt"));
    assert_eq!(ended.plan().hosts[0].security.demand.word(), "verified");
}

fn fetch(domain: &str, id: &str) -> Question {
    Question::Policy { domain: domain.into(), id: id.into() }
}

fn body(text: &str) -> Answer {
    Answer::Policy(Ok(PolicyBody { octets: text.as_bytes().to_vec(), media_type: Some("text/plain".into()) }))
}
