//! A policy hook on another host: by HTTPS alone, and only to the host that its name and our authority vouch for; what it
//! is told of the client's name, which is looked up in Knot.

use mailwright_e2e::authority::Authority;
use mailwright_e2e::https::Https;
use mailwright_e2e::peers::knot::Knot;
use mailwright_e2e::{Conversation, System};

use super::{Sender, inbox, site};

const ANSWER: &str = r#"{"action":"continue","add_header":[{"name":"X-Policy","value":"seen"}]}"#;

#[test]
fn a_hook_by_https_is_asked_if_its_certificate_is_good() {
    let system = System::relaying();
    let (folder, _) = site(&system, "hooks");
    let authority = Authority::new();
    authority.write(system.path("authority.pem").as_ref());
    let good = authority.certify(&folder, &["policy.test"]);
    let stranger = Authority::new().certify(&folder, &["strange.test"]);
    let mut hosts = Vec::new();
    let mut records = "client A 192.0.2.7\n".to_owned();
    for (number, (name, shown, listener)) in
        [("policy", &good, "smtp"), ("other", &good, "submission"), ("strange", &stranger, "lmtp")]
            .into_iter()
            .enumerate()
    {
        let address = [127, 77, 5, u8::try_from(number).unwrap() + 1];
        hosts.push(Https::serve(address.into(), shown, &[("/judge", ANSWER)]));
        records.push_str(&format!("{name} A {}\n", std::net::IpAddr::from(address)));
        system.append(&format!(
            "[[hook]]\nname = \"{name}\"\nurl = \"https://{name}.test/judge\"\nlisteners = [\"{listener}\"]"
        ));
    }
    let knot = Knot::serve(&folder.join("knot"), &records, "7 PTR Client.test.\n", &[], &[]);
    system.set("dns", "servers", &format!("[\"{}\"]", knot.place));
    system.set("dns", "ca_file", "\"authority.pem\"");
    system.set("smtp", "xclient_networks", "[\"127.0.0.1/32\"]");
    let all = system.start("mailctl");

    let content = "Subject: judged\r\n\r\nx";
    let mut client = Sender::at(system.port(25));
    client.0.ask("XCLIENT ADDR=192.0.2.7", &["220 "]);
    client.0.ask("EHLO client.test", &["250 "]);
    let answer = client.send("<x@client.test>", &["<bob@example.test>"], content);
    assert!(answer.starts_with("250"), "{answer}\n{}", all.log());
    let taken = inbox(&system, "bob").pop().unwrap();
    assert!(taken.contains("\r\nX-Policy: seen\r\n"), "{taken}");
    let heard = hosts[0].heard();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].line.as_str(), heard[0].fields["content-type"].as_str()), ("POST /judge", "application/json"));
    let asked = String::from_utf8_lossy(&heard[0].body);
    for expected in [
        r#""stage":"message""#,
        r#""address":"192.0.2.7""#,
        r#""name":"client.test""#,
        r#""sender":"x@client.test""#,
        r#"{"name":"Subject","value":"judged"}"#,
    ] {
        assert!(asked.contains(expected), "{expected}: {asked}");
    }

    // A certificate for another name, and one of an authority that nobody knows: nothing is said to them.
    let from_ann = format!("From: ann@example.test\r\n{content}");
    let answer = Sender::ann(&system).send("<ann@example.test>", &["<bob@example.test>"], &from_ann);
    assert!(answer.starts_with("451 4.7.1 "), "{answer}");
    let mut lmtp = Conversation::with(system.port(24));
    lmtp.hear(&["220 "]);
    for (line, ending) in [
        ("LHLO client.test", "250 "),
        ("MAIL FROM:<>", "250 "),
        ("RCPT TO:<bob@example.test>", "250 "),
        ("DATA", "354 "),
    ] {
        lmtp.ask(line, &[ending]);
    }
    lmtp.ask(&format!("{content}\r\n."), &["451 4.7.1 "]);
    assert!(hosts[1..].iter().all(|host| host.heard().is_empty()));
    let log = all.log();
    for (name, why) in
        [("other", "certificate is for another host"), ("strange", "certificate is not from a trusted CA")]
    {
        let told = |line: &str| line.contains("hook failed") && line.contains(name) && line.contains(why);
        assert!(log.lines().any(told), "{name}: {log}");
    }
    assert_eq!(inbox(&system, "bob").len(), 1);
    assert!(all.stop());
}
