//! The driver and the listener with peers as they are: slow, half-dead, hostile, and many.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mailwright_net::{
    Application, Certificates, Connections, Driving, Ended, Listener, Peer, ReadBody, Service, Source, TlsRole, drive,
    serve,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use wire::{BodyCoding, Output, Session, TlsFacts};

/// How long a session waits for a whole line.
const LINE: Duration = Duration::from_millis(300);

/// A protocol of lines: `ASK` is answered by the application, `BIG` with octets without end, `STARTTLS` and `QUIT` are
/// what they are anywhere.
struct Lines {
    deadline: Instant,
    outbox: Vec<Output<Self>>,
    asked: bool,
    ends: bool,
    closed: bool,
}

impl Lines {
    fn new() -> Self {
        let outbox = vec![Output::Send(Bytes::from_static(b"hello\n"))];
        Self { deadline: Instant::now() + LINE, outbox, asked: false, ends: false, closed: false }
    }

    fn say(&mut self, word: &'static str) {
        self.outbox.push(Output::Send(Bytes::from_static(word.as_bytes())));
    }

    fn close(&mut self, word: &'static str) {
        if !self.closed {
            self.say(word);
            self.closed = true;
            self.outbox.push(Output::Event("closed".to_owned()));
            self.outbox.push(Output::Close);
        }
    }
}

impl Session for Lines {
    type Event = String;
    type Told = &'static str;
    type Body = Endless;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        while !self.asked
            && !self.closed
            && let Some(at) = input.iter().position(|octet| *octet == b'\n')
        {
            let line = input.split_to(at + 1);
            self.deadline = now + LINE;
            match &line[..] {
                b"BIG\n" => {
                    let body = Endless { handed: Arc::clone(&HANDED), bare_after: u64::MAX };
                    self.outbox.push(Output::SendBody { body, coding: BodyCoding::Raw });
                }
                b"BARE\n" => {
                    let body = Endless { handed: Arc::default(), bare_after: 200_000 };
                    self.outbox.push(Output::SendBody { body, coding: BodyCoding::DotStuffedLines });
                    self.say("nothing behind it is sent\n");
                }
                b"STARTTLS\n" => {
                    self.say("go\n");
                    self.outbox.push(Output::StartTls);
                    return;
                }
                b"QUIT\n" => self.close("bye\n"),
                line => {
                    self.asked = true;
                    self.outbox.push(Output::Event(String::from_utf8_lossy(line).trim().to_owned()));
                }
            }
        }
    }

    fn handle_told(&mut self, now: Instant, word: &'static str) {
        (self.asked, self.deadline) = (false, now + LINE);
        self.say(word);
        if self.ends {
            self.close("stopping\n");
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.deadline && !self.asked {
            self.close("too slow\n");
        }
    }

    fn handle_eof(&mut self, _: Instant) {
        self.close("");
    }

    fn handle_unfit_body(&mut self, _: Instant) {
        self.outbox.clear();
        self.outbox.push(Output::Event("unfit".to_owned()));
        self.close("");
    }

    fn handle_tls(&mut self, now: Instant, _: TlsFacts) {
        self.deadline = now + LINE;
        self.say("secured\n");
    }

    fn handle_shutdown(&mut self, _: Instant) {
        self.ends = true;
        if !self.asked {
            self.close("stopping\n");
        }
    }

    fn poll(&mut self) -> Output<Self> {
        if self.outbox.is_empty() {
            return Output::Wait { deadline: Some(self.deadline), read: !self.asked };
        }
        self.outbox.remove(0)
    }
}

/// Octets handed out by [`Endless`] bodies.
static HANDED: std::sync::LazyLock<Arc<AtomicU64>> = std::sync::LazyLock::new(Arc::default);

/// A body without end, with a bare LF somewhere behind `bare_after`.
#[derive(Debug)]
struct Endless {
    handed: Arc<AtomicU64>,
    bare_after: u64,
}

impl ReadBody for Endless {
    async fn read(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let before = self.handed.fetch_add(most as u64, Ordering::Relaxed);
        if before >= self.bare_after {
            return Ok(Some(Bytes::from_static(b"yyy\r\nyyy\nyyy")));
        }
        Ok(Some(Bytes::from(vec![b'x'; most])))
    }
}

/// Answers when it is let; tells the test what it heard.
struct Answers {
    heard: mpsc::UnboundedSender<String>,
    gate: Option<Arc<Notify>>,
}

