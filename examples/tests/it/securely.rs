//! The example that delivers to whoever proves by DANE who it is.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use net::{CertificateFiles, Certificates, Driving, ResolverSettings, TlsRole, Validation};
use smtp::server::{Config, Mode, Server};
use tokio::net::{TcpListener, UdpSocket};

use crate::{deliver_securely, smtp_sink};

/// A name server with AD set, as one that validates has it: `relay.test`, whose mail server has these TLSA records.
async fn name_server(port: u16, tlsa: Vec<u8>) -> SocketAddr {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut message = [0; 4096];
        while let Ok((length, from)) = server.recv_from(&mut message).await {
            let answer = answer(&message[..length], port, &tlsa);
            server.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

fn answer(query: &[u8], port: u16, tlsa: &[u8]) -> Vec<u8> {
    let mut name = String::new();
    let mut at = 12;
    while query[at] > 0 {
        let label = &query[at + 1..at + 1 + usize::from(query[at])];
        name.push_str(&String::from_utf8_lossy(label).to_lowercase());
        name.push('.');
        at += label.len() + 1;
    }
    let kind = query[at + 2];
    let question = &query[12..at + 5];
    let found = match (name.as_str(), kind) {
        ("relay.test.", 15) => Some([&[0, 10][..], b"\x02mx\x05relay\x04test\0"].concat()),
        ("mx.relay.test.", 1) => Some(vec![127, 0, 0, 1]),
        (name, 52) if name == format!("_{port}._tcp.mx.relay.test.") => Some(tlsa.to_vec()),
        _ => None,
    };
    let exists = found.is_some() || matches!(name.as_str(), "relay.test." | "mx.relay.test.");
    let mut out = query[..2].to_vec();
    // QR, RD; RA, AD, and NXDOMAIN where there is no such name.
    out.extend([0x81, if exists { 0xa0 } else { 0xa3 }, 0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]);
    out.extend(question);
    if let Some(data) = found {
        out.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    out
}

/// A sink with STARTTLS and a certificate that nobody has signed; its port, and its public key.
async fn sink() -> (u16, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["mx.relay.test".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = CertificateFiles { certificate, key, names: vec!["mx.relay.test".into()] };
    let tls = Certificates::load(&[files]).unwrap().config();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut config = Config::new(Mode::Smtp, "mx.relay.test");
        config.starttls = true;
        let config = Arc::new(config);
        while let Ok((stream, _)) = listener.accept().await {
            let session = Server::new(Arc::clone(&config), Instant::now());
            let driving = Driving { tls: Some(TlsRole::Server(Arc::clone(&tls))), ..Driving::undrained() };
            tokio::spawn(net::drive(stream.into(), session, smtp_sink::Sink::default(), driving));
        }
    });
    (port, rcgen::PublicKeyData::subject_public_key_info(&made.signing_key))
}

async fn deliver(port: u16, tlsa: Vec<u8>) -> anyhow::Result<String> {
    let names = ResolverSettings {
        servers: vec![name_server(port, tlsa).await],
        validation: Validation::AdBit,
        ..ResolverSettings::default()
    };
    let mut settings = routing::Settings::default();
    settings.reach.private_targets.push("127.0.0.0/8".parse().unwrap());
    let message = "Subject: x\r\n\r\nx\r\n".into();
    deliver_securely::deliver("ann@example.org", "bob@relay.test", message, names, port, settings).await
}

#[tokio::test]
async fn only_who_proves_by_dane_who_it_is_gets_the_message() {
    let (port, key) = sink().await;
    // RFC 6698 §2.1: DANE-EE, the public key, as it stands.
    let record = |key: &[u8]| [&[3, 1, 0], key].concat();
    let said = deliver(port, record(&key)).await.unwrap();
    assert!(said.starts_with("mx.relay.test: 250 "), "{said}");
    let mut other = key.clone();
    *other.last_mut().unwrap() ^= 1;
    let failed = deliver(port, record(&other)).await.unwrap_err().to_string();
    assert!(failed.starts_with("nothing was sent"), "{failed}");
    let failed = deliver(port, vec![0, 0]).await.unwrap_err().to_string();
    assert!(!failed.is_empty());
}
