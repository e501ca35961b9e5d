//! Where mail for a domain goes, in which order, and how each host must be secured.
//!
//! ```text
//! cargo run -p mailwright-examples --example where_mail_goes -- example.org
//! ```

use std::sync::Arc;

use address::Domain;
use jiff::Timestamp;
use net::{Answers, ClientTls, Resolver, ResolverSettings};
use routing::{Lookup, Settings, Step, Target};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let domain = std::env::args().nth(1).unwrap_or_else(|| "example.org".to_owned());
    println!("{}", plan(&domain, ResolverSettings::default()).await?);
    Ok(())
}

/// The hosts, a line for each; or why there are none.
pub(crate) async fn plan(domain: &str, names: ResolverSettings) -> anyhow::Result<String> {
    let settings = Arc::new(Settings::default());
    let answers = Answers::new(Resolver::new(names)?, ClientTls::new(None)?, settings.reach.clone());
    let target = Target::domain(Domain::parse(domain)?);
    let mut lookup = Lookup::new(target, settings, None, 0, Timestamp::now());
    loop {
        match lookup.poll() {
            Step::Ask(questions) => {
                for question in questions {
                    lookup.answer(&question, answers.answer(&question).await, Timestamp::now());
                }
            }
            Step::Done(Err(unroutable)) => return Ok(unroutable.to_string()),
            Step::Wait => anyhow::bail!("all questions are answered"),
            Step::Done(Ok(plan)) => {
                let line = |host: &routing::Host| {
                    format!("{} {} {:?} {}", host.preference, host.name, host.addresses, host.security.demand.word())
                };
                return Ok(plan.hosts.iter().map(line).collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
