//! A client that costs little, the same for every contender.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::contender::Contender;

/// A connection, read line by line.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    line: Vec<u8>,
    discarded: Vec<u8>,
}

impl Client {
    /// Connects and hears the greeting.
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let reader = BufReader::with_capacity(256 * 1024, stream);
        let mut client = Self { reader, line: Vec::new(), discarded: Vec::new() };
        client.read_line();
        client
    }

    /// Logs in by IMAP.
    pub(crate) fn imap(contender: &Contender) -> Self {
        let mut client = Self::connect(contender.imap);
        client.command(&format!("LOGIN ann@example.test {}", contender.password));
        client
    }

    /// Logs in by POP3.
    pub(crate) fn pop3(contender: &Contender) -> Self {
        let mut client = Self::connect(contender.pop3);
        client.say(b"USER ann@example.test\r\n");
        client.read_line();
        client.say(format!("PASS {}\r\n", contender.password).as_bytes());
        assert!(client.read_line().starts_with("+OK"));
        client
    }

    /// Sends octets.
    pub(crate) fn say(&mut self, octets: &[u8]) {
        self.reader.get_mut().write_all(octets).unwrap();
    }

    /// A line, literals left where they are.
    pub(crate) fn read_line(&mut self) -> String {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line).unwrap();
        assert!(!self.line.is_empty(), "the connection ended");
        String::from_utf8_lossy(&self.line).into_owned()
    }

    /// An IMAP command and its answer, literals skipped; how many lines came before the tagged one, and the last of them
    /// that begins so.
    pub(crate) fn command(&mut self, command: &str) -> usize {
        self.say(format!("t {command}\r\n").as_bytes());
        self.tagged(command)
    }

    fn tagged(&mut self, command: &str) -> usize {
        let mut lines = 0;
        loop {
            self.line.clear();
            self.reader.read_until(b'\n', &mut self.line).unwrap();
            if self.line.starts_with(b"t ") {
                assert!(self.line.starts_with(b"t OK"), "{command}: {}", String::from_utf8_lossy(&self.line));
                return lines;
            }
            assert!(!self.line.is_empty(), "the connection ended");
            lines += 1;
            if let Some(octets) = literal(&self.line) {
                self.discarded.resize(octets, 0);
                self.reader.read_exact(&mut self.discarded).unwrap();
            }
        }
    }

    /// How many messages INBOX has.
    pub(crate) fn messages(&mut self) -> u32 {
        self.say(b"t STATUS INBOX (MESSAGES)\r\n");
        let line = self.read_line();
        let count = line.rsplit_once("MESSAGES ").and_then(|(_, rest)| rest.trim_end().strip_suffix(')')?.parse().ok());
        self.tagged("STATUS");
        count.unwrap_or_else(|| panic!("{line}"))
    }

    /// Fills INBOX with so many messages, a hundred at a time, by MULTIAPPEND.
    pub(crate) fn fill(&mut self, messages: u32, octets: usize) {
        for batch in 0..messages.div_ceil(100) {
            let mut command = Vec::from(b"t APPEND INBOX".as_slice());
            for number in batch * 100..messages.min((batch + 1) * 100) {
                let message = message(number, octets);
                write!(command, " {{{}+}}\r\n", message.len()).unwrap();
                command.extend_from_slice(message.as_bytes());
            }
            command.extend_from_slice(b"\r\n");
            self.say(&command);
            self.tagged("APPEND");
        }
    }

    /// So many multi-line answers of POP3.
    pub(crate) fn multi_line(&mut self, answers: usize) {
        for _ in 0..answers {
            loop {
                self.line.clear();
                self.reader.read_until(b'\n', &mut self.line).unwrap();
                assert!(!self.line.is_empty(), "the connection ended");
                if self.line == b".\r\n" {
                    break;
                }
            }
        }
    }
}

/// The octets of the literal that a line announces.
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|&octet| octet == b'{')?;
    std::str::from_utf8(line.get(open + 1..)?).ok()?.parse().ok()
}

/// A message as people write them, different from every other.
pub(crate) fn message(number: u32, octets: usize) -> String {
    let mut message = format!(
        "Received: from client.example (client.example [192.0.2.1])\r\n\tby mail.example.test with ESMTP id {number}\r\n\
         From: Ann Example <ann@example.org>\r\nTo: Bob Example <bob@example.test>, Carol <carol@example.test>\r\n\
         Subject: message {number} of the benchmark\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\n\
         Message-ID: <{number}@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    );
    while message.len() < octets {
        message.push_str("a line of the body of this message, as long as lines are in practice\r\n");
    }
    message
}
