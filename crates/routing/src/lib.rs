//! Where mail for a domain goes, in which order, and how it must be secured.

pub mod dane;
mod lookup;
mod note;
mod plan;
mod question;
pub mod reach;
mod security;
mod settings;
pub mod sts;

pub use lookup::{Lookup, Step, policy_domain};
pub use note::{NoDane, Note};
pub use plan::{Host, Plan, Skip, Skipped, StsFailure, Unroutable, Why};
pub use question::{
    Alias, Answer, Family, FetchError, Missing, Mx, PolicyBody, Proof, Question, Records, Reply, Trouble, tlsa_owner,
};
pub use security::{Demand, Next, Security, Source, Sts, TlsFailure, TlsPolicy, TlsPolicyError, TlsWish, Unsuitable};
pub use settings::{Limits, SMTP_PORT, Settings, Target};
