//! An entrance over a real store, and clients of it from anywhere, without sockets.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use daemon::{Config, Kind};
use directory::{Directory, Hashing, Settings};
use mailwright_smtp_server::{Entrance, Outgoing, SmtpApplication, SmtpService};
use net::{Application as _, Peer, Service as _};
use queue::envelope::{Envelope, RecipientEnvelope};
use smtp::server::Server;
use store::{Embedded, Options, SpoolFilter, Store};
use trace::Step;
use wire::{Output, Session as _};

/// A system with the domain `example.org` and the accounts ann and bob.
pub(crate) struct World {
    _folder: tempfile::TempDir,
    config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) directory: Arc<Directory>,
    entrance: Arc<Entrance>,
    /// What the queue runner was told: destinations, and how many rows.
    pub(crate) told: Arc<Mutex<Vec<(String, usize)>>>,
}

/// A row of the queue: queue id, sender, recipient, destination, envelopes, when due.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) queue_id: String,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) destination: String,
    pub(crate) envelope: Envelope,
    pub(crate) facts: RecipientEnvelope,
    pub(crate) held: bool,
    pub(crate) content: String,
}

impl World {
    pub(crate) async fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("hostname = \"mx.example.org\"\n{settings}\n[submission]\nallow_plaintext_auth = true\n");
        let mut config = Config::parse(&text).unwrap();
        config.policy.reverse_dns = false;
        let options = Options { min_free_octets: 0, ..Options::default() };
        let store: Arc<dyn Store> = Embedded::open(folder.path(), &options).unwrap();
        let hashing = Hashing { memory_kib: 8, iterations: 1, parallelism: 1, scram_iterations: 4_096 };
        let directory = Directory::new(Arc::clone(&store), Settings { hashing, ..Settings::default() });
        directory.add_domain("example.org", None).await.unwrap();
        for name in ["ann", "bob"] {
            directory.add_account(&format!("{name}@example.org"), "secret").await.unwrap();
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        let outgoing = Outgoing::new(move |destination, rows| {
            hears.lock().unwrap().push((destination.to_owned(), rows.len()));
        });
        let entrance = Entrance::new(
            &config,
            Arc::clone(&store),
            Arc::clone(&directory),
            Some(outgoing),
            daemon::Memory::new(256 << 20),
        )
        .unwrap();
        Self { _folder: folder, config, store, directory, entrance: Arc::new(entrance), told }
    }

    /// What a client on port 25 hears first.
    pub(crate) async fn greeting(&self, address: &str) -> String {
        self.early(Kind::Smtp, address, "").await.greeting
    }

    /// A client that has been greeted.
    pub(crate) async fn client(&self, kind: Kind, address: &str) -> Client {
        let client = self.early(kind, address, "").await;
        assert!(client.greeting.starts_with("220 "), "{}", client.greeting);
        client
    }

    /// A client that says something before it is greeted.
    pub(crate) async fn early(&self, kind: Kind, address: &str, says: &str) -> Client {
        let address: IpAddr = address.parse().unwrap();
        let scram = self.directory.scram_offer().await;
        let service = SmtpService::new(kind, &self.config, false, Arc::clone(&self.entrance), scram);
        let (server, application) =
            service.connect(Peer::Ip { address: address.to_canonical(), port: 4_000, proxied: false });
        let (input, greeting) = (BytesMut::from(says), String::new());
        let mut client = Client { server, application, input, greeting, waited: Duration::ZERO };
        client.greeting = client.run().await;
        client
    }

    /// A client on port 587 who has logged in as ann.
    pub(crate) async fn ann(&self) -> Client {
        let mut client = self.client(Kind::Submission, "192.0.2.7").await;
        client.say("EHLO laptop.example").await;
        // \0ann@example.org\0secret
        let told = client.say("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=").await;
        assert!(told.starts_with("235 "), "{told}");
        client
    }

    /// A client on port 25.
    pub(crate) async fn stranger(&self) -> Client {
        let mut client = self.client(Kind::Smtp, "198.51.100.1").await;
        client.say("EHLO client.example").await;
        client
    }

