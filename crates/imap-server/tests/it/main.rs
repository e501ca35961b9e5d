//! Conversations with a whole IMAP service over loopback: session, store and directory behind one port.
//!
//! `C: ` is sent, `S: ` must come, where `…` is anything; `E: ` must come behind any number of untagged responses; a number in front is the connection (`2C: `), which opens when
//! it is first named and logs in by itself. `A: MAILBOX` appends the message in the `| ` lines below it (`\xHH`: an
//! octet). `# literal-` asks for a service that offers LITERAL- instead of LITERAL+.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use daemon::{Bursts, Config, Kind, Memory};
use directory::{Directory, ScramOffer, Settings};
use mailwright_imap_server::{ImapApplication, ImapService};
use net::{Driving, Peer, Service as _, drive};
use store::{Embedded, Options, Store};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A client, which sends lines and reads them.
struct Client {
    stream: BufReader<TcpStream>,
    cut: Cut,
}

/// How what is sent is cut: the peer chooses, so it may not matter.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Line,
    Octet,
}

impl Client {
    async fn send(&mut self, octets: &[u8]) {
        let piece = match self.cut {
            Cut::Line => octets.len().max(1),
            Cut::Octet => 1,
        };
        for piece in octets.chunks(piece) {
            assert!(self.stream.write_all(piece).await.is_ok(), "the connection is gone");
        }
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        assert!(
            self.stream.read_until(b'\n', &mut line).await.is_ok_and(|octets| octets > 0),
            "the connection is gone"
        );
        String::from_utf8_lossy(&line).trim_end_matches("\r\n").to_owned()
    }

    async fn log_in(address: SocketAddr, cut: Cut) -> std::io::Result<Self> {
        let mut client = Self { stream: BufReader::new(TcpStream::connect(address).await?), cut };
        client.stream.get_ref().set_nodelay(true)?;
        assert!(client.line().await.starts_with("* OK"));
        client.send(b"l LOGIN ann@example.org \"secret words\"\r\n").await;
        assert!(client.line().await.starts_with("l OK"));
        Ok(client)
    }
}

/// The octets that a line of a script stands for.
fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x") {
        out.extend_from_slice(before.as_bytes());
        out.extend(behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()));
        rest = behind.get(2..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Whether a line is as expected; `…` stands for anything.
fn matches(expected: &str, found: &str) -> bool {
    let Some((front, behind)) = expected.split_once('…') else { return expected == found };
    let Some(rest) = found.strip_prefix(front) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(behind, &rest[at..]))
}

async fn play(script: &str, address: SocketAddr, cut: Cut) -> std::io::Result<()> {
    let mut clients: BTreeMap<char, Client> = BTreeMap::new();
    let mut lines = script.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let which = line.chars().next().filter(char::is_ascii_digit);
        let (side, text) = line.trim_start_matches(|c: char| c.is_ascii_digit()).split_at(3);
        let which = which.unwrap_or('1');
        let client = match clients.entry(which) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Client::log_in(address, cut).await?),
        };
        match side {
            "C: " => client.send(&[&octets(text)[..], b"\r\n"].concat()).await,
            "S: " => {
                let found = client.line().await;
                let fits = matches(text, &found);
                assert!(fits, "line {}: expected {text:?}, got {found:?}", number + 1);
            }
            "E: " => {
                let mut found = client.line().await;
                while found.starts_with('*') && !matches(text, &found) {
                    found = client.line().await;
                }
                assert!(matches(text, &found), "line {}: expected {text:?}, got {found:?}", number + 1);
            }
            "A: " => {
                let mut message = Vec::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with('|')) {
                    message.extend(octets(line.get(2..).unwrap_or_default()));
                    message.extend_from_slice(b"\r\n");
                }
                client.send(format!("a APPEND {text} {{{}}}\r\n", message.len()).as_bytes()).await;
                let go_on = client.line().await;
                assert!(go_on.starts_with('+'), "line {}: {go_on:?}", number + 1);
                client.send(&[&message[..], b"\r\n"].concat()).await;
                let mut done = client.line().await;
                while done.starts_with('*') {
                    done = client.line().await;
                }
                assert!(done.starts_with("a OK [APPENDUID "), "line {}: {done:?}", number + 1);
            }
            _ => unreachable!("line {}: {line:?}", number + 1),
        }
    }
    Ok(())
}

async fn serve(directory: &Path, literal_plus: bool) -> Result<SocketAddr, Box<dyn std::error::Error>> {
    let store: Arc<dyn Store> = Embedded::open(directory, &Options::default())?;
    let people = Directory::new(Arc::clone(&store), Settings::default());
    people.add_domain("example.org", None).await?;
    people.add_account("ann@example.org", "secret words").await?;
    let mut config = Config::default();
    config.imap.allow_plaintext_auth = true;
    config.imap.literal_plus = literal_plus;
    let service = ImapService::new(
        Kind::Imap,
        &config,
        false,
        store,
        people,
        ScramOffer::fixed(false),
        Arc::new(Bursts::default()),
        Memory::new(config.limits.memory_octets),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (session, application) = service.connect(Peer::Ip { address: peer.ip(), port: 1, proxied: false });
            tokio::spawn(drive::<ImapApplication>(stream.into(), session, application, Driving::undrained()));
        }
    });
    Ok(address)
}

async fn transcript(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
    let script = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(!script.is_empty(), "{} is missing", file.display());
    for cut in [Cut::Line, Cut::Octet] {
        let played = replay(&script, cut).await;
        assert!(played.is_ok(), "{name}, {cut:?}: {played:?}");
    }
}

async fn replay(script: &str, cut: Cut) -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let address = serve(directory.path(), !script.contains("# literal-\n")).await?;
    Ok(play(script, address, cut).await?)
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                transcript(concat!(stringify!($name), ".txt")).await;
            }
        )*
    };
}

transcripts! {
    sections structure surrogates flags search idle mailboxes moving condstore qresync enable utf8 multiappend literal_plus
    literal_minus searchres esearch lists uidplus binary session dates
}
