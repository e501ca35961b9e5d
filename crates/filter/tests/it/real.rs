//! A milter of somebody else: OpenDKIM, which signs a message and, asked again, verifies what it has signed. Its
//! signature stands only if header and body reached it octet by octet, and its changes were made as it meant them.
//!
//! `scripts/peers opendkim` unpacks it (rule 39), which `scripts/test` does; without that the test fails.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixStream;

use crate::filter::{Address, Facts, MilterSettings, OnFailure, Verdict, apply};
use crate::played::{filters, mail, rcpt};

struct OpenDkim {
    child: Child,
    socket: PathBuf,
}

impl Drop for OpenDkim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OpenDkim {
    async fn start(root: &Path, home: &Path) -> Self {
        let (key, socket) = (home.join("key.pem"), home.join("milter.sock"));
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).current_dir(home).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        openssl(&["genrsa", "-out", "key.pem", "2048"]);
        let public = openssl(&["rsa", "-in", "key.pem", "-pubout"]);
        let public: String = String::from_utf8(public).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
        let zone = format!("test._domainkey.a.example v=DKIM1; k=rsa; p={public}\n");
        std::fs::write(home.join("keys"), zone).unwrap();
        let home = home.display();
        let settings = format!(
            "Mode sv\nSyslog no\nBackground no\nAlwaysAddARHeader yes\nAuthservID mx.example.org\nDomain a.example\n\
             Selector test\nKeyFile {}\nRequireSafeKeys no\nInternalHosts 192.0.2.1\nTestPublicKeys {home}/keys\n\
             Canonicalization simple/simple\nSocket local:{}\n",
            key.display(),
            socket.display(),
        );
        std::fs::write(format!("{home}/opendkim.conf"), settings).unwrap();
        let libraries = ["usr/lib", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"];
        let libraries: Vec<String> = libraries.iter().map(|folder| root.join(folder).display().to_string()).collect();
        let child = Command::new(root.join("usr/sbin/opendkim"))
            .args(["-f", "-x", &format!("{home}/opendkim.conf")])
            .env("LD_LIBRARY_PATH", libraries.join(":"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let opendkim = Self { child, socket };
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let listening = async {
            while UnixStream::connect(&opendkim.socket).await.is_err() {
                beat.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), listening).await.unwrap();
        opendkim
    }

    /// A message from this client: the header and body that it becomes.
    async fn passes(&self, client: &str, header: &Bytes, body: &Bytes) -> Bytes {
        let mut settings = MilterSettings::new("opendkim", Address::Unix(self.socket.clone()));
        settings.on_failure = OnFailure::Reject;
        let filters = filters(vec![settings], vec![]);
        let client = Some(format!("{client}:4711").parse().unwrap());
        let mut session = filters.session(Facts {
            client,
            hostname: "mx.example.org".into(),
            listener: "smtp".into(),
            ..Facts::default()
        });
        assert_eq!(session.connect().await, Verdict::Continue);
        assert_eq!(session.hello("client.example").await, Verdict::Continue);
        let mut passed = Bytes::new();
        for _ in 0..2 {
            // The second on the same connection.
            assert_eq!(session.mail(mail()).await, Verdict::Continue);
            assert_eq!(session.recipient(&rcpt("bob@b.example")).await, Verdict::Continue);
            assert_eq!(session.data().await, Verdict::Continue);
            let decision = session.message(header, &mut body.clone()).await;
            assert_eq!(decision.verdict, Verdict::Continue, "{:?}", decision.notes);
            passed = apply(&decision.modifications.header, header);
        }
        session.quit().await;
        passed
    }
}

#[tokio::test]
async fn opendkim_signs_and_verifies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/opendkim");
    assert!(
        root.join("complete").exists(),
        "OpenDKIM is missing: run `scripts/peers opendkim`, which gets its Debian package"
    );
    let home = tempfile::tempdir().unwrap();
    let opendkim = OpenDkim::start(&root, home.path()).await;
    let header = Bytes::from_static(
        b"Received: by a\r\n\twith b\r\nFrom:  Ann <ann@a.example>\r\nTo: bob@b.example\r\nSubject:odd \t folding\r\n  of it \r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\nMessage-ID: <1@a.example>\r\n\r\n",
    );
    // Longer than a packet, lines with trailing white space, octets of every kind, empty lines at the end.
    let mut body = Vec::new();
    for number in 0..5000_u32 {
        body.extend_from_slice(format!("line {number} \t \u{e4}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n\r\n");
    let body = Bytes::from(body);

    let signed = opendkim.passes("192.0.2.1", &header, &body).await;
    let text = String::from_utf8_lossy(&signed);
    assert!(text.starts_with("DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=a.example; s=test;"), "{text}");
    assert!(signed.ends_with(&header));

    let verified = opendkim.passes("198.51.100.1", &signed, &body).await;
    let text = String::from_utf8_lossy(&verified);
    assert!(text.starts_with("Authentication-Results: mx.example.org;"), "{text}");
    assert!(text.contains("dkim=pass"), "{text}");
    assert!(verified.ends_with(&signed));

    let mut changed = body.to_vec();
    changed[70_000] ^= 1;
    let changed = opendkim.passes("198.51.100.1", &signed, &changed.into()).await;
    assert!(String::from_utf8_lossy(&changed).contains("dkim=fail"), "{}", String::from_utf8_lossy(&changed));

    let unsigned = opendkim.passes("198.51.100.1", &header, &body).await;
    assert!(String::from_utf8_lossy(&unsigned).contains("dkim=none"), "{}", String::from_utf8_lossy(&unsigned));
}
