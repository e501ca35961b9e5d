//! Questions and what DNS makes of them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mailwright_net::{LookUp as _, LookUpError, Resolver, ResolverError, ResolverSettings, Validation};
use routing::dane::Tlsa;
use routing::{Answer, Family, Missing, Mx, Proof, Question, Records, Reply, Trouble};

use crate::zones::Zones;

/// A resolver that validates from the key of `test.`
async fn validating() -> (Resolver, Zones) {
    let zones = Zones::serve().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchor");
    zones.write_anchor(&file);
    (Resolver::new(settings(zones.address, Validation::Own, Some(file))).unwrap(), zones)
}

fn settings(server: SocketAddr, validation: Validation, trust_anchor: Option<PathBuf>) -> ResolverSettings {
    ResolverSettings {
        servers: vec![server],
        validation,
        trust_anchor,
        timeout: Some(Duration::from_millis(500)),
        attempts: Some(1),
        ..ResolverSettings::default()
    }
}

async fn addresses(resolver: &Resolver, name: &str) -> Reply<IpAddr> {
    let question = Question::Addresses { name: name.to_owned(), family: Family::V4 };
    match resolver.answer(&question).await {
        Answer::Addresses(mut reply) => {
            if let Ok(found) = &mut reply {
                found.records.sort();
            }
            reply
        }
        other => panic!("{other:?}"),
    }
}

async fn mx(resolver: &Resolver, name: &str) -> Reply<Mx> {
    match resolver.answer(&Question::Mx(name.to_owned())).await {
        Answer::Mx(mut reply) => {
            if let Ok(found) = &mut reply {
                found.records.sort();
            }
            reply
        }
        other => panic!("{other:?}"),
    }
}

