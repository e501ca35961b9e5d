//! A milter and a policy service that do as the test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use milter::{Actions, Command, Framer, Options, Response, Steps};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::filter::{
    Address, Decision, Facts, FilterSession, Filters, HookSettings, Mail, MilterSettings, Rcpt, Settings, Verdict,
};

/// What a played milter does when it hears a command that is to be answered.
pub(crate) enum Does {
    Answers(Vec<Response>),
    Writes(Vec<u8>),
    Hangs,
    HangsUp,
}

pub(crate) fn go() -> Does {
    Does::Answers(vec![Response::Continue])
}

/// A milter on a port of loopback, and all it has heard, connection by connection.
pub(crate) struct PlayedMilter {
    pub(crate) address: Address,
    pub(crate) heard: Arc<Mutex<Vec<Command>>>,
    /// A permit for each connection that has ended.
    ended: Arc<Semaphore>,
}

impl PlayedMilter {
    pub(crate) async fn start(steps: Steps, script: impl Fn(&Command) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(Semaphore::new(0));
        let (log, script, over) = (Arc::clone(&heard), Arc::new(script), Arc::clone(&ended));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, script, over) = (Arc::clone(&log), Arc::clone(&script), Arc::clone(&over));
                tokio::spawn(async move {
                    let _over = Over(over);
                    let (mut framer, mut input) = (Framer::new(1 << 20), BytesMut::new());
                    loop {
                        while let Some(packet) = framer.take(&mut input).unwrap() {
                            let command = Command::parse(&packet).unwrap();
                            log.lock().unwrap().push(command.clone());
                            let does = match &command {
                                Command::Macros(..) | Command::Abort | Command::NextConnection => continue,
                                Command::Quit => return,
                                command => script(command),
                            };
                            let responses = match does {
                                Does::Hangs => std::future::pending().await,
                                Does::HangsUp => return,
                                Does::Writes(octets) => {
                                    stream.write_all(&octets).await.unwrap();
                                    continue;
                                }
                                Does::Answers(responses) => responses,
                            };
                            let mut out = BytesMut::new();
                            if let (Command::Negotiate(_), [Response::Continue]) = (&command, &responses[..]) {
                                let actions = Actions::ALL;
                                let options = Options { version: 6, actions, steps, macros: Vec::new() };
                                Response::Negotiate(options).encode(&mut out);
                            } else {
                                responses.iter().for_each(|response| response.encode(&mut out));
                            }
                            stream.write_all(&out).await.unwrap();
                        }
                        if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                });
            }
        });
        Self { address: Address::Tcp("127.0.0.1".to_owned(), port), heard, ended }
    }

    /// Waits until one more connection has ended, so that all of it was heard.
    pub(crate) async fn over(&self) {
        self.ended.acquire().await.unwrap().forget();
    }

    pub(crate) fn settings(&self, name: &str) -> MilterSettings {
        MilterSettings::new(name, self.address.clone())
    }

    /// The codes of what was heard, macros apart.
    pub(crate) fn codes(&self) -> String {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|command| command.code() != b'D').map(|command| char::from(command.code())).collect()
    }
}

struct Over(Arc<Semaphore>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// A policy service that answers every request with these octets, and all it was asked.
pub(crate) struct PlayedHook {
    pub(crate) url: String,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl PlayedHook {
    pub(crate) async fn start(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/policy", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let body = loop {
                    stream.read_buf(&mut request).await.unwrap();
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head
                        .lines()
                        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                    assert!(head.starts_with("POST /policy HTTP/1.1\r\n"), "{head}");
                    assert!(head.contains("application/json"), "{head}");
                    if Some(body.len()) == length {
                        break body.to_owned();
                    }
                };
                let answer = answer(&body);
                log.lock().unwrap().push(body);
                match answer {
                    Some(octets) => {
                        let _ = stream.write_all(&octets).await;
                    }
                    // Silent until the other side gives up.
                    None => {
                        let _ = stream.read_buf(&mut request).await;
                    }
                }
            }
        });
        Self { url, asked }
    }

    pub(crate) fn settings(&self, name: &str) -> HookSettings {
        HookSettings::new(name, &self.url)
    }
}

pub(crate) fn http(document: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}", document.len()).into_bytes()
}

pub(crate) fn filters(milters: Vec<MilterSettings>, hooks: Vec<HookSettings>) -> Filters {
    Filters::new(Settings { milters, hooks }, None).unwrap()
}

pub(crate) fn session(filters: &Filters) -> FilterSession {
    filters.session(Facts {
        client: Some("192.0.2.1:4711".parse().unwrap()),
        client_name: Some("client.example".to_owned()),
        client_ptr: Some("client.example".to_owned()),
        is_unanswered: false,
        hostname: "mx.example.org".to_owned(),
        listener: "smtp".to_owned(),
        tls: None,
    })
}

pub(crate) fn mail() -> Mail {
    let sender = address::ReversePath::parse("ann@a.example").unwrap();
    Mail { sender, parameters: smtp::MailParameters { size: Some(500), ..Default::default() }, queue_id: "id1".into() }
}

pub(crate) fn rcpt(mailbox: &str) -> Rcpt {
    let recipient = address::ForwardPath::parse(mailbox).unwrap();
    Rcpt { recipient, parameters: smtp::RcptParameters::default() }
}

pub(crate) const HEADER: &[u8] = b"From: ann@a.example\r\nSubject: folded\r\n\tvalue\r\n\r\n";

/// All stages of one message: the first verdict that is not to go on, or the decision.
pub(crate) async fn message(session: &mut FilterSession, body: &'static [u8]) -> Result<Decision, Verdict> {
    let goes_on = |verdict: &Verdict| matches!(verdict, Verdict::Continue | Verdict::Accept | Verdict::Discard);
    let mut verdict = session.mail(mail()).await;
    if goes_on(&verdict) {
        verdict = session.recipient(&rcpt("bob@b.example")).await;
    }
    if goes_on(&verdict) {
        verdict = session.data().await;
    }
    if !goes_on(&verdict) {
        return Err(verdict);
    }
    Ok(session.message(&Bytes::from_static(HEADER), &mut Bytes::from_static(body)).await)
}

/// From the connection to the decision.
pub(crate) async fn whole(session: &mut FilterSession, body: &'static [u8]) -> Result<Decision, Verdict> {
    let goes_on = |verdict: &Verdict| matches!(verdict, Verdict::Continue | Verdict::Accept);
    let mut verdict = session.connect().await;
    if goes_on(&verdict) {
        verdict = session.hello("client.example").await;
    }
    if !goes_on(&verdict) {
        return Err(verdict);
    }
    message(session, body).await
}

pub(crate) const SHORT: Duration = Duration::from_millis(80);
