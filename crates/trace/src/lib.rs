//! The story of a message: every step as a value, which is kept as compact JSON and told in plain words.
//!
//! Who takes a message, hands it on or reads it makes a [`Step`]; the store keeps it opaquely under the message's queue
//! id; `mailctl trace` reads it back and tells it. The JSON of a step is the stable interface that `--json` prints: fields
//! are added, never changed; a step that this version does not know is told as it stands.
//!
//! ```
//! # use mailwright_trace as trace;
//! use trace::{Attempt, Outcome, Step};
//!
//! let step = Step::Attempted(Attempt {
//!     recipient: "bob@example.net".into(),
//!     outcome: Outcome::Delivered,
//!     host: Some("mx.example.net".into()),
//!     reply: Some("250 2.0.0 queued".into()),
//!     ..Attempt::default()
//! });
//! assert_eq!(Step::decode(&step.encode())?, step);
//! assert_eq!(step.to_string(), "delivered to bob@example.net by mx.example.net; it said: 250 2.0.0 queued");
//! # Ok::<(), trace::Unknown>(())
//! ```
//!
//! What strangers said (replies, names) stands in the steps as it was said; control characters are escaped when it is
//! told (rule 32).

mod step;
mod tell;

pub use step::{Accepted, Attempt, Outcome, Step, Unknown, key, queue_id};
