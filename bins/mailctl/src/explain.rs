//! What would happen to a message now, and why: the same decisions that `mta` makes, in their order, and nothing is sent.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::directory::Resolution;
use address::{ForwardPath, Mailbox, ReversePath};
use admin::System;
use daemon::{Config, Error};
use delivery::{Internet, Settings};
use queue::RetryPolicy;
use routing::table::{Action, Route};
use routing::{Demand, Host, Security, Source};
use serde_json::{Value, json};
use smtp_server::Caller;
use smtp_server::policy::{BackupRecipients, Client, Relay};
use tokio::sync::watch;

use crate::args::Explain;

pub(crate) fn run(args: &daemon::Args, as_json: bool, request: &Explain) -> Result<(), Error> {
    let bare = |text: &str| text.trim_start_matches('<').trim_end_matches('>').to_owned();
    let sender = ReversePath::parse(&bare(&request.from))
        .map_err(|error| Error::Config(format!("--from {:?}: {error}", request.from)))?;
    let recipient = ForwardPath::parse(&bare(&request.to))
        .map_err(|error| Error::Config(format!("--to {:?}: {error}", request.to)))?;
    let (_, config) = Config::find(args.config.as_deref())?;
    daemon::start_log(&daemon::Log { level: "warn".into(), ..config.log.clone() })?;
    let settings = Settings::new(&config)?;
    let told = crate::runtime()?.block_on(async {
        let (_keep, drain) = watch::channel(false);
        let world = Arc::new(delivery::internet(&config, &settings, drain)?);
        let system = admin::open(&config, false)?;
        let mut explaining =
            Explaining { config: &config, settings: &settings, world, system: &system, told: Told::default() };
        let outcome = explaining.explain(request, &sender, &recipient).await;
        let told = explaining.told;
        system.store.close().await;
        outcome.map(|()| told)
    })?;
    if as_json {
        println!("{}", told.value(&sender, &recipient, request));
    } else {
        print!("{}", told.text());
    }
    Ok(())
}

/// What is told: reasons in their order, hosts in theirs, and what it comes to.
#[derive(Debug, Default)]
struct Told {
    reasons: Vec<(&'static str, String)>,
    hosts: Vec<Value>,
    /// `delivered here`, `queued`, `refused` …, each once.
    outcome: Vec<&'static str>,
}

impl Told {
    fn say(&mut self, about: &'static str, words: impl Into<String>) {
        self.reasons.push((about, words.into()));
    }

    fn end(&mut self, outcome: &'static str) {
        if !self.outcome.contains(&outcome) {
            self.outcome.push(outcome);
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut before = "";
        for (about, words) in &self.reasons {
            let name = if *about == before { "" } else { about };
            before = about;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10} {}", plain(words));
        }
        let _ = writeln!(text, "{:<10} {}", "so", self.outcome.join(", "));
        text
    }

    fn value(&self, sender: &ReversePath, recipient: &ForwardPath, request: &Explain) -> Value {
        let reasons: Vec<Value> =
            self.reasons.iter().map(|(about, words)| json!({ "about": about, "words": words })).collect();
        json!({
            "from": sender.mailbox().map(ToString::to_string).unwrap_or_default(),
            "to": recipient.mailbox().map_or_else(|| "postmaster".to_owned(), ToString::to_string),
            "ip": request.ip,
            "account": request.login,
            "hello": request.helo,
            "reasons": reasons,
            "hosts": self.hosts,
            "outcome": self.outcome,
        })
    }
}

fn plain(said: &str) -> String {
    let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() };
    said.chars().map(escape).collect()
}

struct Explaining<'a> {
    config: &'a Config,
    settings: &'a Settings,
    world: Arc<Internet>,
    system: &'a System,
    told: Told,
}