impl Application for Answers {
    type Session = Lines;

    async fn on_event(&mut self, event: String) -> Option<&'static str> {
        let ends = event == "closed";
        // The test may have heard enough.
        let _ = self.heard.send(event);
        if ends {
            return None;
        }
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        Some("answer\n")
    }
}

struct Driven {
    client: TcpStream,
    heard: mpsc::UnboundedReceiver<String>,
    ended: tokio::task::JoinHandle<Ended>,
    stop: watch::Sender<bool>,
    gate: Arc<Notify>,
}

impl Driven {
    /// A connection that is driven; `gated`: its application answers when the gate opens.
    async fn start(tls: Option<TlsRole>, gated: bool) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (socket, _) = listener.accept().await?;
        let (stop, drain) = watch::channel(false);
        let (sender, heard) = mpsc::unbounded_channel();
        let gate = Arc::new(Notify::new());
        let driving = Driving {
            tls,
            write_stall: Duration::from_millis(200),
            handshake_wait: Duration::from_millis(500),
            ..Driving::new(drain)
        };
        let application = Answers { heard: sender, gate: gated.then(|| Arc::clone(&gate)) };
        let ended = tokio::spawn(drive(socket.into(), Lines::new(), application, driving));
        Ok(Self { client, heard, ended, stop, gate })
    }

    async fn say(&mut self, words: &str) -> io::Result<()> {
        self.client.write_all(words.as_bytes()).await
    }

    /// What comes up to the end of the connection.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.client.read_to_end(&mut rest).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn server_role() -> io::Result<TlsRole> {
    let folder = tempfile::tempdir()?;
    super::renew(folder.path(), 1);
    let files = [super::files(folder.path())];
    Ok(TlsRole::Server(Certificates::load(&files).map_err(io::Error::other)?.config()))
}

#[tokio::test]
async fn who_never_reads_is_left_behind_and_costs_a_buffer() -> io::Result<()> {
    let before = HANDED.load(Ordering::Relaxed);
    let mut driven = Driven::start(None, false).await?;
    driven.say("BIG\n").await?;
    let ended = (&mut driven.ended).await?;
    assert!(matches!(&ended, Ended::Failed(error) if error.kind() == io::ErrorKind::TimedOut), "{ended:?}");
    let handed = HANDED.load(Ordering::Relaxed) - before;
    assert!(handed < 32 << 20, "{handed} octets were read for a client that took none");
    assert_eq!(driven.heard.recv().await.as_deref(), Some("closed"), "the application hears of it");
    Ok(())
}

#[tokio::test]
async fn rule_10_a_bare_line_feed_never_leaves() -> io::Result<()> {
    let mut driven = Driven::start(None, false).await?;
    driven.say("BARE\n").await?;
    let rest = driven.rest().await;
    let content = rest.strip_prefix("hello\n").expect("a greeting");
    assert!(content.len() >= 65_536 && content.bytes().all(|octet| octet == b'x'), "what came before, and no more");
    assert!(matches!(driven.ended.await?, Ended::Closed));
    assert_eq!(driven.heard.recv().await.as_deref(), Some("unfit"));
    Ok(())
}

