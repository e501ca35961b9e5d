//! REQUIRETLS (RFC 8689): a next hop that offers it is told of it, one that does not gets nothing. Debian's mail systems do
//! not know it, so the one that does is another of ours.

use std::net::SocketAddr;

use mailwright_e2e::authority::Authority;
use mailwright_e2e::peers::knot::Knot;
use mailwright_e2e::peers::postfix::{Postfix, Service};
use mailwright_e2e::{System, succeed, wait_until};
use queue::envelope::RequireTls;
use trace::Outcome;

use super::{inbox, site, understood};

/// Submits a message of Ann's with REQUIRETLS, as Python's mail library does; its queue id.
fn submit(system: &System, recipient: &str) -> String {
    let program = "import smtplib, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP_SSL('127.0.0.1', int(sys.argv[1]), context=context) as server:
    server.login('ann@example.test', 'ann-secret')
    assert server.mail('ann@example.test', ['REQUIRETLS'])[0] == 250
    assert server.rcpt(sys.argv[2])[0] == 250
    print(server.data('From: ann@example.test\\r\\nSubject: secret\\r\\n\\r\\nx')[1].decode())
";
    let told = succeed("python3", &["-c", program, &system.port(465).to_string(), recipient], "");
    told.trim().split_once("2.0.0 queued as ").unwrap().1.to_owned()
}

#[test]
fn a_demand_for_tls_goes_on_or_the_message_comes_back() {
    let (system, next) = (System::relaying(), System::relaying());
    let (folder, _) = site(&system, "requiretls");
    let authority = Authority::new();
    authority.write(system.path("authority.pem").as_ref());
    let port = next.port(25);

    // One of ours, which forwards what it takes to where it cannot go now.
    let own = authority.certify(&folder, &["mx.willing.test"]);
    next.set("tls", "certificate", &format!("\"{}\"", own.certificate.display()));
    next.set("tls", "key", &format!("\"{}\"", own.key.display()));
    next.mailctl(&["domain", "add", "willing.test"], "");
    next.mailctl(&["alias", "add", "x@willing.test", "x@elsewhere.test"], "");
    let willing = next.start("mailctl");
    // A Postfix, whose certificate is as good.
    let own = authority.certify(&folder, &["mx.unwilling.test"]);
    let service = Service {
        place: SocketAddr::new([127, 77, 6, 1].into(), port),
        settings: vec![
            format!("smtpd_tls_cert_file={}", own.certificate.display()),
            format!("smtpd_tls_key_file={}", own.key.display()),
            "smtpd_tls_security_level=may".to_owned(),
        ],
    };
    let postfix =
        Postfix::site(&folder.join("postfix"), "unwilling.test", &[service], "myhostname = mx.unwilling.test\n");

    // Signed, so that the names of the hosts are sure (RFC 8689 §4.2.1).
    let records = "willing MX 10 mx.willing\nmx.willing A 127.0.0.1\n\
                   unwilling MX 10 mx.unwilling\nmx.unwilling A 127.77.6.1\n";
    let knot = Knot::serve(&folder.join("knot"), records, "", &[], &[]);
    std::fs::write(system.path("anchor"), &knot.anchor).unwrap();
    system.set("dns", "servers", &format!("[\"{}\"]", knot.place));
    system.set("dns", "trust_anchor", "\"anchor\"");
    system.set("dns", "ca_file", "\"authority.pem\"");
    system.set("routing", "port", &port.to_string());
    let all = system.start("mailctl");

    let id = submit(&system, "x@willing.test");
    let attempt = system.wait_for(&id, Outcome::Delivered, 1);
    assert!(attempt.tls.is_some(), "{attempt:?}");
    let waiting = wait_until("the message at the next hop", || next.queue().pop());
    assert_eq!(waiting.address, "x@elsewhere.test");
    assert_eq!(next.envelope(&waiting.queue_id).require_tls, RequireTls::Yes);

    let id = submit(&system, "x@unwilling.test");
    system.wait_for(&id, Outcome::Failed, 1);
    let report = wait_until("the report", || inbox(&system, "ann").pop());
    assert!(understood(&report).contains("Status: 5.7.30"), "{report}");
    assert!(postfix.mail().is_empty(), "{}", postfix.log());
    assert!(all.stop() && willing.stop());
}
