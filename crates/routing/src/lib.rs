//! Where mail for a domain goes, in which order, and how it must be secured.
//!
//! The crate decides and does nothing else: no socket, no clock, no runtime. A [`Lookup`] asks [`Question`]s, whoever
//! embeds it brings [`Answer`]s from DNS and HTTPS, and at the end there is a [`Plan`]: hosts in order, each with its
//! addresses and a [`Security`], or an [`Unroutable`] with the code and the words for the sender. Both say step by step
//! how they came about ([`Note`]).
//!
//! | RFC | here |
//! |---|---|
//! | 5321 §5.1 | [`Lookup`]: MX order, implicit MX, what leads back to this server |
//! | 7505 | null MX |
//! | 7672, 7671, 6698 | [`dane`] |
//! | 8461 | [`sts`] |
//! | 8689 | [`Security::for_message`] |
//! | 8460 | [`tlsrpt`] |
//!
//! Beside it stand what comes before a lookup, the transport [`table`], and what happens to envelope senders, [`rewrite`].
//!
//! # Example
//!
//! A lookup in a world of canned answers. A real resolver answers the same questions, and may answer them in any order.
//!
//! ```
//! # use mailwright_routing as routing;
//! use std::{sync::Arc, time::Duration};
//!
//! use routing::{Answer, Demand, Lookup, Missing, Mx, Proof, Question, Records, Settings, Step, Target, Trouble};
//!
//! let now = "2026-01-02T03:04:05Z".parse()?;
//! let (hour, proof) = (Duration::from_secs(3600), Proof::Insecure);
//! let resolve = |question: &Question| match question {
//!     Question::Mx(name) if name == "example.com" => {
//!         Answer::Mx(Ok(Records::new(vec![Mx::new(20, "b.example.com"), Mx::new(10, "a.example.com")], proof, hour)))
//!     }
//!     Question::Addresses { name, family: routing::Family::V4 } if name == "a.example.com" => {
//!         Answer::Addresses(Ok(Records::new(vec!["192.0.2.1".parse().unwrap()], proof, hour)))
//!     }
//!     Question::Addresses { .. } => Answer::Addresses(Err(Missing::NoData { proof, ttl: hour })),
//!     Question::Txt(_) => Answer::Txt(Err(Missing::NxDomain { proof, ttl: hour })),
//!     other => Answer::temporary(other, Trouble::Timeout),
//! };
//! let target = Target::domain(address::Domain::parse("example.com")?);
//! let mut lookup = Lookup::new(target, Arc::new(Settings::default()), None, 7, now);
//! let plan = loop {
//!     match lookup.poll() {
//!         Step::Ask(questions) => questions.iter().for_each(|asked| lookup.answer(asked, resolve(asked), now)),
//!         Step::Wait => unreachable!("every question is answered at once"),
//!         Step::Done(result) => break result?,
//!     }
//! };
//! assert_eq!((plan.hosts.len(), plan.hosts[0].name.as_str()), (1, "a.example.com"));
//! assert_eq!(plan.hosts[0].security.demand, Demand::Opportunistic);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod dane;
mod lookup;
mod note;
mod plan;
mod question;
pub mod reach;
pub mod rewrite;
mod security;
mod settings;
pub mod sts;
pub mod table;
pub mod tlsrpt;

pub use lookup::{Lookup, Step, policy_domain};
pub use note::{NoDane, Note};
pub use plan::{Host, Plan, Skip, Skipped, StsFailure, Unroutable, Why};
pub use question::{
    Alias, Answer, Family, FetchError, Missing, Mx, PolicyBody, Proof, Question, Records, Reply, Trouble, tlsa_owner,
};
pub use security::{Demand, Next, Security, Source, Sts, TlsFailure, TlsPolicy, TlsPolicyError, TlsWish, Unsuitable};
pub use settings::{Limits, SMTP_PORT, Settings, Target};
