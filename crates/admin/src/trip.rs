//! The trip of a real message: submitted with TLS and AUTH, read back by IMAP and by POP3.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use wire::Secret;

use crate::remote::{ClientTls, Remote};

/// Who sends what to whom, and where.
#[derive(Clone, Debug)]
pub struct Trip<'a> {
    /// The sender's address and password.
    pub sender: (&'a str, &'a str),
    /// The recipient's.
    pub recipient: (&'a str, &'a str),
    /// The submission port (STARTTLS).
    pub submission: SocketAddr,
    /// The IMAP port under TLS.
    pub imaps: SocketAddr,
    /// The POP3 port under TLS.
    pub pop3s: SocketAddr,
    /// The server's certificate, which is trusted because it is ours.
    pub certificate: &'a Path,
    /// The name the certificate is for.
    pub hostname: &'a str,
}

/// Makes the trip; `say` is told each step when it is done, with the milliseconds it took.
///
/// # Errors
/// The step that failed, and why.
pub async fn trip(trip: &Trip<'_>, mut say: impl FnMut(&str, u128)) -> Result<(), String> {
    let tls = client_tls(trip.certificate, trip.hostname)?;
    let stamp = jiff::Timestamp::now().as_nanosecond();
    let subject = format!("Mailwright says hello ({stamp})");
    let message = format!(
        "From: <{}>\r\nTo: <{}>\r\nSubject: {subject}\r\n\r\nThis message went all the way: submission, mailbox, IMAP, POP3.\r\n",
        trip.sender.0, trip.recipient.0
    );
    let start = Instant::now();
    let reply = submit(trip, &tls, Bytes::from(message)).await.map_err(|error| format!("submission: {error}"))?;
    say(&format!("submitted over TLS with AUTH: {reply}"), start.elapsed().as_millis());
    let start = Instant::now();
    let exists = by_imap(trip, &tls, &subject).await.map_err(|error| format!("IMAP: {error}"))?;
    say(&format!("found in the mailbox over IMAP: {exists}"), start.elapsed().as_millis());
    let start = Instant::now();
    let octets = by_pop3(trip, &tls, &subject).await.map_err(|error| format!("POP3: {error}"))?;
    say(&format!("read over POP3: {octets} octets, as they were sent"), start.elapsed().as_millis());
    Ok(())
}

