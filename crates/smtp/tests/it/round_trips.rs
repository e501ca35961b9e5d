//! How many round trips messages cost, and what a transaction asks of RCPT.

use std::sync::Arc;
use std::time::Duration;

use smtp::client::{Client, ClientConfig, ClientMode, Event, Told};
use smtp::server::{Config, Mode};
use smtp::{ByMode, DeliverBy, HelloName, MailParameters, Notify};

use crate::application::serve;
use crate::drive::Driven;
use crate::smtp;
use crate::transcripts::transaction;

fn client(config: ClientConfig) -> Driven<Client<Vec<u8>>> {
    Driven::new(|now| Client::new(Arc::new(config), now), |body| body, |_: &Event| None)
}

fn config() -> ClientConfig {
    ClientConfig::new(ClientMode::Smtp, HelloName::try_from("client.example").expect("a name"))
}

/// Our client against our server over a line with a long way: what one side says arrives when it is silent. Gives the
/// flights of the client after EHLO.
fn flights(config: ClientConfig, messages: usize) -> usize {
    let (mut server, got) = serve(Config::new(Mode::Smtp, "mx.example"));
    let mut client = client(config);
    server.run();
    client.feed(&server.take_sent());
    server.feed(&client.take_sent());
    client.feed(&server.take_sent());
    assert_eq!(client.said(), "");
    for _ in 0..messages {
        let body = b"Subject: x\r\n\r\n.text\r\n".to_vec();
        let parameters = MailParameters::default();
        client.tell(Told::Send(Box::new(transaction("a@b.example", "c@d.example,e@f.example", parameters, body))));
    }
    let mut flights = 0;
    loop {
        let up = client.take_sent();
        if up.is_empty() {
            break;
        }
        flights += 1;
        server.feed(&up);
        client.feed(&server.take_sent());
    }
    assert_eq!(got.borrow().messages.len(), messages);
    assert!(got.borrow().messages.iter().all(|message| message.content.ends_with(b"\r\n.text\r\n")));
    flights
}

#[test]
fn messages_cost_no_more_round_trips_than_they_must() {
    // MAIL, RCPT and BDAT LAST with the content in one flight.
    assert_eq!(flights(config(), 1), 1);
    assert_eq!(flights(config(), 10), 10);
    // MAIL, RCPT and DATA; then the content, and behind it the same of the next.
    let data = ClientConfig { chunking: false, ..config() };
    assert_eq!(flights(data.clone(), 1), 2);
    assert_eq!(flights(data.clone(), 10), 11);
    assert_eq!(flights(ClientConfig { pipeline_transactions: false, ..data }, 10), 20);
}

#[test]
fn large_content_waits_for_a_recipient() {
    for (octets, at_once) in [(128 << 10, true), ((128 << 10) + 1, false)] {
        let mut client = client(config());
        client.feed(b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
        client.log.clear();
        let body = vec![b'x'; octets];
        client.tell(Told::Send(Box::new(transaction("a@b.example", "c@d.example", MailParameters::default(), body))));
        assert_eq!(client.said().contains("BDAT"), at_once);
        client.feed(b"250 ok\r\n550 no\r\n");
        assert_eq!(client.said(), "", "nobody wants it");
    }
    // In LMTP the number of replies is known when RCPT has been answered.
    let mut client = client(ClientConfig { mode: ClientMode::Lmtp, ..config() });
    client.feed(b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
    client.log.clear();
    let body = b"x".to_vec();
    client.tell(Told::Send(Box::new(transaction("a@b.example", "c@d.example", MailParameters::default(), body))));
    assert!(!client.said().contains("BDAT"));
}

#[test]
fn a_refused_chunk_is_followed_by_rset_where_a_transaction_was_open() {
    for (replies, rset) in [
        ("250 ok\r\n250 ok\r\n250 ok\r\n", false),
        ("250 ok\r\n250 ok\r\n552 full\r\n", true),
        ("250 ok\r\n550 no\r\n554 no valid recipients\r\n", true),
        ("550 no\r\n503 no\r\n503 no\r\n", false),
    ] {
        let mut client = client(config());
        client.feed(b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
        for _ in 0..2 {
            let parameters = MailParameters::default();
            client.tell(Told::Send(Box::new(transaction("a@b.example", "c@d.example", parameters, b"x".to_vec()))));
        }
        client.log.clear();
        client.feed(replies.as_bytes());
        assert_eq!(client.said().starts_with("RSET\r\n"), rset, "{replies}");
    }
}

/// RFC 2852 §4.1.4.2: where BY cannot go on, NOTIFY asks for DELAY.
#[test]
fn a_lost_by_asks_for_delay() {
    let by = |seconds| DeliverBy::new(seconds, ByMode::Notify, false).ok();
    let failure = Notify { failure: true, ..Notify::default() };
    for (offers, deliver_by, notify, expected) in [
        ("250 DSN", by(60), None, " NOTIFY=FAILURE,DELAY"),
        ("250 DSN", by(60), Some(failure), " NOTIFY=FAILURE,DELAY"),
        ("250 DSN", by(60), Some(Notify::default()), " NOTIFY=NEVER"),
        ("250 DSN", by(-1), None, ""),
        ("250 DSN", None, None, ""),
        ("250-DELIVERBY\r\n250 DSN", by(60), None, ""),
        ("250 HELP", by(60), None, ""),
    ] {
        let mut client = client(config());
        client.feed(format!("220 x\r\n250-x\r\n{offers}\r\n").as_bytes());
        let parameters = MailParameters { deliver_by, ..MailParameters::default() };
        let mut message = transaction("a@b.example", "c@d.example", parameters, b"x".to_vec());
        message.recipients[0].1.notify = notify;
        client.tell(Told::Send(Box::new(message)));
        client.log.clear();
        client.feed(b"250 ok\r\n");
        assert_eq!(client.said(), format!("RCPT TO:<c@d.example>{expected}\r\n"), "{offers} {deliver_by:?} {notify:?}");
    }
}

/// RFC 8689 §5: a report of failure goes on without REQUIRETLS.
#[test]
fn a_report_is_not_lost_over_requiretls() {
    let mut client = client(config());
    client.feed(b"220 x\r\n250 x\r\n");
    client.log.clear();
    let parameters = MailParameters { require_tls: true, ..MailParameters::default() };
    client.tell(Told::Send(Box::new(transaction("", "c@d.example", parameters, b"x".to_vec()))));
    assert_eq!(client.said(), "MAIL FROM:<>\r\n");
    client.pass(Duration::from_secs(1));
}
