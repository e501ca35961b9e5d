//! How connections are secured by what signed DNS and HTTPS hosts publish: a zone in Knot, with good, expired and forged
//! signatures; a Postfix that listens at the address of each host, with good certificates and others.

use std::net::{IpAddr, SocketAddr};

use mailwright_e2e::authority::Authority;
use mailwright_e2e::https::Https;
use mailwright_e2e::peers::knot::Knot;
use mailwright_e2e::peers::postfix::{Postfix, Service};
use mailwright_e2e::{System, succeed, wait_until};
use trace::Outcome::{self, Deferred, Delivered, Failed};

use super::{Sender, inbox, site, understood};

/// A domain, what becomes of mail for it, whether that was under TLS, and what the trace says of its policy or of what
/// went wrong.
const DOMAINS: &[(&str, Outcome, bool, &str)] = &[
    ("plain", Delivered, true, "opportunistic"),
    ("implicit", Delivered, true, "opportunistic"),
    ("dane", Delivered, true, "dane"),
    ("mismatch", Deferred, false, "matches no TLSA record"),
    // RFC 7671 §5.2: what vouches is published, and nobody else need trust it; nor does anybody else's word count.
    ("dane-ta", Delivered, true, "dane"),
    ("dane-ta-key", Delivered, true, "dane"),
    ("dane-ta-other", Deferred, false, "matches no TLSA record"),
    ("dane-ta-name", Deferred, false, "another host"),
    ("stripped", Deferred, false, "TLS is demanded, and the host offers none"),
    // rule 36: what is bogus is never taken for what is not there.
    ("expired", Deferred, false, ""),
    ("forged", Deferred, false, ""),
    ("tlsa-forged", Deferred, false, ""),
    ("null", Failed, false, ""),
    ("gone", Failed, false, ""),
    ("sts", Delivered, true, "mta-sts"),
    ("sts-other", Deferred, false, "another host"),
    ("sts-unlisted", Deferred, false, ""),
    ("sts-testing", Delivered, true, "opportunistic"),
    // rule 36: MTA-STS does not override DANE.
    ("sts-and-dane", Deferred, false, "matches no TLSA record"),
];

struct World {
    system: System,
    postfix: Postfix,
    _knot: Knot,
    policies: Vec<Https>,
    reports: Https,
}

/// The address of the host with this number.
fn address(third: u8, number: usize) -> IpAddr {
    IpAddr::from([127, 77, third, u8::try_from(number).unwrap() + 1])
}

impl World {
    fn new() -> Self {
        let system = System::relaying();
        let (folder, port) = site(&system, "world");
        let authority = Authority::new();
        authority.write(system.path("authority.pem").as_ref());
        let other = authority.certify(&folder, &["other.test"]);
        // An authority that is trusted by what the DNS says alone.
        let island = Authority::new();
        let misnamed = island.certify(&folder, &["misnamed.test"]);
        island.accompany(&misnamed);
        let (mut records, mut services, mut policies, mut domains) =
            (String::new(), Vec::new(), Vec::new(), String::new());
        for (number, (domain, ..)) in DOMAINS.iter().enumerate() {
            domains.push_str(&format!("{domain}.test "));
            match *domain {
                "null" => {
                    records.push_str("null MX 0 .\n");
                    continue;
                }
                "gone" => continue,
                "implicit" => records.push_str(&format!("implicit A {}\n", address(0, number))),
                _ => {
                    records.push_str(&format!("{domain} MX 10 mx.{domain}\nmx.{domain} A {}\n", address(0, number)));
                }
            }
            let name = format!("mx.{domain}.test");
            let issuer = if matches!(*domain, "dane-ta" | "dane-ta-key") { &island } else { &authority };
            let own = issuer.certify(&folder, &[&name]);
            issuer.accompany(&own);
            let shown = match *domain {
                "sts-other" | "sts-testing" => &other,
                "dane-ta-name" => &misnamed,
                _ => &own,
            };
            let level = if *domain == "stripped" { "none" } else { "may" };
            services.push(Service {
                place: SocketAddr::new(address(0, number), port),
                settings: vec![
                    format!("smtpd_tls_cert_file={}", shown.certificate.display()),
                    format!("smtpd_tls_key_file={}", shown.key.display()),
                    format!("smtpd_tls_security_level={level}"),
                ],
            });
            let tlsa = match *domain {
                "dane" | "tlsa-forged" | "stripped" => Some(("3 1 1", &own.tlsa)),
                "mismatch" | "sts-and-dane" => Some(("3 1 1", &other.tlsa)),
                "dane-ta" | "dane-ta-other" => Some(("2 0 1", &island.tlsa.0)),
                "dane-ta-key" | "dane-ta-name" => Some(("2 1 1", &island.tlsa.1)),
                _ => None,
            };
            if let Some((usage, tlsa)) = tlsa {
                records.push_str(&format!("_{port}._tcp.mx.{domain} TLSA {usage} {tlsa}\n"));
            }
            if domain.starts_with("sts") {
                let host = authority.certify(&folder, &[&format!("mta-sts.{domain}.test")]);
                let mode = if *domain == "sts-testing" { "testing" } else { "enforce" };
                let listed = if *domain == "sts-unlisted" { "mx.elsewhere.test" } else { &name };
                let policy = format!("version: STSv1\r\nmode: {mode}\r\nmx: {listed}\r\nmax_age: 86400\r\n");
                let place = address(1, number);
                policies.push(Https::serve(place, &host, &[("/.well-known/mta-sts.txt", &policy)]));
                records.push_str(&format!(
                    "_mta-sts.{domain} TXT \"v=STSv1; id=1;\"\nmta-sts.{domain} A {place}\n\
                     _smtp._tls.{domain} TXT \"v=TLSRPTv1; rua=https://reports.test/tls\"\n"
                ));
            }
        }
        let place = address(2, 0);
        records.push_str(&format!("reports A {place}\n"));
        let reports = Https::serve(place, &authority.certify(&folder, &["reports.test"]), &[]);
        let forged = ["mx.forged", &format!("_{port}._tcp.mx.tlsa-forged")];
        let knot = Knot::serve(&folder.join("knot"), &records, "", &["expired"], &forged);
        std::fs::write(system.path("anchor"), &knot.anchor).unwrap();
        system.set("dns", "servers", &format!("[\"{}\"]", knot.place));
        system.set("dns", "trust_anchor", "\"anchor\"");
        system.set("dns", "ca_file", "\"authority.pem\"");
        system.set("routing", "port", &port.to_string());
        system.set("delivery.retry", "first_seconds", "60");
        let postfix = Postfix::site(&folder.join("postfix"), &domains, &services, "myhostname = mail.test\n");
        Self { system, postfix, _knot: knot, policies, reports }
    }
}