fn client_tls(certificate: &Path, hostname: &str) -> Result<ClientTls, String> {
    let mut roots = RootCertStore::empty();
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", certificate.display());
    for found in CertificateDer::pem_file_iter(certificate).map_err(|error| wrong(&error))? {
        roots.add(found.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(hostname.to_owned()).map_err(|error| error.to_string())?;
    Ok(ClientTls { config: Arc::new(config), name })
}

async fn submit(trip: &Trip<'_>, tls: &ClientTls, message: Bytes) -> Result<String, String> {
    use smtp::client::{Client, ClientConfig, ClientMode, Event, StartTls, Told, Transaction};
    let name = smtp::HelloName::try_from("localhost").map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(ClientMode::Smtp, name);
    config.starttls = StartTls::Required;
    let config = Arc::new(config);
    let mut remote =
        Remote::<Client<Bytes>>::connect(trip.submission, tls, false, |now| Client::new(config, now)).await?;
    let reverse_path = address::ReversePath::parse(trip.sender.0).map_err(|error| error.to_string())?;
    let forward_path = address::ForwardPath::parse(trip.recipient.0).map_err(|error| error.to_string())?;
    loop {
        match remote.next().await? {
            Event::Ready(ready) => {
                if ready.tls.is_none() {
                    return Err("the connection is not under TLS".into());
                }
                let secret = format!("\0{}\0{}", trip.sender.0, trip.sender.1);
                let mechanism = smtp::Mechanism::try_from("PLAIN").map_err(|error| error.to_string())?;
                remote.tell(Told::Authenticate { mechanism, initial_response: Some(Secret::new(secret)) });
            }
            Event::Authenticated(_) => {
                remote.tell(Told::Send(Box::new(Transaction {
                    reverse_path: reverse_path.clone(),
                    parameters: smtp::MailParameters::default(),
                    recipients: vec![(forward_path.clone(), smtp::RcptParameters::default())],
                    octets: message.len() as u64,
                    body: message.clone(),
                })));
            }
            Event::AuthenticationFailed(reply) => {
                return Err(format!("AUTH failed: {}", reply.map(|reply| reply.to_string()).unwrap_or_default()));
            }
            Event::Sent(outcome) => {
                remote.tell(Told::Quit);
                if let Some(failure) = outcome.failure {
                    return Err(failure.to_string());
                }
                let answer = outcome.recipients.into_iter().next().flatten().ok_or("no answer")?;
                if !answer.reply.is_positive() {
                    return Err(answer.reply.to_string());
                }
                return Ok(answer.reply.to_string());
            }
            Event::Challenge(_) => remote.tell(Told::CancelAuthentication),
            Event::Closed(Err(failure)) => return Err(failure.to_string()),
            Event::Closed(Ok(())) => return Err("closed too early".into()),
        }
    }
}

async fn by_imap(trip: &Trip<'_>, tls: &ClientTls, subject: &str) -> Result<String, String> {
    use imap::client::{Client, Config, Event, Told, quoted};
    use imap::parse::{Response, StatusKind, Value};
    type ImapClient = Client<std::convert::Infallible>;
    let mut remote =
        Remote::<ImapClient>::connect(trip.imaps, tls, true, |now| Client::new(Config::default(), now)).await?;
    let login = |(user, password): (&str, &str)| {
        Some([b"LOGIN ".as_slice(), &quoted(user)?, b" ", &quoted(password)?].concat())
    };
    let login = login(trip.recipient).ok_or("a user name that needs a literal")?;
    let search = format!("UID SEARCH SUBJECT \"{subject}\"");
    let mut commands =
        vec![login, b"SELECT INBOX".to_vec(), search.into_bytes(), b"UID FETCH * (ENVELOPE BODY.PEEK[TEXT])".to_vec()]
            .into_iter();
    let (mut exists, mut found, mut text) = (0, false, false);
    loop {
        match remote.next().await? {
            Event::Ready(_) => {
                if let Some(command) = commands.next() {
                    remote.tell(Told::Command(command, Vec::new()));
                }
            }
            Event::Response(Response::Data { number: Some(number), name, .. }) if name == "EXISTS" => exists = number,
            Event::Response(Response::Data { name, values, .. }) if name == "SEARCH" => found = !values.is_empty(),
            Event::Response(Response::Data { name, values, .. }) if name == "FETCH" => {
                let held = |value: &Value| value.text().is_some_and(|text| text.contains("went all the way"));
                text |= values.first().is_some_and(|items| items.list().iter().any(held));
            }
            Event::Response(_) => {}
            Event::Done { kind: StatusKind::Ok, .. } => match commands.next() {
                Some(command) => remote.tell(Told::Command(command, Vec::new())),
                None => {
                    remote.tell(Told::Quit);
                    return match (found, text) {
                        (true, true) => Ok(format!("{exists} messages in INBOX")),
                        (false, _) => Err("SEARCH does not find the message".into()),
                        (true, false) => Err("FETCH does not give the text".into()),
                    };
                }
            },
            Event::Done { text, .. } => return Err(text),
            Event::Closed(Err(failure)) => return Err(failure.to_string()),
            Event::Closed(Ok(())) => return Err("closed too early".into()),
        }
    }
}

async fn by_pop3(trip: &Trip<'_>, tls: &ClientTls, subject: &str) -> Result<u64, String> {
    use pop3::client::{Client, ClientConfig, Event, Told};
    let config = Arc::new(ClientConfig::default());
    let mut remote = Remote::<Client>::connect(trip.pop3s, tls, true, |now| Client::new(config, now)).await?;
    let user = pop3::UserName::try_from(trip.recipient.0).map_err(|error| error.to_string())?;
    let password = pop3::Password::try_from(trip.recipient.1.as_bytes()).map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    loop {
        match remote.next().await? {
            Event::Ready { .. } => remote.tell(Told::Login { user: user.clone(), password: password.clone() }),
            Event::LoggedIn(_) => remote.tell(Told::Stat),
            Event::Stat { messages, .. } => {
                let last = usize::try_from(messages).ok().and_then(|messages| messages.checked_sub(1));
                let last = last.and_then(pop3::MessageNumber::from_index).ok_or("the maildrop is empty")?;
                remote.tell(Told::Retrieve(last));
            }
            Event::Content(octets) => {
                content.extend_from_slice(&octets);
                remote.tell(Told::More);
            }
            Event::ContentEnd { octets } => {
                remote.tell(Told::Quit);
                let text = String::from_utf8_lossy(&content);
                if !text.contains(subject) || !text.contains("went all the way") {
                    return Err("the last message is another".into());
                }
                return Ok(octets);
            }
            Event::LoginFailed(response) => {
                return Err(format!("login failed: {}", response.map(|r| r.text().to_owned()).unwrap_or_default()));
            }
            Event::Refused(response) => return Err(response.text().to_owned()),
            Event::Closed(Err(error)) => return Err(error.to_string()),
            Event::Closed(Ok(())) => return Err("closed too early".into()),
            _ => {}
        }
    }
}
