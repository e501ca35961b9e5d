//! An SMTP client and a sink that cost little, the same for every contender, in clear or with TLS.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A connection, in clear or not.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// What both sides need for TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// From a certificate that is its own authority, and its key.
    pub(crate) fn new(certificate: &Path, key: &Path) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }
}

/// A server that takes everything and keeps nothing.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) port: u16,
    taken: Arc<AtomicU64>,
}

impl Sink {
    /// Listens on a port of its own.
    pub(crate) fn start(tls: Option<&Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicU64::new(0));
        let (counter, server) = (Arc::clone(&taken), tls.map(|tls| Arc::clone(&tls.server)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, counter, server) = (stream.unwrap(), Arc::clone(&counter), server.clone());
                std::thread::spawn(move || serve(stream, server, &counter));
            }
        });
        Self { port, taken }
    }

    /// Recipients served so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, taken: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut wire: Box<dyn Wire> = Box::new(stream.try_clone().unwrap());
    wire.write_all(b"220 sink.test ESMTP\r\n").unwrap();
    let Some(tls) = tls else { return talk(BufReader::with_capacity(64 << 10, wire), taken, false) };
    let mut reader = BufReader::with_capacity(64 << 10, wire);
    if talk_until_tls(&mut reader) {
        let session = ServerConnection::new(tls).unwrap();
        let secured: Box<dyn Wire> = Box::new(StreamOwned::new(session, stream));
        talk(BufReader::with_capacity(64 << 10, secured), taken, true);
    }
}

/// Answers until STARTTLS; whether it came.
fn talk_until_tls(reader: &mut BufReader<Box<dyn Wire>>) -> bool {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return false;
        }
        let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        match &verb[..] {
            b"EHLO" => reader.get_mut().write_all(b"250-sink.test\r\n250-STARTTLS\r\n250 PIPELINING\r\n").unwrap(),
            b"STAR" => {
                reader.get_mut().write_all(b"220 go\r\n").unwrap();
                return true;
            }
            _ => reader.get_mut().write_all(b"250 ok\r\n").unwrap(),
        }
    }
}

fn talk(mut reader: BufReader<Box<dyn Wire>>, taken: &AtomicU64, _secured: bool) {
    let mut line = Vec::new();
    let mut answer = Vec::new();
    let mut recipients = 0;
    loop {
        // Answers to what was sent together leave together.
        if reader.buffer().is_empty() && !answer.is_empty() {
            if reader.get_mut().write_all(&answer).and_then(|()| reader.get_mut().flush()).is_err() {
                return;
            }
            answer.clear();
        }
        line.clear();
        if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return;
        }
        let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        match &verb[..] {
            b"EHLO" => answer.extend_from_slice(b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n"),
            b"RCPT" => {
                recipients += 1;
                answer.extend_from_slice(b"250 2.1.5 ok\r\n");
            }
            b"DATA" => {
                answer.extend_from_slice(b"354 go\r\n");
                if reader.get_mut().write_all(&answer).and_then(|()| reader.get_mut().flush()).is_err() {
                    return;
                }
                answer.clear();
                loop {
                    line.clear();
                    if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if line == b".\r\n" {
                        break;
                    }
                }
                taken.fetch_add(recipients, Ordering::Relaxed);
                recipients = 0;
                answer.extend_from_slice(b"250 2.0.0 taken\r\n");
            }
            b"QUIT" => {
                answer.extend_from_slice(b"221 bye\r\n");
                // The client may be gone already.
                let _ = reader.get_mut().write_all(&answer);
                return;
            }
            _ => answer.extend_from_slice(b"250 2.0.0 ok\r\n"),
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) sessions: u64,
    pub(crate) messages: u64,
    pub(crate) octets: usize,
    pub(crate) recipients: usize,
}

impl Load {
    /// Sends it, and returns when all is answered.
    pub(crate) fn run(self, port: u16, tls: Option<&Tls>) {
        let message = Arc::new(crate::client::message(1, self.octets));
        std::thread::scope(|scope| {
            for session in 0..self.sessions {
                let share = self.messages / self.sessions + u64::from(session < self.messages % self.sessions);
                let message = Arc::clone(&message);
                scope.spawn(move || send(port, tls, share, self.recipients, &message));
            }
        });
    }
}

fn send(port: u16, tls: Option<&Tls>, messages: u64, recipients: usize, message: &str) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    let mut reader = BufReader::new(Box::new(stream.try_clone().unwrap()) as Box<dyn Wire>);
    hear(&mut reader, b"220");
    if let Some(tls) = tls {
        ask(&mut reader, "EHLO source.test", b"250");
        ask(&mut reader, "STARTTLS", b"220");
        let session =
            ClientConnection::new(Arc::clone(&tls.client), ServerName::try_from("mx.example.test").unwrap()).unwrap();
        reader = BufReader::new(Box::new(StreamOwned::new(session, stream)) as Box<dyn Wire>);
    }
    ask(&mut reader, "EHLO source.test", b"250");
    for _ in 0..messages {
        ask(&mut reader, "MAIL FROM:<sender@source.test>", b"250");
        for number in 0..recipients {
            ask(&mut reader, &format!("RCPT TO:<r{number}@sink.test>"), b"250");
        }
        ask(&mut reader, "DATA", b"354");
        let wire = reader.get_mut();
        wire.write_all(message.as_bytes()).unwrap();
        ask(&mut reader, ".", b"250");
    }
    ask(&mut reader, "QUIT", b"221");
}

fn ask(reader: &mut BufReader<Box<dyn Wire>>, line: &str, wanted: &[u8]) {
    let wire = reader.get_mut();
    wire.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    wire.flush().unwrap();
    hear(reader, wanted);
}

fn hear(reader: &mut BufReader<Box<dyn Wire>>, wanted: &[u8]) {
    let mut line = Vec::new();
    loop {
        line.clear();
        assert!(reader.read_until(b'\n', &mut line).unwrap() > 0, "the connection ended");
        if line.get(3) != Some(&b'-') {
            assert!(line.starts_with(wanted), "{}", String::from_utf8_lossy(&line));
            return;
        }
    }
}
