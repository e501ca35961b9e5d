//! The contract between a protocol session and whatever drives it.
//!
//! A session is told things ([`Session::handle_input`] and its siblings) and asked one thing ([`Session::poll`]).
//! It has no clock, no socket and no task: time is an argument, octets come in and go out as values.

use std::fmt;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

/// A protocol session without I/O: octets, answers and time in; octets and events out.
///
/// **After each `handle_*`, call [`poll`](Session::poll) until it answers [`Output::Wait`]** (or [`Output::Close`]).
/// The outputs are one ordered stream, so that replies, STARTTLS, compression and events keep their sequence.
pub trait Session {
    /// What the application must decide or know.
    type Event;
    /// What the application tells: its answers to events, and news it pushes unasked.
    type Told;
    /// The application's own handle to octets that it will stream; the session never looks inside.
    type Body;

    /// Octets arrived. Takes what it can use from the front of `input`; the rest stays the caller's, and is offered
    /// again, with whatever has arrived behind it, after the next output that changes what the session expects.
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut);

    /// The application answers an event, or pushes news.
    fn handle_told(&mut self, now: Instant, told: Self::Told);

    /// The deadline of the last [`Output::Wait`] has passed (calling it early does no harm).
    fn handle_timeout(&mut self, now: Instant);

    /// The octets behind a body do not fit its coding, and none of those that do not was sent: nothing more may be, so
    /// the session ends itself. As at the end of the peer's input, unless it knows better.
    fn handle_unfit_body(&mut self, now: Instant) {
        self.handle_eof(now);
    }

    /// The peer has closed its sending side; what is still buffered will never be completed.
    fn handle_eof(&mut self, now: Instant);

    /// The TLS handshake asked for by [`Output::StartTls`] has ended well, or the connection began with one (then this
    /// is the first call, before any `poll`).
    fn handle_tls(&mut self, now: Instant, tls: TlsFacts);

    /// The process wants to stop: finish the command at hand, say goodbye as the protocol has it, close.
    fn handle_shutdown(&mut self, now: Instant);

    /// The next thing to do, in order.
    fn poll(&mut self) -> Output<Self>;
}

/// What a session asks of its driver.
pub enum Output<S: Session + ?Sized> {
    /// Send these octets.
    Send(Bytes),
    /// Send the octets behind this handle, coded as told.
    SendBody {
        /// The application's handle.
        body: S::Body,
        /// How the octets change on their way out.
        coding: BodyCoding,
    },
    /// All that was sent so far leaves in clear; then begin the TLS handshake (as the side that this session is), and
    /// answer with [`Session::handle_tls`]. Clear-text octets received and not taken are never to be read after it:
    /// the driver closes the connection if there are any (rule 11).
    StartTls,
    /// All that was sent so far leaves as it is; everything after, both ways, is compressed (RFC 4978).
    Compress,
    /// Something for the application, which answers with [`Session::handle_told`] where the event asks for an answer.
    Event(S::Event),
    /// Nothing to do until something is handled.
    Wait {
        /// Call [`Session::handle_timeout`] then; `None` waits for ever.
        deadline: Option<Instant>,
        /// Whether octets from the peer are wanted. `false`: the application owes an answer, and pipelined input
        /// waits in the kernel.
        read: bool,
    },
    /// Send what is unsent, then close the connection. The last output of every session.
    Close,
}

impl<S: Session + ?Sized> fmt::Debug for Output<S>
where
    S::Event: fmt::Debug,
    S::Body: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(octets) => f.debug_tuple("Send").field(octets).finish(),
            Self::SendBody { body, coding } => {
                f.debug_struct("SendBody").field("body", body).field("coding", coding).finish()
            }
            Self::StartTls => f.write_str("StartTls"),
            Self::Compress => f.write_str("Compress"),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Wait { deadline, read } => {
                f.debug_struct("Wait").field("deadline", deadline).field("read", read).finish()
            }
            Self::Close => f.write_str("Close"),
        }
    }
}

/// How the octets of a body change on their way out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyCoding {
    /// As they are: a literal or a BDAT chunk, whose length was announced before.
    Raw,
    /// Lines that begin with a dot get another, the last line gets its CRLF if it lacks one, and `.` CRLF ends it
    /// (RFC 5321 §4.5.2, RFC 1939 §3).
    DotStuffed,
    /// As they are; but a CR or LF that is not part of a CRLF is never sent (rule 10): the driver sends nothing from
    /// the piece it stands in on, and calls [`Session::handle_unfit_body`].
    Lines,
    /// As [`DotStuffed`](Self::DotStuffed), under the condition of [`Lines`](Self::Lines).
    DotStuffedLines,
}

/// What is known of the TLS layer beneath a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsFacts {
    /// Protocol version as RFC 8314 §4.3 would have it traced: `TLS1.3`, `TLS1.2`.
    pub version: String,
    /// Cipher suite by its IANA name.
    pub cipher: String,
    /// The name the client asked for (RFC 6066 §3), in lower case.
    pub server_name: Option<String>,
    /// The `tls-exporter` channel binding (RFC 9266), where the version allows it.
    pub exporter: Option<Vec<u8>>,
    /// The names in the client's certificate, where one was asked for and verified.
    pub client_names: Vec<String>,
}
