//! What an SMTP session means here: mail is received, submitted, and delivered by LMTP.
//!
//! [`start`] serves the listeners of a process. A message for local recipients is in their mailboxes when the 250 leaves,
//! and one for others is in the queue: both in one transaction.
//!
//! | room | what |
//! |---|---|
//! | `service` | the settings of a listener's sessions |
//! | `application` | one session: TLS, logins |
//! | `transaction` | MAIL and RCPT: who may send what to whom ([`policy`]) |
//! | `content` | the message: gathered, looked at, given its fields |
//! | `screening`, `filtering`, `reverse` | rates, names, and what milters and policy hooks say |
//! | `accept`, `spooling` | the transaction that makes it durable, with its story |
//! | `reports` | reports that are due at once |
//! | `entrance` | what all of them share |
//! | `explain` | its rules in words, for `mailctl explain` |
//! | [`pickup`], `ingress` | mail from the command `sendmail` |

mod accept;
mod application;
mod content;
mod entrance;
mod explain;
mod filtering;
mod ingress;
mod message;
pub mod pickup;
pub mod policy;
mod replies;
mod reports;
mod reverse;
mod screening;
mod service;
mod settings;
mod spooling;
mod transaction;

use std::sync::Arc;

use daemon::{Config, Context, Error, Kind};
use directory::Directory;
use store::Store;

pub use application::SmtpApplication;
pub use entrance::{Entrance, Outgoing};
pub use explain::{Caller, explain};
pub use service::SmtpService;
pub use settings::relay_rules;

/// Tries what of a configuration [`start`] would use, the files that it names included.
///
/// # Errors
/// What cannot be used.
pub fn check(config: &Config) -> Result<(), Error> {
    relay_rules(config)?;
    settings::sizes(config)?;
    settings::filters(config, &settings::Outside::new(config)?)?;
    Ok(())
}

/// Serves SMTP, submission and LMTP. `outgoing` hears of mail that was spooled; without it the queue finds that by itself.
///
/// # Errors
/// A listener cannot be used, or what of the configuration cannot.
pub async fn start(
    context: &mut Context,
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
    outgoing: Option<Outgoing>,
) -> Result<(), Error> {
    let scram = directory.scram_offer().await;
    let entrance = Arc::new(Entrance::new(&context.config, store, directory, outgoing, context.memory.clone())?);
    entrance.reloaded_by(context);
    for kind in [Kind::Smtp, Kind::Submission, Kind::Submissions, Kind::Lmtp] {
        let tls = context.certificates.is_some();
        let service = SmtpService::new(kind, &context.config, tls, Arc::clone(&entrance), scram.clone());
        context.serve(kind, &Arc::new(service))?;
    }
    if context.config.sendmail.enabled {
        let settings = pickup::Settings::new(&context.config);
        let pickup = pickup::Pickup::new(settings, Arc::new(ingress::Ingress(entrance)));
        context.spawn(pickup.run(context.drain.clone()));
    }
    Ok(())
}