async fn tlsa(resolver: &Resolver, name: &str) -> Reply<Tlsa> {
    match resolver.answer(&Question::Tlsa { port: 25, name: name.to_owned() }).await {
        Answer::Tlsa(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn v4(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn secure_answers() {
    let (resolver, _zones) = validating().await;
    // Asked twice: what is remembered is as secure as it was.
    for _ in 0..2 {
        let both = vec![Mx::new(10, "mx.example.test"), Mx::new(20, "mx2.example.test")];
        assert_eq!(mx(&resolver, "example.test").await, Ok(Records::new(both, Proof::Secure, seconds(300))));
        let null = vec![Mx::new(0, "")];
        assert_eq!(mx(&resolver, "null.test").await, Ok(Records::new(null, Proof::Secure, seconds(300))));
        let found = Records::new(v4(&["192.0.2.1", "192.0.2.2"]), Proof::Secure, seconds(200));
        assert_eq!(addresses(&resolver, "mx.example.test").await, Ok(found));
        let record = Tlsa::new(3, 1, 1, vec![1; 32]);
        let found = tlsa(&resolver, "mx.example.test").await;
        assert_eq!(found, Ok(Records::new(vec![record], Proof::Secure, seconds(300))));
        let txt = resolver.answer(&Question::Txt("example.test".into())).await;
        let text = vec![b"v=STSv1; id=1;".to_vec()];
        assert_eq!(txt, Answer::Txt(Ok(Records::new(text, Proof::Secure, seconds(300)))));
        let v6 = resolver.answer(&Question::Addresses { name: "mx.example.test".into(), family: Family::V6 }).await;
        let v6_records = vec!["2001:db8::1".parse().unwrap()];
        assert_eq!(v6, Answer::Addresses(Ok(Records::new(v6_records, Proof::Secure, seconds(200)))));
    }
}

#[tokio::test]
async fn aliases() {
    let (resolver, _zones) = validating().await;
    let two = || v4(&["192.0.2.1", "192.0.2.2"]);
    // Again and again: with what is remembered of parts of the chain the answer is the same.
    for name in ["alias.test", "chain.test"].repeat(10) {
        let found = addresses(&resolver, name).await.unwrap();
        assert_eq!((found.records, found.proof), (two(), Proof::Secure), "{name}");
        assert_eq!(found.alias.unwrap().canonical, "mx.example.test", "{name}");
        assert!(found.ttl <= seconds(100), "{name}");
    }
    // A secure alias to an insecure host (RFC 7672 §2.2.2).
    let found = addresses(&resolver, "out.test").await.unwrap();
    assert_eq!((found.records, found.proof), (v4(&["192.0.2.9"]), Proof::Insecure));
    let alias = found.alias.unwrap();
    assert_eq!((alias.canonical.as_str(), alias.first), ("mx.plain.test", Proof::Secure));
    assert!(matches!(addresses(&resolver, "dead.test").await, Err(Missing::NxDomain { proof: Proof::Secure, .. })));
    let found = addresses(&resolver, "loop1.test").await;
    assert!(matches!(found, Err(Missing::Temporary(_))), "{found:?}");
}

#[tokio::test]
async fn absence_is_proved() {
    let (resolver, _zones) = validating().await;
    let ttl = seconds(60);
    for _ in 0..2 {
        let proof = Proof::Secure;
        assert_eq!(mx(&resolver, "mx.example.test").await, Err(Missing::NoData { proof, ttl }));
        assert_eq!(tlsa(&resolver, "alias.test").await, Err(Missing::NxDomain { proof, ttl }));
        assert_eq!(addresses(&resolver, "nobody.test").await, Err(Missing::NxDomain { proof, ttl }));
        let proof = Proof::Insecure;
        assert_eq!(tlsa(&resolver, "mx.plain.test").await, Err(Missing::NxDomain { proof, ttl }));
        assert_eq!(mx(&resolver, "mx.plain.test").await, Err(Missing::NoData { proof, ttl }));
    }
}

#[tokio::test]
async fn an_unsigned_zone() {
    let (resolver, _zones) = validating().await;
    let found = mx(&resolver, "plain.test").await;
    assert_eq!(found, Ok(Records::new(vec![Mx::new(10, "mx.plain.test")], Proof::Insecure, seconds(300))));
    let found = addresses(&resolver, "mx.plain.test").await;
    assert_eq!(found, Ok(Records::new(v4(&["192.0.2.9"]), Proof::Insecure, seconds(300))));
    let empty = Missing::NoData { proof: Proof::Insecure, ttl: seconds(0) };
    assert_eq!(addresses(&resolver, "empty.plain.test").await, Err(empty));
}

// rule 36: none of these is absence.
#[tokio::test]
async fn bogus() {
    let (resolver, _zones) = validating().await;
    for name in ["forged.test", "expired.test", "stripped.test", "denied.test"] {
        for _ in 0..2 {
            assert_eq!(addresses(&resolver, name).await, Err(Missing::Bogus), "{name}");
        }
    }
    for name in ["denied-beside.test", "denied-ns.test", "denied-additional.test"] {
        let found = addresses(&resolver, name).await;
        assert!(matches!(found, Err(Missing::Bogus | Missing::Temporary(_))), "{name} {found:?}");
    }
}

#[tokio::test]
async fn trouble_is_temporary() {
    let (resolver, zones) = validating().await;
    let careless = Resolver::new(settings(zones.address, Validation::Off, None)).unwrap();
    let trusting = Resolver::new(settings(zones.address, Validation::AdBit, None)).unwrap();
    for (at, resolver) in [resolver, careless, trusting].iter().enumerate() {
        for (name, trouble) in [
            ("servfail.test", Trouble::Rcode(2)),
            ("notimp.test", Trouble::Rcode(4)),
            ("elsewhere.example", Trouble::Rcode(5)),
            ("silent.test", Trouble::Timeout),
        ] {
            assert_eq!(addresses(resolver, name).await, Err(Missing::Temporary(trouble)), "{name} {at}");
        }
    }
    let unreachable = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for validation in [Validation::Off, Validation::AdBit] {
        let resolver = Resolver::new(settings(unreachable, validation, None)).unwrap();
        let found = addresses(&resolver, "example.test").await;
        assert!(matches!(found, Err(Missing::Temporary(_))), "{found:?}");
    }
}

#[tokio::test]
async fn nobody_validates() {
    let zones = Zones::serve().await;
    let resolver = Resolver::new(settings(zones.address, Validation::Off, None)).unwrap();
    let found = addresses(&resolver, "alias.test").await.unwrap();
    assert_eq!((found.records.len(), found.proof), (2, Proof::Insecure));
    assert_eq!(found.alias.unwrap().first, Proof::Insecure);
    let found = addresses(&resolver, "forged.test").await.unwrap();
    assert_eq!(found.proof, Proof::Insecure);
    let absent = mx(&resolver, "mx.example.test").await;
    assert_eq!(absent, Err(Missing::NoData { proof: Proof::Insecure, ttl: seconds(60) }));
}

#[tokio::test]
async fn the_time_for_a_question_is_limited() {
    let zones = Zones::serve().await;
    let patient = ResolverSettings {
        timeout: Some(seconds(60)),
        total: Duration::from_millis(50),
        ..settings(zones.address, Validation::Off, None)
    };
    let resolver = Resolver::new(patient).unwrap();
    let found = tokio::time::timeout(seconds(30), addresses(&resolver, "silent.test")).await.unwrap();
    assert_eq!(found, Err(Missing::Temporary(Trouble::Timeout)));
}

// rule 27
#[tokio::test]
async fn resolv_conf_is_read_again() {
    let zones = Zones::serve().await;
    let folder = tempfile::tempdir().unwrap();
    let resolv_conf = folder.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 192.0.2.1\noptions timeout:1 attempts:1\n").unwrap();
    let listed = ResolverSettings { resolv_conf: resolv_conf.clone(), ..ResolverSettings::default() };
    let of_this_machine = ResolverSettings { validation: Validation::AdBit, ..listed.clone() };
    let refused = Resolver::new(of_this_machine.clone()).unwrap_err();
    assert_eq!(refused, ResolverError::NotLoopback("192.0.2.1:53".parse().unwrap()));
    std::fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();
    let resolver = Resolver::new(of_this_machine.clone()).unwrap();
    std::fs::write(&resolv_conf, "nameserver 192.0.2.1\n").unwrap();
    assert_eq!(resolver.reload(of_this_machine).unwrap_err(), refused);
    std::fs::write(&resolv_conf, "nothing\n").unwrap();
    let error = Resolver::new(listed).unwrap_err();
    assert!(error.to_string().contains("resolv.conf: "), "{error}");
    // What was remembered is forgotten, the anchor read again.
    let anchor = folder.path().join("anchor");
    zones.write_anchor(&anchor);
    let validating = settings(zones.address, Validation::Own, Some(anchor.clone()));
    let resolver = Resolver::new(validating.clone()).unwrap();
    assert!(addresses(&resolver, "mx.example.test").await.is_ok());
    Zones::serve().await.write_anchor(&anchor);
    resolver.reload(validating.clone()).unwrap();
    assert_eq!(addresses(&resolver, "mx.example.test").await, Err(Missing::Bogus));
    std::fs::write(&anchor, "test. IN A 127.0.0.1").unwrap();
    assert!(matches!(resolver.reload(validating), Err(ResolverError::File { .. })));
}

#[tokio::test]
async fn hosts_for_connections() {
    let (resolver, _zones) = validating().await;
    let found = resolver.look_up("mx.example.test", 25).await.unwrap();
    assert_eq!(found[0], "[2001:db8::1]:25".parse().unwrap());
    assert_eq!(found.len(), 3);
    assert_eq!(resolver.look_up("null.test", 25).await, Err(LookUpError::None));
    assert_eq!(resolver.look_up("forged.test", 25).await, Err(LookUpError::Temporary));
    assert_eq!(resolver.look_up("localhost", 25).await.unwrap()[0], "127.0.0.1:25".parse().unwrap());
}

#[tokio::test]
async fn names_of_addresses() {
    let zones = Zones::serve().await;
    let resolver = Resolver::new(settings(zones.address, Validation::Off, None)).unwrap();
    let mut names = resolver.names_of("192.0.2.1".parse().unwrap()).await.unwrap();
    names.sort_unstable();
    assert_eq!(names, ["mx.example.test", "other.test"]);
    assert_eq!(resolver.names_of("192.0.2.2".parse().unwrap()).await, Ok(Vec::new()));
    let elsewhere = resolver.names_of("2001:db8::1".parse().unwrap()).await;
    assert!(elsewhere.is_ok_and(|names| names.is_empty()) || elsewhere_is_refused(&resolver).await);
}

/// Whether the test's server refuses what is none of its zones, which is an answer that nobody knows.
async fn elsewhere_is_refused(resolver: &Resolver) -> bool {
    matches!(resolver.names_of("2001:db8::1".parse().unwrap()).await, Err(Missing::Temporary(_)))
}

mod of_this_machine {
    //! The AD bit of a resolver that validates for us.

    use hickory_proto::op::{Message, OpCode, ResponseCode};
    use hickory_proto::rr::rdata::{A, CNAME, SOA};
    use hickory_proto::rr::{Name, RData, Record};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// The response to a query, by the first label of the name that is asked for.
    fn response(octets: &[u8], over_udp: bool) -> Vec<u8> {
        let query = Message::from_vec(octets).unwrap();
        assert!(query.authentic_data && query.recursion_desired);
        let asked = query.queries[0].name().clone();
        let mut message = Message::response(query.id, OpCode::Query);
        message.add_query(query.queries[0].clone());
        let a = |owner: &Name| Record::from_rdata(owner.clone(), 60, RData::A(A::new(192, 0, 2, 1)));
        match asked.to_ascii().split('.').next().unwrap() {
            "secure" => {
                message.metadata.authentic_data = true;
                let target = name("target.test.");
                message.add_answer(Record::from_rdata(asked, 30, RData::CNAME(CNAME(target.clone()))));
                message.add_answer(a(&target));
            }
            "long" if over_udp => message.metadata.truncation = true,
            "long" => {
                message.add_answer(a(&asked));
            }
            "none" => {
                message.metadata.authentic_data = true;
                message.metadata.response_code = ResponseCode::NXDomain;
                let soa = SOA::new(name("ns.test."), name("h.test."), 1, 1, 1, 1, 20);
                message.add_authority(Record::from_rdata(name("test."), 60, RData::SOA(soa)));
            }
            "loop" => {
                message.add_answer(Record::from_rdata(asked.clone(), 30, RData::CNAME(CNAME(asked))));
            }
            "strange" => message.metadata.id ^= 1,
            _ => {}
        }
        message.to_vec().unwrap()
    }

    #[tokio::test]
    async fn is_believed() {
        let (udp, tcp) = crate::zones::both().await;
        let address = udp.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                udp.send_to(&response(&buffer[..length], true), from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut buffer = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut buffer).await.unwrap();
                let octets = response(&buffer, false);
                stream.write_u16(octets.len() as u16).await.unwrap();
                stream.write_all(&octets).await.unwrap();
            }
        });
        let resolver = Resolver::new(settings(address, Validation::AdBit, None)).unwrap();
        let one = || v4(&["192.0.2.1"]);
        let secure = Records::new(one(), Proof::Secure, seconds(30)).via("target.test", Proof::Secure);
        assert_eq!(addresses(&resolver, "secure.test").await, Ok(secure));
        let long = Records::new(one(), Proof::Insecure, seconds(60));
        assert_eq!(addresses(&resolver, "long.test").await, Ok(long));
        let none = Missing::NxDomain { proof: Proof::Secure, ttl: seconds(20) };
        assert_eq!(addresses(&resolver, "none.test").await, Err(none));
        let empty = Missing::NoData { proof: Proof::Insecure, ttl: seconds(0) };
        assert_eq!(addresses(&resolver, "empty.test").await, Err(empty));
        assert_eq!(addresses(&resolver, "loop.test").await, Err(Missing::Temporary(Trouble::AliasLoop)));
        // A response to another query is none.
        assert_eq!(addresses(&resolver, "strange.test").await, Err(Missing::Temporary(Trouble::Timeout)));
    }
}
