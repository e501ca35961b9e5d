//! Transcript player and fake clock for tests of sessions.
//!
//! A conversation is a text file ([`Script`] has its marks). [`replay`] plays it against any [`wire::Session`] through a
//! [`Driver`], which obeys the contract as `net` does, but with a clock that only the script moves:
//!
//! ```
//! # use std::time::Instant;
//! # use bytes::{Bytes, BytesMut};
//! # use wire::{LineEnding, LineFramer, Output, Session, TlsFacts};
//! use mailwright_testkit::{Cut, Script, Side, replay};
//!
//! # struct Echo(LineFramer, Option<Output<Echo>>);
//! # impl Session for Echo {
//! #     type Event = ();
//! #     type Told = ();
//! #     type Body = std::convert::Infallible;
//! #     fn handle_input(&mut self, _: Instant, input: &mut BytesMut) {
//! #         if let Ok(Some(line)) = self.0.take_line(input) {
//! #             self.1 = Some(Output::Send(Bytes::from([&line[..], b"\r\n"].concat())));
//! #         }
//! #     }
//! #     fn handle_told(&mut self, _: Instant, (): ()) {}
//! #     fn handle_timeout(&mut self, _: Instant) {}
//! #     fn handle_eof(&mut self, _: Instant) { self.1 = Some(Output::Close) }
//! #     fn handle_tls(&mut self, _: Instant, _: TlsFacts) {}
//! #     fn handle_shutdown(&mut self, _: Instant) {}
//! #     fn poll(&mut self) -> Output<Self> {
//! #         self.1.take().unwrap_or(Output::Wait { deadline: None, read: true })
//! #     }
//! # }
//! let script = Script::parse("echo", "# RFC 5321 §2.3.8: what is said is a line, and is said again.\nC: hello\nS: hello\nEOF\nCLOSE\n");
//! for cut in Cut::ALL {
//!     // the peer chooses where to cut, so it may not matter
//!     let echo = |_now, _settings: &_| Echo(LineFramer::new(80, LineEnding::Strict), None);
//!     replay(&script, cut, Side::Server, echo, |_settings: &_| |()| Vec::new());
//! }
//! ```
#![expect(clippy::panic, reason = "a test fails by panicking, with the place in the script")]

mod driver;
mod play;
mod script;

pub use driver::{Application, Did, Driver, start};
pub use play::{Cut, replay, replay_folder};
pub use script::{Script, Settings, Side, octets};
