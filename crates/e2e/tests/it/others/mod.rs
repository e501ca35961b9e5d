//! Against mail systems and name servers of others, both ways (rule 39).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod dovecot;
mod exim;
mod faults;
mod hooks;
mod milters;
mod mistakes;
mod opensmtpd;
mod postfix;
mod requiretls;
mod samples;
mod secure;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mailwright_e2e::peers::free_port;
use mailwright_e2e::{Conversation, System, succeed};

/// A conversation on port 587 or 25, from its EHLO on.
pub(crate) struct Sender(Conversation);

impl Sender {
    /// Ann, logged in.
    pub(crate) fn ann(system: &System) -> Self {
        let mut sender = Self::greeted(system.connect(587));
        // AUTH PLAIN \0ann@example.test\0ann-secret
        sender.0.ask("AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAYW5uLXNlY3JldA==", &["235 "]);
        sender
    }

    /// Somebody, at any server of loopback.
    pub(crate) fn at(port: u16) -> Self {
        Self::greeted(Conversation::with(port))
    }

    fn greeted(mut conversation: Conversation) -> Self {
        conversation.hear(&["220 "]);
        conversation.ask("EHLO client.example", &["250 "]);
        Self(conversation)
    }

    /// Sends a message; the answer. Addresses are in angle brackets, with their parameters behind.
    pub(crate) fn send(&mut self, from: &str, recipients: &[&str], content: &str) -> String {
        self.0.ask(&format!("MAIL FROM:{from}"), &["250 "]);
        for recipient in recipients {
            self.0.ask(&format!("RCPT TO:{recipient}"), &["250 "]);
        }
        self.0.ask("DATA", &["354 "]);
        self.0.say(&content.replace("\n.", "\n.."));
        self.0.ask("\r\n.", &["250 ", "4", "5"])
    }

    /// What is answered to a recipient who must be refused.
    pub(crate) fn refused(&mut self, from: &str, recipient: &str) -> String {
        self.0.ask(&format!("MAIL FROM:{from}"), &["250 "]);
        let answer = self.0.ask(&format!("RCPT TO:{recipient}"), &["4", "5"]);
        self.0.ask("RSET", &["250 "]);
        answer
    }

    /// Sends a message of Ann's that must be taken; its queue id.
    pub(crate) fn queue(&mut self, from: &str, recipients: &[&str], content: &str) -> String {
        let answer = self.send(from, recipients, &format!("From: Ann <ann@example.test>\r\n{content}"));
        assert!(answer.starts_with("250 2.0.0 queued as "), "{answer}");
        answer.trim().rsplit(' ').next().unwrap().to_owned()
    }
}

/// The messages in somebody's inbox.
pub(crate) fn inbox(system: &System, name: &str) -> Vec<String> {
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask(&format!("USER {name}@example.test"), &["+OK"]);
    pop3.ask(&format!("PASS {name}-secret"), &["+OK"]);
    let stat = pop3.ask("STAT", &["+OK"]);
    let count: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
    let messages = (1..=count).map(|number| {
        let message = pop3.ask(&format!("RETR {number}"), &[".\r\n"]);
        message.split_once("\r\n").unwrap().1.to_owned()
    });
    let messages = messages.collect();
    pop3.ask("QUIT", &["+OK"]);
    messages
}

/// What Python's mail library makes of a message: the media type of each part, and its text.
pub(crate) fn understood(message: &str) -> String {
    let program = "import email, email.policy, sys
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
print('subject:', message['subject'])
for part in message.walk():
    print('part:', part.get_content_type(), part.get_param('report-type', ''))
    if part.get_content_type() == 'message/delivery-status':
        for block in part.get_payload():
            for name, value in block.items():
                print(name + ':', value)
    elif part.get_content_type() == 'text/plain':
        print(part.get_content())
    assert not part.defects, part.defects
";
    succeed("python3", &["-c", program], message)
}

/// A folder that users other than root can reach, and a port.
pub(crate) fn site(system: &System, name: &str) -> (PathBuf, u16) {
    let folder = PathBuf::from(system.client_path(name));
    fs::create_dir_all(&folder).unwrap();
    open(system.client_path("").as_ref());
    open(&folder);
    (folder, free_port())
}

/// Lets all users into a folder.
pub(crate) fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}
