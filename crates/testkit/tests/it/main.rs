//! The player plays, and it tells where a session departs from its script.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mailwright_testkit::{Cut, Driver, Script, Side, octets, replay};
use wire::{BodyCoding, LineEnding, LineFramer, Output, Session, TlsFacts};

/// Says lines back; `tls`, `body`, `ask` and `quit` do something else.
struct Toy {
    lines: LineFramer,
    outputs: Vec<Output<Self>>,
    deadline: Option<Instant>,
    asked: bool,
}

impl Toy {
    fn new(now: Instant) -> Self {
        let lines = LineFramer::new(80, LineEnding::Strict);
        let outputs = vec![Output::Send(Bytes::from_static(b"hello\r\n"))];
        Self { lines, outputs, deadline: Some(now + Duration::from_secs(60)), asked: false }
    }
}

impl Session for Toy {
    type Event = String;
    type Told = String;
    type Body = Vec<u8>;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        let Ok(Some(line)) = self.lines.take_line(input) else { return };
        self.deadline = Some(now + Duration::from_secs(60));
        match &line[..] {
            b"tls" => self.outputs.push(Output::StartTls),
            b"body" => {
                self.outputs.push(Output::SendBody { body: b".a".to_vec(), coding: BodyCoding::DotStuffed });
            }
            b"ask" => {
                self.asked = true;
                self.outputs.push(Output::Event("Asked".to_owned()));
            }
            b"quit" => self.outputs.push(Output::Close),
            _ => self.outputs.push(Output::Send(Bytes::from([&line[..], b"\r\n"].concat()))),
        }
    }

    fn handle_told(&mut self, _: Instant, told: String) {
        self.asked = false;
        self.outputs.push(Output::Send(Bytes::from(format!("{told}\r\n"))));
    }

    fn handle_timeout(&mut self, _: Instant) {
        self.outputs.push(Output::Send(Bytes::from_static(b"late\r\n")));
        self.outputs.push(Output::Close);
    }

    fn handle_eof(&mut self, _: Instant) {
        self.outputs.push(Output::Event("Gone".to_owned()));
        self.outputs.push(Output::Close);
    }

    fn handle_tls(&mut self, _: Instant, _: TlsFacts) {
        self.outputs.push(Output::Send(Bytes::from_static(b"safe\r\n")));
    }

    fn handle_shutdown(&mut self, _: Instant) {
        self.outputs.push(Output::Close);
    }

    fn poll(&mut self) -> Output<Self> {
        if self.outputs.is_empty() {
            return Output::Wait { deadline: self.deadline, read: !self.asked };
        }
        self.outputs.remove(0)
    }
}

struct Answers;

impl mailwright_testkit::Application<Toy> for Answers {
    fn on_event(&mut self, _: String) -> Vec<String> {
        Vec::new()
    }

    fn octets(&mut self, body: Vec<u8>) -> Vec<u8> {
        body
    }

    fn told(&mut self, text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }
}

fn play(text: &str) {
    let script = Script::parse("toy", &format!("# RFC 5321 §2.3.8: a toy that speaks in lines.\nS: hello\n{text}"));
    for cut in Cut::ALL {
        replay(&script, cut, Side::Server, |now, _: &_| Toy::new(now), |_: &_| Answers);
    }
}

#[test]
fn scripts_play() {
    for text in [
        "C: a\\x41\\\\\\sb\nS: aA\\\\ b\nS> \n",
        "C> bo\nC: dy\nS: ..a\nS: .\n",
        "C: a\nC: b\nS: a\nS: b\nSILENT\n",
        "C: ask\nC: b\nE: \"Ask\nSILENT\nT: answer\nS: answer\nS: b\n",
        "C: tls\nTLS\nS: safe\nC: x\nS: x\n",
        // Rule 11: what comes in clear behind it ends the connection.
        "C> tls\\r\\nx\\r\\n\nCLOSE\n",
        "C: abcdef\nS: a…c…ef\n",
        "@ +59s\nC: a\nS: a\n@ +59s\nSILENT\n@ +1s\nS: late\nCLOSE\n",
        "EOF\nE: \"Gone\nCLOSE\n",
        "! shutdown\n! closed\n",
    ] {
        play(text);
    }
}

#[test]
fn departures_are_told_with_their_line() {
    for (text, line, words) in [
        ("C: a\nS: b\n", 4, "said \"a\\r\\n\""),
        ("C: a\n", 3, "at the end of the script"),
        ("S: b\n", 3, "said nothing"),
        ("C: a\nSILENT\n", 4, "where silence is expected"),
        ("C: abc\nS: a…d\n", 4, "said"),
        ("C: ask\nE: Other\n", 4, "no such event"),
        ("C: a\nE: Asked\n", 4, "was said"),
        ("TLS\n", 3, "not asked for TLS"),
        ("CLOSE\n", 3, "still open"),
    ] {
        let panic = catch_unwind(AssertUnwindSafe(|| play(text))).expect_err(text);
        let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(message.starts_with(&format!("toy:{line} ")) && message.contains(words), "{text:?}: {message}");
    }
}

#[test]
fn settings_are_names_and_values() {
    let script = Script::parse("s", "# rule 11: x\n% a b=2 c=x\n% b=3\n");
    let settings = script.settings();
    assert!(settings.has("a") && !settings.has("d"));
    assert_eq!((settings.number("b"), settings.value("c")), (Some(2), Some("x")));
    assert_eq!(settings.iter().count(), 4);
}

#[test]
fn escapes_are_octets() {
    assert_eq!(octets("\\r\\n\\0\\xff é"), b"\r\n\0\xff \xc3\xa9");
}

#[test]
fn a_driver_serves_tests_without_a_script() {
    let mut driver = Driver::new(Toy::new, |_event: String| vec!["told".to_owned()]);
    driver.feed(b"ask\r\nx\r\nquit\r\n");
    assert_eq!(driver.take_sent(), b"hello\r\ntold\r\nx\r\n");
    assert_eq!(driver.take_events(), ["\"Asked\""]);
    assert!(driver.is_closed() && driver.deadline().is_none());
}
