//! An SMTP server that remembers what it took, and whose moods are the test's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The argument of MAIL, as it came.
    pub mail: String,
    /// The arguments of RCPT, as they came.
    pub recipients: Vec<String>,
    /// The message, dot-stuffing undone.
    pub octets: Vec<u8>,
}

/// What the server does at the end of a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mood {
    /// Takes it and says so.
    #[default]
    Take,
    /// Takes it, and closes the connection before anything is said.
    TakeInSilence,
    /// Takes it, and says so later.
    TakeSlowly(Duration),
    /// Does not take it, and says so.
    Refuse(&'static str),
}

/// The server; it lives as long as the test.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its port on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
}

struct State {
    taken: Mutex<Vec<Taken>>,
    silent: AtomicUsize,
    doubtful: AtomicUsize,
    count: AtomicUsize,
    mood: Box<dyn Fn(usize) -> Mood + Send + Sync>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Sink {
    /// A server whose mood may be another for each message, which are counted from 0.
    #[must_use]
    pub fn start(mood: impl Fn(usize) -> Mood + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            taken: Mutex::default(),
            silent: AtomicUsize::new(0),
            doubtful: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            mood: Box::new(mood),
        };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let mut is_doubtful = false;
                    // A client that was killed says nothing more.
                    let _ = converse(stream, &state, &mut is_doubtful);
                    state.doubtful.fetch_add(usize::from(is_doubtful), Ordering::SeqCst);
                });
            }
        });
        Self { port, state }
    }

    /// What was taken so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.state.taken.lock().unwrap().clone()
    }

    /// Messages that were taken in silence so far.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.state.silent.load(Ordering::SeqCst)
    }

    /// Messages that were taken and answered so far, and whose client then went away without another word: nobody knows
    /// whether it has written that down.
    #[must_use]
    pub fn doubtful(&self) -> usize {
        self.state.doubtful.load(Ordering::SeqCst)
    }
}

fn converse(mut stream: TcpStream, state: &State, is_doubtful: &mut bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut mail, mut recipients) = (String::new(), Vec::new());
    stream.write_all(b"220 sink.test ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        *is_doubtful = false;
        let line = line.trim_end();
        let (verb, argument) = line.split_once([' ', ':']).unwrap_or((line, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n"
            }
            "MAIL" => {
                (mail, recipients) = (argument.to_owned(), Vec::new());
                "250 2.1.0 ok\r\n"
            }
            "RCPT" => {
                recipients.push(argument.to_owned());
                "250 2.1.5 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let octets = content(&mut reader)?;
                let number = state.count.fetch_add(1, Ordering::SeqCst);
                let mood = (state.mood)(number);
                if let Mood::Refuse(words) = mood {
                    stream.write_all(format!("{words}\r\n").as_bytes())?;
                    continue;
                }
                let taken = Taken { mail: mail.clone(), recipients: recipients.clone(), octets };
                state.taken.lock().unwrap().push(taken);
                match mood {
                    Mood::TakeInSilence => {
                        state.silent.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                    Mood::TakeSlowly(time) => std::thread::sleep(time),
                    _ => {}
                }
                *is_doubtful = true;
                "250 2.0.0 taken\r\n"
            }
            "RSET" | "NOOP" => "250 2.0.0 ok\r\n",
            "QUIT" => {
                return stream.write_all(b"221 2.0.0 bye\r\n");
            }
            _ => "502 5.5.1 what is that\r\n",
        };
        stream.write_all(answer.as_bytes())?;
    }
}

fn content(reader: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(octets);
        }
        octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
