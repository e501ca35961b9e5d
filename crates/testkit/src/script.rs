//! The text of a conversation.

use std::path::Path;
use std::time::Duration;

/// Which side of a conversation the session under test is; the other one is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The session says the `S` lines; `C` lines are fed to it.
    Server,
    /// The session says the `C` lines; `S` lines are fed to it.
    Client,
}

/// A conversation as text. Line 1 is a comment with the section or rule it shows.
///
/// | mark | meaning |
/// |---|---|
/// | `# words` | a comment; empty lines too |
/// | `% name name=value` | settings, for the maker of the session |
/// | `S: text`, `C: text` | a line of the server or the client; CRLF is added |
/// | `S> text`, `C> text` | the same without CRLF |
/// | `E: text` | an event, whose `Debug` text begins with this; other events in between are passed over |
/// | `T: text` | the application tells what [`Application::told`](crate::Application::told) makes of the text |
/// | `@ +5m` | time passes (`ms`, `s`, `m`, `h`) |
/// | `TLS` | the session has asked for TLS by now; the handshake ends well |
/// | `COMPRESS` | the session has asked for compression by now |
/// | `EOF` | the peer closes its sending side |
/// | `SHUTDOWN` | the process wants to stop |
/// | `CLOSE` | the session, or its driver by rule 11, has closed by now |
/// | `SILENT` | the session has nothing more to say now |
///
/// `\r`, `\n`, `\0`, `\s` (space), `\\` and `\xHH` stand for octets. In an expected line `…` stands for any octets. Each
/// of the words in capitals may be written in small letters behind `!` too.
#[derive(Clone, Debug)]
pub struct Script {
    name: String,
    settings: Settings,
    pub(crate) steps: Vec<(usize, Step)>,
}

impl Script {
    /// Reads a script; `name` is for messages.
    ///
    /// # Panics
    /// The text is no script.
    #[must_use]
    pub fn parse(name: impl Into<String>, text: &str) -> Self {
        let name = name.into();
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("# RFC ") && !first.starts_with("# rule ") {
            panic!("{name}:1: begins with neither `# RFC …` nor `# rule …`");
        }
        let mut settings = Settings(Vec::new());
        let mut steps = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let place = at + 1;
            if let Some(words) = line.strip_prefix("% ") {
                settings.read(words);
            } else if !line.trim().is_empty() && !line.starts_with('#') {
                match Step::parse(line) {
                    Some(step) => steps.push((place, step)),
                    None => panic!("{name}:{place}: {line:?} is no step of a script"),
                }
            }
        }
        Self { name, settings, steps }
    }

    /// All scripts (`*.txt`) of a folder, sorted by name.
    ///
    /// # Panics
    /// There are none, or one is no script.
    #[must_use]
    pub fn folder(folder: impl AsRef<Path>) -> Vec<Self> {
        let folder = folder.as_ref();
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        paths.sort();
        assert!(!paths.is_empty(), "{}: no scripts", folder.display());
        let read = |path: &std::path::PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Self::parse(path.display().to_string(), &text)
        };
        paths.iter().map(read).collect()
    }

    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// The settings of a script, in order.
#[derive(Clone, Debug, Default)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    fn read(&mut self, words: &str) {
        for word in words.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// All of them; one without `=` has an empty value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether this one is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of this one, if it is there.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The value of this one as a number, if it is there.
    ///
    /// # Panics
    /// It is no number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: no number")))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// One side says this.
    Say {
        side: Side,
        octets: Vec<u8>,
    },
    /// The session says a line like this.
    Like {
        side: Side,
        parts: Vec<Vec<u8>>,
    },
    Event(String),
    Tell(String),
    Pass(Duration),
    Tls,
    Compress,
    Eof,
    Shutdown,
    Close,
    Silent,
}

impl Step {
    fn parse(line: &str) -> Option<Self> {
        let word = line.strip_prefix("! ").map(str::to_ascii_uppercase);
        match word.as_deref().unwrap_or(line).trim_end() {
            "TLS" => return Some(Self::Tls),
            "COMPRESS" => return Some(Self::Compress),
            "EOF" => return Some(Self::Eof),
            "SHUTDOWN" => return Some(Self::Shutdown),
            "CLOSE" | "CLOSED" => return Some(Self::Close),
            "SILENT" => return Some(Self::Silent),
            _ => {}
        }
        let (mark, rest) = line.split_at_checked(2)?;
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "S:" | "C:" | "S>" | "C>" => {
                let side = if mark.starts_with('S') { Side::Server } else { Side::Client };
                let end: &[u8] = if mark.ends_with(':') { b"\r\n" } else { b"" };
                if rest.contains('…') {
                    let mut parts: Vec<_> = rest.split('…').map(octets).collect();
                    parts.last_mut()?.extend_from_slice(end);
                    return Some(Self::Like { side, parts });
                }
                Some(Self::Say { side, octets: [&octets(rest), end].concat() })
            }
            "E:" => Some(Self::Event(rest.to_owned())),
            "T:" => Some(Self::Tell(rest.to_owned())),
            "@ " => duration(rest).map(Self::Pass),
            _ => None,
        }
    }
}

/// The octets that the text of a script line stands for.
#[must_use]
pub fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            octets.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('r') => octets.push(b'\r'),
            Some('n') => octets.push(b'\n'),
            Some('0') => octets.push(0),
            Some('s') => octets.push(b' '),
            Some('\\') => octets.push(b'\\'),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                let octet = u8::from_str_radix(&digits, 16);
                octets.push(octet.unwrap_or_else(|_| panic!("{text:?}: \\x needs two digits")));
            }
            _ => panic!("{text:?}: unknown escape"),
        }
    }
    octets
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.trim().strip_prefix('+')?;
    let digits = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        "h" => Some(Duration::from_secs(number * 3600)),
        _ => None,
    }
}