impl Explaining<'_> {
    async fn explain(&mut self, request: &Explain, sender: &ReversePath, recipient: &ForwardPath) -> Result<(), Error> {
        if !self.client(request, sender).await? {
            self.told.end("refused");
            return Ok(());
        }
        self.entrance(request, recipient).await?;
        let unavailable = |error: store::Error| Error::Failed(error.to_string());
        let onward = match self.system.directory.resolve(recipient).await {
            Resolution::Local(found) => {
                for target in &found.accounts {
                    let detail = target.detail.as_ref().map(|detail| format!(" (detail {detail})")).unwrap_or_default();
                    let address = &target.account.address;
                    self.told.say("recipient", format!("is here: the account {address}{detail} gets it in INBOX"));
                    self.quota(&target.account);
                    self.told.end("delivered here");
                }
                let elsewhere = found.elsewhere.into_iter().map(|forward| {
                    self.told.say("recipient", format!("{} leads to {}, which is not here", forward.via, forward.to));
                    forward.to
                });
                elsewhere.collect::<Vec<_>>()
            }
            Resolution::NoSuchUser => {
                self.told.say("recipient", "the domain is here, and there is nobody of that name: 550 5.1.1");
                self.told.end("refused");
                Vec::new()
            }
            Resolution::Disabled => {
                self.told.say("recipient", "is here and disabled: refused until it is enabled");
                self.told.end("refused");
                Vec::new()
            }
            Resolution::NotLocal => {
                self.told.say("recipient", "is not here: its domain is none of ours");
                if self.may_relay(request, recipient)? {
                    recipient.mailbox().cloned().into_iter().collect()
                } else {
                    Vec::new()
                }
            }
            Resolution::Unavailable(error) => return Err(unavailable(error)),
        };
        let asks = request.ip.is_some() || request.login.is_some();
        for mailbox in onward {
            // Whoever names the recipient in SMTP hears of a refusal there; behind an alias, and from a program, it is a report.
            let hears = asks && recipient.mailbox() == Some(&mailbox);
            self.on_its_way(sender, &mailbox, hears).await;
        }
        Ok(())
    }

    /// What is asked of who sends; whether that is enough.
    async fn client(&mut self, request: &Explain, sender: &ReversePath) -> Result<bool, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(error.to_string());
        let Some(account) = &request.login else {
            let words = match request.ip {
                Some(ip) => format!("{ip}, which has not logged in, may name any sender"),
                None => "a program of this machine, by `sendmail`: its sender is taken as it is".to_owned(),
            };
            self.told.say("client", words);
            return Ok(true);
        };
        let account = self.system.directory.find_account(account).await.map_err(|error| failed(&error))?;
        if !account.enabled {
            self.told.say("client", format!("{} is disabled and cannot log in", account.address));
            return Ok(false);
        }
        let allowed = match sender.mailbox() {
            // rule 16
            None => true,
            Some(sender) => {
                self.system.directory.sender_allowed(account.id, sender).await.map_err(|error| failed(&error))?
            }
        };
        let may = if allowed { "may send" } else { "may not send" };
        self.told.say("client", format!("logged in as {}, which {may} as {sender}", account.address));
        Ok(allowed)
    }

    fn quota(&mut self, account: &store::Account) {
        if let Some(quota) = account.quota_octets {
            let (used, address) = (account.used_octets, &account.address);
            self.told.say("limits", format!("{address} uses {used} of {quota} octets"));
        }
    }

    /// The rules of where it comes in.
    async fn entrance(&mut self, request: &Explain, recipient: &ForwardPath) -> Result<(), Error> {
        let account = request.login.as_deref().and_then(|account| Mailbox::parse(account).ok());
        let caller = Caller { address: request.ip, hello: request.helo.as_deref(), account: account.as_ref() };
        for (about, words) in smtp_server::explain(self.config, &caller, recipient).await? {
            self.told.say(about, words);
        }
        Ok(())
    }

    fn may_relay(&mut self, request: &Explain, recipient: &ForwardPath) -> Result<bool, Error> {
        if request.ip.is_none() && request.login.is_none() {
            self.told.say("relay", "a program of this machine may send anywhere");
            return Ok(true);
        }
        let rules = smtp_server::relay_rules(self.config)?;
        let client = Client { address: request.ip, logged_in: request.login.is_some() };
        let domain = recipient.mailbox().and_then(|mailbox| mailbox.domain());
        if let Some(backup) = domain.and_then(|domain| rules.backup_of(domain)) {
            let whom = match &backup.recipients {
                BackupRecipients::Anybody => "all its addresses, since there is no list of them".to_owned(),
                BackupRecipients::Listed(listed) => format!("the {} addresses of its list", listed.len()),
            };
            let domain = backup.domain.ascii();
            self.told.say("relay", format!("we are backup MX of {domain} for {whom} (smtp.backup_domains)"));
        }
        match rules.may_relay(&client, recipient) {
            Relay::Yes(reason) => {
                self.told.say("relay", reason.to_string());
                Ok(true)
            }
            Relay::No(denied) => {
                self.told.say("relay", format!("{denied}: {}", denied.reply()));
                self.told.end("refused");
                Ok(false)
            }
        }
    }

    /// Table, names, hosts, schedule.
    async fn on_its_way(&mut self, sender: &ReversePath, mailbox: &Mailbox, hears: bool) {
        let path = ForwardPath::Mailbox(mailbox.clone());
        let route = self.settings.table.route(sender, &path);
        self.told.say("route", route.to_string());
        match route.action {
            Action::Discard => return self.told.end("discarded"),
            Action::Refuse { code, .. } => {
                return self.told.end(match code {
                    500.. if hears => "refused",
                    500.. => "returned to the sender",
                    _ => "kept in the queue",
                });
            }
            Action::Pipe { .. } | Action::Lmtp(_) => self.told.end("queued"),
            Action::Mx | Action::Relay(_) => self.look_up(&route, mailbox).await,
        }
        self.schedule(self.settings.retry(sender, Some(mailbox)));
        self.limits(mailbox);
        if !self.config.delivery.enabled {
            self.told.say("schedule", "delivery.enabled = false: it waits in the queue until that is changed");
        }
    }

    async fn look_up(&mut self, route: &Route<'_>, mailbox: &Mailbox) {
        let Some(target) = self.settings.target(route, mailbox) else { return };
        let routing = Arc::clone(&self.settings.routing);
        let found = delivery::look_up(&self.world, &self.system.store, target, routing).await;
        let notes = match &found {
            Ok(plan) => &plan.notes,
            Err(unroutable) => &unroutable.notes,
        };
        notes.iter().for_each(|note| self.told.say("dns", note.to_string()));
        match found {
            Ok(plan) => {
                for host in &plan.hosts {
                    self.told.say("host", host_words(host, plan.port));
                    self.told.hosts.push(host_value(host, plan.port));
                }
                self.told.end("queued");
            }
            Err(unroutable) => {
                let next = if unroutable.is_temporary() { "tried again later" } else { "returned to the sender" };
                self.told.say("host", format!("none: {unroutable}: {next}"));
                self.told.end(if unroutable.is_temporary() { "kept in the queue" } else { "returned to the sender" });
            }
        }
    }

    fn schedule(&mut self, policy: &RetryPolicy) {
        let notice = match policy.delay_notice {
            Some(after) => format!("the sender is told of a delay after {}", span(after)),
            None => "nobody is told of a delay".to_owned(),
        };
        self.told.say(
            "schedule",
            format!(
                "tried at once; then after {}, doubling to {}; {notice}; given up after {}",
                span(policy.first),
                span(policy.max),
                span(policy.expire)
            ),
        );
    }

    fn limits(&mut self, mailbox: &Mailbox) {
        let destination = ::directory::destination(mailbox);
        let scheduler = &self.settings.scheduler;
        let own = scheduler.overrides.get(&destination);
        let shaping = own.unwrap_or(&scheduler.shaping);
        let mut words = format!(
            "{} connections to {destination} at once, {} messages on each, {} recipients in one",
            shaping.sessions, shaping.messages_per_session, shaping.recipients_per_batch
        );
        let rates =
            [("messages", shaping.messages), ("recipients", shaping.recipients), ("connections", shaping.connections)];
        for (what, rate) in rates {
            if let Some(rate) = rate {
                let _ = write!(words, ", {} {what} in {}", rate.count, span(rate.per));
            }
        }
        self.told.say("limits", words);
    }
}

