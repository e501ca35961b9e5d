//! The examples, run.

#[path = "../../examples/deliver_securely.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod deliver_securely;
#[path = "../../examples/embed_store.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod embed_store;
#[path = "../../examples/imap_list.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod imap_list;
#[path = "../../examples/parse_smtp_line.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod parse_smtp_line;
#[path = "../../examples/salvage.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod salvage;
#[path = "../../examples/smtp_sink.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod smtp_sink;
#[path = "../../examples/where_does_mail_go.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod where_does_mail_go;
#[path = "../../examples/where_mail_goes.rs"]
#[expect(dead_code, reason = "its main is an example's")]
mod where_mail_goes;

mod securely;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Plays one side of a conversation: `C:` is sent, `S:` must come, up to where the expected line ends.
async fn play(stream: TcpStream, script: &str, we_send: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    for line in script.lines() {
        let (side, text) = line.split_at(3);
        if side == we_send {
            stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        } else {
            let mut received = String::new();
            stream.read_line(&mut received).await?;
            assert!(received.starts_with(text), "expected {text:?}, got {received:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_index_is_rebuilt() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    salvage::trouble(folder.path()).await?;
    assert!(salvage::run(folder.path())?.contains("1 messages in their mailboxes"));
    Ok(())
}

#[test]
fn a_line_is_parsed_or_answered() {
    assert!(parse_smtp_line::describe("MAIL FROM:<a@client.example> SIZE=5").contains("Mail"));
    assert!(parse_smtp_line::describe("RCPT TO:<bob@@example>").contains("501"));
}

#[tokio::test]
async fn the_sink_takes_mail_and_is_short() {
    assert!(include_str!("../../examples/smtp_sink.rs").lines().count() < 60);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sink = tokio::spawn(smtp_sink::serve(listener));
    let script = "S: 220 sink.example\nC: HELO client.example\nS: 250 sink.example\n\
        C: MAIL FROM:<a@client.example>\nS: 250 2.1.0\nC: RCPT TO:<b@sink.example>\nS: 250 2.1.5\nC: DATA\nS: 354 \n\
        C: Subject: x\nC: \nC: x\nC: .\nS: 250 2.0.0\nC: QUIT\nS: 221 ";
    play(TcpStream::connect(address).await.unwrap(), script, "C: ").await.unwrap();
    sink.abort();
}

#[tokio::test]
async fn a_mailbox_is_listed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let script = "S: * OK ready\nC: m1 LOGIN \"ann@example.org\" \"secret\"\nS: m1 OK in\nC: m2 EXAMINE \"INBOX\"\n\
            S: * 1 EXISTS\nS: m2 OK [READ-ONLY] selected\nC: m3 FETCH 1:* (UID ENVELOPE)\n\
            S: * 1 FETCH (UID 7 ENVELOPE (NIL \"=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\" ((NIL NIL \"bob\" \"example.net\")) NIL NIL NIL NIL NIL NIL NIL))\n\
            S: m3 OK done\nC: m4 LOGOUT\nS: * BYE\nS: m4 OK out";
        play(listener.accept().await.unwrap().0, script, "S: ").await.unwrap();
    });
    let lines = imap_list::list(&address, "ann@example.org", "secret", "INBOX").await.unwrap();
    assert_eq!(lines, ["1 (UID 7): Gr\u{fc}\u{df}e \u{2014} bob@example.net"]);
    server.await.unwrap();
}

#[tokio::test]
async fn what_is_stored_is_there_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(embed_store::run(directory.path()).await.unwrap().len(), 1);
    let lines = embed_store::run(directory.path()).await.unwrap();
    let line = "octets, flagged, \"At noon?\"; begins with Return-Path: <bob@example.net>";
    assert!(lines.len() == 2 && lines.iter().all(|found| found.ends_with(line)), "{lines:?}");
}

/// A name server that knows no name, with AD set: the query comes back as a response, NXDOMAIN.
#[tokio::test]
async fn mail_for_nobody_goes_nowhere() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut message = [0; 4096];
        while let Ok((length, from)) = server.recv_from(&mut message).await {
            (message[2], message[3]) = (0x81, 0xa3);
            server.send_to(&message[..length], from).await.unwrap();
        }
    });
    let names = net::ResolverSettings {
        servers: vec![address],
        validation: net::Validation::AdBit,
        ..net::ResolverSettings::default()
    };
    let plan = where_mail_goes::plan("nobody.example", names).await.unwrap();
    assert!(plan.starts_with("5.1.2 "), "{plan}");
}

#[test]
fn a_plan_comes_from_canned_answers() {
    assert_eq!(where_does_mail_go::first_host("example.com").unwrap(), "mx.example.com opportunistic");
    assert!(include_str!("../../examples/where_does_mail_go.rs").lines().count() <= 30);
}