#[test]
fn what_is_published_decides_how_mail_travels() {
    let world = World::new();
    let system = &world.system;
    let all = system.start("mailctl");
    let mut ann = Sender::ann(system);
    let send = |(domain, ..): &(&str, Outcome, bool, &str)| {
        ann.queue("<ann@example.test>", &[&format!("<x@{domain}.test>")], &format!("Subject: to {domain}\r\n\r\nx"))
    };
    let ids: Vec<String> = DOMAINS.iter().map(send).collect();
    let mut wrong = Vec::new();
    for ((domain, outcome, tls, words), id) in DOMAINS.iter().zip(&ids) {
        let attempt = wait_until("an attempt", || system.attempts(id).into_iter().next());
        let said = format!("{:?} {:?}", attempt.policy, attempt.trouble);
        if attempt.outcome != *outcome || attempt.tls.is_some() != *tls || !said.contains(words) {
            wrong.push(format!("{domain}: {attempt:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", world.postfix.log());
    // Nothing came in clear where that is not allowed, nor in any other way.
    let mail = wait_until("all that is delivered", || {
        let delivered = DOMAINS.iter().filter(|(_, outcome, ..)| *outcome == Delivered).count();
        Some(world.postfix.mail()).filter(|mail| mail.len() >= delivered)
    });
    for (domain, outcome, ..) in DOMAINS {
        let found = mail.iter().filter(|message| message.contains(&format!("Subject: to {domain}\n"))).count();
        assert_eq!(found, usize::from(*outcome == Delivered), "{domain}");
    }
    // RFC 7505 §4.1: no mail is taken there.
    let reports: Vec<String> = inbox(system, "ann").iter().map(|report| understood(report)).collect();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(
        reports.iter().any(|report| report.contains("x@null.test") && report.contains("Status: 5.1.10")),
        "{reports:?}"
    );
    assert!(
        reports.iter().any(|report| report.contains("x@gone.test") && report.contains("Status: 5.1.2")),
        "{reports:?}"
    );
    // Each policy was fetched once.
    assert!(world.policies.iter().all(|host| host.heard().len() == 1));
    assert!(all.stop());

    // What was seen of TLS is told on the next day, to those who ask for it (RFC 8460).
    let tallies = system.room("tls-rpt");
    let of = |domain: &str| {
        let found = tallies.iter().find(|(key, _)| key.ends_with(&format!(" {domain}.test")));
        found.map_or("", |(_, tally)| tally.as_str())
    };
    for (domain, expected) in [
        ("dane", "\"total-successful-session-count\":1"),
        ("mismatch", "tlsa-invalid"),
        ("stripped", "starttls-not-supported"),
        ("tlsa-forged", "dnssec-invalid"),
        ("sts", "\"total-successful-session-count\":1"),
        ("sts-other", "certificate-host-mismatch"),
        ("sts-unlisted", "validation-failure"),
        ("sts-testing", "certificate-host-mismatch"),
    ] {
        assert!(of(domain).contains(expected), "{domain}: {} in {tallies:#?}", of(domain));
    }
    // That day is over.
    let day: u32 = of("sts").split_once("\"day\":").unwrap().1.split(',').next().unwrap().parse().unwrap();
    let past: Vec<(String, String)> = tallies
        .iter()
        .map(|(key, tally)| {
            let (_, domain) = key.split_once(' ').unwrap();
            (format!("0 {domain}"), tally.replace(&format!("\"day\":{day}"), &format!("\"day\":{}", day - 1)))
        })
        .collect();
    system.replace_room("tls-rpt", &past);
    let all = system.start("mailctl");
    let asked = DOMAINS.iter().filter(|(domain, ..)| domain.starts_with("sts")).count();
    let posted = wait_until("the reports", || Some(world.reports.heard()).filter(|heard| heard.len() >= asked));
    for request in &posted {
        assert_eq!(request.line, "POST /tls");
        assert_eq!(request.fields["content-type"], "application/tlsrpt+gzip");
        let file = system.client_path("report.gz");
        std::fs::write(&file, &request.body).unwrap();
        let report = succeed(
            "python3",
            &[
                "-c",
                "import gzip, json, sys; r = json.load(gzip.open(sys.argv[1])); \
            print(r['organization-name'], r['policies'][0]['policy']['policy-domain'])",
                &file,
            ],
            "",
        );
        assert!(report.starts_with("mx.example.test sts") || report.starts_with("mx.example.test mx.sts"), "{report}");
    }
    assert!(all.stop());
    assert!(system.room("tls-rpt").iter().all(|(key, _)| !key.starts_with("0 ")), "{:?}", system.room("tls-rpt"));
}