/// `5m`, `4h`, `5d`.
fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds >= 86_400 && seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds >= 3600 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

fn host_words(host: &Host, port: u16) -> String {
    let addresses: Vec<String> =
        host.addresses.iter().map(|address| SocketAddr::new(*address, port).to_string()).collect();
    format!("{} {} at {}: {}", host.preference, host.name, addresses.join(", "), security_words(&host.security))
}

fn security_words(security: &Security) -> String {
    let by = match security.source {
        Source::Default => "nobody asks for more",
        Source::Dane => "by its TLSA records",
        Source::Sts => "by the MTA-STS policy of the domain",
        Source::Setting => "by a setting of ours",
        Source::Message => "by the message",
    };
    let demand = match &security.demand {
        Demand::None => "never TLS".to_owned(),
        Demand::Opportunistic => "TLS where it is offered, else clear text".to_owned(),
        Demand::Encrypted => "TLS, whoever it is".to_owned(),
        Demand::Verified { names } => format!("TLS with a certificate for {}", names.join(" or ")),
        Demand::Dane { records, .. } => {
            format!("TLS with a certificate that one of {} TLSA records matches", records.len())
        }
    };
    let testing = security.sts.is_some_and(|sts| sts.testing);
    format!("{demand} ({by}{})", if testing { "; an MTA-STS policy is in testing" } else { "" })
}

fn host_value(host: &Host, port: u16) -> Value {
    json!({
        "name": host.name,
        "preference": host.preference,
        "addresses": host.addresses,
        "port": port,
        "tls": host.security.demand.word(),
        "source": match host.security.source {
            Source::Default => "default",
            Source::Dane => "dane",
            Source::Sts => "mta-sts",
            Source::Setting => "setting",
            Source::Message => "message",
        },
    })
}