    /// What waits in the queue, in the order of its ids.
    pub(crate) async fn queue(&self) -> Vec<Queued> {
        let mut queue = Vec::new();
        for row in self.store.spooled(SpoolFilter::default(), 100).await.unwrap() {
            let spool = self.store.spool(&row.queue_id).await.unwrap();
            let octets = self.store.spooled_body(&spool).await.unwrap().whole(1 << 24).await.unwrap();
            queue.push(Queued {
                queue_id: row.queue_id.clone(),
                sender: spool.sender,
                recipient: row.address,
                destination: row.destination,
                envelope: Envelope::decode(&spool.parameters).unwrap(),
                facts: RecipientEnvelope::decode(&row.parameters).unwrap(),
                held: row.state == store::SpoolState::Held,
                content: String::from_utf8_lossy(&octets).into_owned(),
            });
        }
        queue
    }

    /// The messages of an account's mailbox.
    pub(crate) async fn mailbox(&self, account: &str, name: &str) -> Vec<String> {
        let account = self.directory.find_account(account).await.unwrap();
        let mailbox = self.store.mailbox(account.id, name).await.unwrap();
        let every = vec![1..=u32::MAX];
        let found = self.store.whole_messages(mailbox.id, every, false, 100, 1 << 24).await.unwrap();
        found.into_iter().map(|(_, octets)| String::from_utf8_lossy(&octets.unwrap()).into_owned()).collect()
    }

    /// The story of a message.
    pub(crate) async fn story(&self, queue_id: &str) -> Vec<Step> {
        let entries = self.store.trace_of(queue_id).await.unwrap();
        entries.iter().map(|entry| Step::decode(&entry.data).unwrap()).collect()
    }
}

/// A client. Time passes as fast as it is waited for.
pub(crate) struct Client {
    server: Server,
    application: SmtpApplication,
    input: BytesMut,
    /// What it heard first.
    pub(crate) greeting: String,
    /// How long it had to wait for answers.
    pub(crate) waited: Duration,
}

impl Client {
    /// Says a line; what is answered.
    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.input.extend_from_slice(line.as_bytes());
        self.input.extend_from_slice(b"\r\n");
        self.run().await
    }

    /// Sends a message in one transaction; the last answer.
    pub(crate) async fn send(&mut self, mail: &str, recipients: &[&str], content: &str) -> String {
        let told = self.say(&format!("MAIL FROM:{mail}")).await;
        if !told.starts_with('2') {
            return told;
        }
        for recipient in recipients {
            let told = self.say(&format!("RCPT TO:{recipient}")).await;
            if !told.starts_with('2') {
                return told;
            }
        }
        let told = self.say("DATA").await;
        if !told.starts_with("354") {
            return told;
        }
        self.say(&format!("{content}\r\n.")).await
    }

    async fn run(&mut self) -> String {
        let mut heard = String::new();
        let mut now = Instant::now();
        self.server.handle_input(now, &mut self.input);
        loop {
            match self.server.poll() {
                Output::Send(octets) => heard.push_str(&String::from_utf8_lossy(&octets)),
                Output::Event(event) => {
                    if let Some(told) = self.application.on_event(event).await {
                        self.server.handle_told(now, told);
                        self.server.handle_input(now, &mut self.input);
                    }
                }
                Output::Wait { read: false, deadline: Some(deadline) } => {
                    self.waited += deadline.saturating_duration_since(now);
                    now = deadline;
                    self.server.handle_timeout(now);
                }
                Output::Wait { .. } if self.input.is_empty() => return heard,
                Output::Wait { .. } => {
                    let before = self.input.len();
                    self.server.handle_input(now, &mut self.input);
                    if before == self.input.len() {
                        return heard;
                    }
                }
                Output::Close => return heard,
                _ => {}
            }
        }
    }
}

/// The queue id in a reply.
pub(crate) fn id_in(reply: &str) -> String {
    let id = reply.trim_end().strip_prefix("250 2.0.0 queued as ");
    id.unwrap_or_else(|| panic!("{reply}")).to_owned()
}
