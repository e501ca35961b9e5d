//! Policy for mail that comes in, as decisions without I/O: how much a client may do, for whom mail is relayed, and
//! what a client's name says of it. Time is an argument; what was looked up is one, too.

mod hello;
mod limits;
mod relay;

pub use hello::{HelloFact, HelloFacts, ReverseDns};
pub use limits::{Decision, Kind, LimitSettings, Rate, RateLimits, Rates, Who};
pub use relay::{BackupDomain, BackupRecipients, Client, Denied, Reason, Relay, RelayRules};
