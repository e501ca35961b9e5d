//! Days of mail from one seed (`DESIGN.md` §6): the queue, routing, delivery and the store in a world of their own.
//!
//! Simulated are the network with its servers, the DNS, the clock and the disk; everything else is what daemons run.
//! [`run`] plays one seed: hundreds of recipients at domains that are well, away, slow, greylisting or lying, operators who
//! interfere, power cuts in between. At the end the accounts must balance ([`Report::wrongs`]):
//!
//! - each recipient of an accepted message has exactly one end: delivered, failed (and then its sender was told, once),
//!   discarded by a rule, removed by an operator; nothing is left in the queue;
//! - nothing arrives twice, but where the reply was lost or the power was cut before it was written down;
//! - no mail that is due waits longer than a bound; no limit of sessions or rates is exceeded; the scheduler's memory is
//!   bounded.
//!
//! The same seed does the same ([`Report::hash`] is of everything that happened).

mod clock;
mod dice;
mod disk;
mod internet;
mod ledger;
mod life;
mod line;
mod mail;
mod peer;
mod plan;

pub use ledger::Numbers;
pub use life::{Report, run};
pub use plan::Planted;
