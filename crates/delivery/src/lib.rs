//! The queue runner: takes what is due to where it goes, once, and tells the sender what became of it.
//!
//! ```text
//! store (spool) → queue::Scheduler (what, when, how many) → routing (where, how secured) → a World's connection
//!       ↑                                                                                     ↓
//!   settle: outcomes, reports, trace, in one transaction, before the next step   ←   smtp::client
//! ```
//!
//! | room | what |
//! |---|---|
//! | `office` | what is shared: scheduler, plans, settings |
//! | `runner` | the loop: loads, grants, housekeeping |
//! | `courier` | a granted session, connection after connection |
//! | `hand` | what is said on one connection |
//! | `verdict` | from replies to what becomes of a recipient |
//! | `settle`, `notice` | the transaction that writes it down, and the report to the sender |
//! | `overdue` | what waits behind a destination that is left alone: too long, or late |
//! | `routes`, `tls_reports` | plans and policies; what is told of TLS once a day |
//! | `world`, `internet` | time, questions, connections: the real ones, or a simulation's |
//!
//! What a crash may repeat: a message whose content was sent and whose reply was not yet written down is sent again. No
//! other step is done twice, and none is left out.

mod by_pipe;
mod courier;
mod hand;
mod internet;
mod metrics;
mod notice;
mod octets;
mod office;
mod overdue;
pub mod pipe;
mod routes;
mod runner;
mod settings;
mod settle;
mod start;
mod tls_reports;
#[cfg(test)]
mod trial;
mod verdict;
mod work;
mod world;

pub use hand::Hand;
pub use internet::Internet;
pub use octets::Octets;
pub use office::Office;
pub use routes::look_up;
pub use settings::{Credentials, PipeSettings, RetryFor, Settings};
pub use start::{PostOffice, check, internet, start};
pub use world::{Call, Called, Line, Place, Trouble, World};