#[tokio::test]
async fn who_says_nothing_or_an_octet_at_a_time_is_told_and_closed() -> io::Result<()> {
    // rule 13
    for drip in [false, true] {
        let mut driven = Driven::start(None, false).await?;
        while drip && !driven.ended.is_finished() && driven.say("x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(driven.rest().await, "hello\ntoo slow\n");
        assert!(matches!(driven.ended.await?, Ended::Closed));
    }
    Ok(())
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_line_ends_the_session() -> io::Result<()> {
    let mut driven = Driven::start(None, false).await?;
    driven.say("ASK\nAS").await?;
    driven.client.shutdown().await?;
    assert_eq!(driven.rest().await, "hello\nanswer\n");
    assert!(matches!(driven.ended.await?, Ended::Closed));
    assert_eq!(driven.heard.recv().await.as_deref(), Some("ASK"));
    assert_eq!(driven.heard.recv().await.as_deref(), Some("closed"));
    Ok(())
}

#[tokio::test]
async fn a_drain_lets_what_runs_come_to_its_end() -> io::Result<()> {
    let mut idle = Driven::start(None, false).await?;
    let mut busy = Driven::start(None, true).await?;
    busy.say("ASK\nASK\n").await?;
    assert_eq!(busy.heard.recv().await.as_deref(), Some("ASK"));
    for driven in [&idle, &busy] {
        assert!(driven.stop.send(true).is_ok());
    }
    assert_eq!(idle.rest().await, "hello\nstopping\n");
    assert!(!busy.ended.is_finished(), "the answer is still owed");
    busy.gate.notify_one();
    assert_eq!(busy.rest().await, "hello\nanswer\nstopping\n", "the next command is not begun");
    Ok(())
}

#[tokio::test]
async fn what_stands_in_clear_behind_starttls_is_never_read() -> io::Result<()> {
    // rule 11
    let mut driven = Driven::start(Some(server_role()?), false).await?;
    driven.say("STARTTLS\nASK\n").await?;
    assert_eq!(driven.rest().await, "hello\ngo\n");
    assert!(matches!(driven.ended.await?, Ended::ClearTextBehindStartTls));
    assert_eq!(driven.heard.recv().await.as_deref(), Some("closed"));
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_fails_or_never_comes_ends_the_connection() -> io::Result<()> {
    for garbage in ["", "this is no handshake at all, whatever else it is\n"] {
        let mut driven = Driven::start(Some(server_role()?), false).await?;
        driven.say("STARTTLS\n").await?;
        let mut seen = [0; 9];
        driven.client.read_exact(&mut seen).await?;
        assert_eq!(&seen, b"hello\ngo\n");
        driven.say(garbage).await?;
        let ended = driven.ended.await?;
        assert!(matches!(ended, Ended::Failed(_)), "{ended:?}");
    }
    let mut without = Driven::start(None, false).await?;
    without.say("STARTTLS\n").await?;
    assert!(matches!(without.ended.await?, Ended::Unsupported));
    Ok(())
}

/// A service of these sessions, which tells whom it served.
struct Many {
    heard: mpsc::UnboundedSender<String>,
    peers: mpsc::UnboundedSender<Peer>,
}

impl Service for Many {
    type Application = Answers;

    fn connect(&self, peer: Peer) -> (Lines, Answers) {
        // The test may have heard enough.
        let _ = self.peers.send(peer);
        (Lines::new(), Answers { heard: self.heard.clone(), gate: None })
    }

    fn refusal(&self) -> &'static str {
        "too many\n"
    }

    fn protocol(&self) -> &'static str {
        "lines"
    }
}

#[tokio::test]
async fn connections_have_limits_and_come_from_where_the_proxy_says() -> io::Result<()> {
    // rule 12
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (heard, _events) = mpsc::unbounded_channel();
    let (peers, mut served) = mpsc::unbounded_channel();
    let listener = Listener {
        source: Source::Tcp(listener),
        certificates: None,
        implicit_tls: false,
        proxy_networks: vec![mailwright_net::Network::of("127.0.0.0".parse().map_err(io::Error::other)?, 8, 8)],
        write_stall: Duration::from_secs(1),
        handshake_wait: Duration::from_millis(200),
    };
    let (stop, drain) = watch::channel(false);
    let connections = Arc::new(Connections::new(3, 1));
    let serving = tokio::spawn(serve(listener, Arc::new(Many { heard, peers }), Arc::clone(&connections), drain));
    let connect = async |from: &str| -> io::Result<(TcpStream, String)> {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(format!("PROXY TCP4 {from} 192.0.2.25 4711 25\r\n").as_bytes()).await?;
        let mut first = vec![0; 32];
        let octets = client.read(&mut first).await?;
        Ok((client, String::from_utf8_lossy(&first[..octets]).into_owned()))
    };
    let (first, word) = connect("198.51.100.1").await?;
    assert_eq!(word, "hello\n");
    let peer = served.recv().await;
    assert_eq!(peer.and_then(|peer| peer.ip()), Some("198.51.100.1".parse().map_err(io::Error::other)?));
    assert_eq!(connect("198.51.100.1").await?.1, "too many\n", "of one address");
    let others = [connect("198.51.100.2").await?, connect("198.51.100.3").await?];
    assert!(others.iter().all(|(_, word)| word == "hello\n"));
    assert_eq!(connect("198.51.100.4").await?.1, "too many\n", "in all");
    // Whoever leaves makes room.
    drop(first);
    while connections.open() > 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connect("198.51.100.1").await?.1, "hello\n");
    // No header, no session.
    let mut silent = TcpStream::connect(address).await?;
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).await?, 0);
    assert!(stop.send(true).is_ok());
    serving.await?;
    assert_eq!(connections.open(), 0);
    Ok(())
}
