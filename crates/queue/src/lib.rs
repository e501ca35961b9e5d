//! When to try what: schedule, fairness, concurrency, and what the sender is told. It decides; it holds no disk, no
//! socket and no clock.
//!
//! | RFC | here |
//! |---|---|
//! | 5321 §4.5.4 retries, RFC 6647 greylisting | [`RetryPolicy`], [`Trouble`] |
//! | 2852 DELIVERBY, 4865 FUTURERELEASE, 6710 MT-PRIORITY, 8689 REQUIRETLS | [`envelope::Envelope`], [`RetryPolicy`], [`scheduler::Row`] |
//! | 3461 DSN, 3463, 3464, 6522, 6533 | [`dsn`] |
//!
//! # A session from grant to end
//!
//! ```
//! # use mailwright_queue as queue;
//! use jiff::Timestamp;
//! use queue::scheduler::{Ended, Fate, RecipientOutcome, Row, Scheduler, Settings, Step, Take};
//!
//! let now = Timestamp::from_second(1_700_000_000)?;
//! let mut scheduler = Scheduler::new(Settings::default());
//! let row = Row { queue_id: "1aB".into(), number: 0, due: now, priority: 0, attempts: 0, source: "ann".into() };
//! scheduler.fresh("b.example", [row], now);
//!
//! let Step::Start(grant) = scheduler.next(now) else { unreachable!() };
//! // The runner resolves b.example, and connects.
//! assert!(scheduler.session_at(grant.id, "mx.b.example", now));
//! let Take::Batch { numbers, .. } = scheduler.take(grant.id, now, 100) else { unreachable!() };
//! // It sends, writes to the store what became of the recipients, and then tells:
//! let outcomes: Vec<_> = numbers.iter().map(|&number| RecipientOutcome { number, fate: Fate::Delivered }).collect();
//! scheduler.outcome(grant.id, &outcomes, now);
//! assert_eq!(scheduler.take(grant.id, now, 100), Take::Idle);
//! scheduler.session_ended(grant.id, Ended::Quiet, now);
//! assert_eq!(scheduler.next(now), Step::Wait { until: None });
//! # Ok::<(), jiff::Error>(())
//! ```
//!
//! # Limits
//!
//! | limit | default | bounds | source |
//! |---|---|---|---|
//! | [`RetryPolicy::first`] | 5 min | 10 s to 1 day | RFC 5321 §4.5.4.1 asks for 30 min; receivers greylist |
//! | [`RetryPolicy::max`] | 4 h | `first` to 1 day | RFC 5321 §4.5.4.1: two or three hours and more |
//! | [`RetryPolicy::jitter_percent`] | 10 | 0 to 50 | ours |
//! | [`RetryPolicy::expire`] | 5 days | 1 h to 30 days | RFC 5321 §4.5.4.1: at least 4 to 5 days |
//! | [`RetryPolicy::delay_notice`] | 4 h | 5 min to `expire` | ours |
//! | [`RetryPolicy::greylist_first`] | 2 min | 30 s to `max` | RFC 6647 §5: one minute to 24 hours |
//! | [`scheduler::Settings::sessions`] | 200 | 1 to 20,000 | ours |
//! | [`scheduler::Settings::fresh_percent`] | 20 | 0 to 90 | ours |
//! | [`scheduler::Settings::probe_percent`] | 25 | 1 to 90 | ours |
//! | [`scheduler::Settings::sessions_per_group`] | 40 | 1 to `sessions` | ours |
//! | [`scheduler::Settings::sources`] | 10,000 | 100 to 1,000,000 | ours |
//! | [`scheduler::Settings::destinations`] | 200,000 | 10 to 10,000,000 | ours: about 150 octets each |
//! | [`scheduler::Settings::rows_per_load`] | 200 | 10 to 10,000 | ours |
//! | [`scheduler::Settings::rows_handed`] | 10,000 | 0 to 1,000,000 | ours: about 200 octets each |
//! | [`scheduler::Settings::quantum`] | 5 s | 0 to 5 min | ours |
//! | [`scheduler::Settings::linger`] | 10 s | 0 to 5 min | under the 5 min of RFC 5321 §4.5.3.2.7 |
//! | [`scheduler::Settings::backoff_first`] | 1 min | 1 s to `backoff_max` | ours |
//! | [`scheduler::Settings::backoff_max`] | 1 h | 1 s to 1 day | ours |
//! | [`scheduler::Settings::backoff_jitter_percent`] | 20 | 0 to 50 | ours |
//! | [`scheduler::Shaping::sessions`] | 20 | 1 to the total | Postfix's default |
//! | [`scheduler::Shaping::sessions_first`] | 2 | 1 to `sessions` | ours |
//! | [`scheduler::Shaping::messages_per_session`] | 100 | 1 to 1,000,000 | ours |
//! | [`scheduler::Shaping::recipients_per_batch`] | 100 | 1 to 10,000 | RFC 5321 §4.5.3.1.8 |
//! | [`Rate::count`], [`Rate::per`], [`Rate::burst`] | none | 1 to 1,000,000; 1 s to 1 day; 1 to `count` | ours |
//! | [`scheduler::DESTINATION_OCTETS`] | 512 | fixed | RFC 5321 §4.5.3.1.2 has 255 for a domain |
//! | [`envelope::PARAMETER_OCTETS`] | 4096 | fixed | the longest command line that is read |
//! | [`envelope::NAME_OCTETS`] | 1024 | fixed | ours |
//! | [`envelope::REPLY_OCTETS`] | 2048 | fixed | ours |
//! | [`dsn::VALUE_OCTETS`] | 2048 | fixed | four reply lines of RFC 5321 §4.5.3.1.5 |
//! | [`dsn::UNASKED_OCTETS`] | 51,200 | fixed | ours |
//! | [`dsn::REPORT_RECIPIENTS`] | 1000 | fixed | recipients that one message may have |

pub mod dsn;
pub mod envelope;
mod random;
mod rate;
mod schedule;
pub mod scheduler;
mod time;

pub use rate::Rate;
pub use schedule::{Case, Expiry, RetryPolicy, Standing, Trouble, Verdict};
pub use scheduler::Scheduler;
