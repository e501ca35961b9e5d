//! What an operator decides about delivery, from the configuration to values.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use address::{Host, Mailbox, ReversePath};
use daemon::{Config, Error, RouteAction};
use queue::scheduler::Shaping;
use queue::{Rate, RetryPolicy};
use routing::reach::Reach;
use routing::table::{Action, Conditions, Here, Lmtp, Pattern, Relay, Route, Rule, Table};
use routing::{Target, TlsPolicy};
use smtp::HelloName;
use wire::Secret;

/// What delivery is told before it begins.
#[derive(Debug)]
pub struct Settings {
    /// Our name: in reports, and in EHLO unless [`Self::hello_name`] says otherwise.
    pub hostname: String,
    /// Our name in EHLO.
    pub hello_name: HelloName,
    /// Addresses to connect from, at most one of each family.
    pub sources: Vec<IpAddr>,
    /// The port that mail exchangers are reached at.
    pub port: u16,
    /// How lookups go.
    pub routing: Arc<routing::Settings>,
    /// Where some mail goes.
    pub table: Table,
    /// Users and passwords of relays, by the names that the table has.
    pub credentials: HashMap<String, Credentials>,
    /// What the table's pipes need besides.
    pub pipes: HashMap<usize, PipeSettings>,
    /// What is asked of TLS where neither a route nor the destination says.
    pub tls: TlsPolicy,
    /// Fairness and kindness.
    pub scheduler: queue::scheduler::Settings,
    /// The schedule.
    pub retry: RetryPolicy,
    /// Other schedules; the first that matches counts.
    pub retry_for: Vec<RetryFor>,
    /// Recipients of one transaction.
    pub recipients_per_message: usize,
    /// How long an idle connection is kept for more mail.
    pub linger: Duration,
    /// Whether senders who did not log in are told of failures (rule 36).
    pub bounce_strangers: bool,
    /// How long the steps of messages are kept.
    pub trace: Duration,
    /// Whether TLS reports are made, and whom their readers may ask back.
    pub tls_reports: Option<String>,
}

/// A user and its password.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// What a pipe needs besides its command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PipeSettings {
    /// The user it runs as where we are root.
    pub user: Option<String>,
    /// How long it may take.
    pub deadline: Duration,
}

/// A schedule for some mail.
#[derive(Clone, Debug)]
pub struct RetryFor {
    recipient: Option<Pattern>,
    sender: Option<Pattern>,
    policy: RetryPolicy,
}

impl Settings {
    /// From the configuration.
    ///
    /// # Errors
    /// What cannot be, and what would be accepted.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let wrong = |what: String| config.wrong(what);
        let delivery = &config.delivery;
        let ehlo_name = if delivery.ehlo_name.is_empty() { &config.hostname } else { &delivery.ehlo_name };
        let mut routing = routing::Settings {
            own_names: vec![config.hostname.to_ascii_lowercase()],
            own_port: config.routing.port,
            own_addresses: config.bind.iter().copied().filter(|address| !address.is_unspecified()).collect(),
            reach: Reach::new(networks(&config.routing.private_targets).map_err(wrong)?),
            dane: config.routing.dane,
            sts: config.routing.mta_sts,
            ..routing::Settings::default()
        };
        let smtp = config.base_port.map_or(routing::SMTP_PORT, |base| base.saturating_add(routing::SMTP_PORT));
        if config.routing.port != smtp {
            // Whoever listens on loopback there is somebody else.
            routing.own_addresses.retain(|address| !address.is_loopback());
        } else if config.bind.iter().any(IpAddr::is_unspecified) {
            routing.own_addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
        }
        let mut rules = Vec::new();
        let (mut credentials, mut pipes) = (HashMap::new(), HashMap::new());
        for (at, route) in config.route.iter().enumerate() {
            let number = at + 1;
            let name = format!("route {number}");
            if let (Some(user), Some(file)) = (&route.user, &route.password_file) {
                let password = password(file).map_err(|what| wrong(format!("{name}: password_file: {what}")))?;
                credentials.insert(name.clone(), Credentials { user: user.clone(), password });
            }
            if route.action == RouteAction::Pipe {
                let deadline = Duration::from_secs(route.command_seconds.unwrap_or(300));
                pipes.insert(number, PipeSettings { user: route.command_user.clone(), deadline });
            }
            rules.push(rule(route, &name).map_err(|what| wrong(format!("{name}: {what}")))?);
        }
        let table = Table::new(rules, &here(config)).map_err(|error| wrong(error.to_string()))?;
        let retry = RetryPolicy {
            first: Duration::from_secs(delivery.retry.first_seconds),
            max: Duration::from_secs(delivery.retry.max_seconds),
            jitter_percent: delivery.retry.jitter_percent,
            expire: hours(delivery.retry.expire_hours),
            delay_notice: notice(delivery.retry.delay_notice_hours),
            greylist_first: Duration::from_secs(delivery.retry.greylist_seconds),
        }
        .bounded();
        let mut retry_for = Vec::new();
        for other in &delivery.retry_for {
            let policy = RetryPolicy {
                first: other.first_seconds.map_or(retry.first, Duration::from_secs),
                max: other.max_seconds.map_or(retry.max, Duration::from_secs),
                expire: other.expire_hours.map_or(retry.expire, hours),
                delay_notice: other.delay_notice_hours.map_or(retry.delay_notice, notice),
                ..retry.clone()
            };
            let of = |text: &Option<String>| {
                text.as_deref().map(pattern).transpose().map_err(|what| wrong(format!("delivery.retry_for: {what}")))
            };
            let (recipient, sender) = (of(&other.recipient_domain)?, of(&other.sender)?);
            retry_for.push(RetryFor { recipient, sender, policy: policy.bounded() });
        }
        let contact = &config.routing.tls_report_contact;
        let contact = if contact.is_empty() { format!("postmaster@{}", config.hostname) } else { contact.clone() };
        Ok(Self {
            hostname: config.hostname.clone(),
            hello_name: hello_name(ehlo_name).map_err(wrong)?,
            sources: delivery.source_addresses.clone(),
            port: config.routing.port,
            routing: Arc::new(routing),
            table,
            credentials,
            pipes,
            tls: if delivery.expect_tls { TlsPolicy::Required } else { TlsPolicy::Auto },
            scheduler: scheduler(delivery),
            retry,
            retry_for,
            recipients_per_message: usize::try_from(delivery.recipients_per_message).unwrap_or(100).max(1),
            linger: Duration::from_secs(delivery.linger_seconds.min(300)),
            bounce_strangers: delivery.bounce_strangers,
            trace: Duration::from_secs(u64::from(delivery.trace_days) * 86_400),
            tls_reports: config.routing.tls_reports.then_some(contact),
        })
    }

    /// What is looked up for mail to a recipient that goes this way; none where nothing is.
    #[must_use]
    pub fn target(&self, route: &Route<'_>, recipient: &Mailbox) -> Option<Target> {
        let mut target = route.target(recipient)?;
        if *route.action == Action::Mx {
            target.port = self.port;
            if target.tls == TlsPolicy::Auto {
                target.tls = self.tls;
            }
        }
        Some(target)
    }

    /// The schedule for a recipient of a message.
    #[must_use]
    pub fn retry(&self, sender: &ReversePath, recipient: Option<&Mailbox>) -> &RetryPolicy {
        let fits = |pattern: &Option<Pattern>, address| pattern.as_ref().is_none_or(|pattern| pattern.matches(address));
        self.retry_for
            .iter()
            .find(|other| fits(&other.recipient, recipient) && fits(&other.sender, sender.mailbox()))
            .map_or(&self.retry, |other| &other.policy)
    }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours.saturating_mul(3600))
}

fn notice(after: u64) -> Option<Duration> {
    (after > 0).then(|| hours(after))
}

fn hello_name(text: &str) -> Result<HelloName, String> {
    HelloName::try_from(text).map_err(|_| format!("delivery.ehlo_name = {text:?}: expected a domain name"))
}

fn networks(values: &[String]) -> Result<Vec<routing::reach::Network>, String> {
    values
        .iter()
        .map(|value| value.parse().map_err(|error| format!("routing.private_targets: {error}: {value:?}")))
        .collect()
}

/// `@example.org` is the domain's mail, for whoever writes it as mail systems do.
fn pattern(text: &str) -> Result<Pattern, String> {
    let text = text.strip_prefix('@').unwrap_or(text);
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn password(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn here(config: &Config) -> Here {
    let kinds = [daemon::Kind::Smtp, daemon::Kind::Submission, daemon::Kind::Submissions, daemon::Kind::Lmtp];
    let places: Vec<_> = kinds.into_iter().flat_map(|kind| config.places(kind)).collect();
    let ports = places.iter().filter_map(|place| match place {
        daemon::Place::Tcp(address) => Some(address.port()),
        daemon::Place::Unix(_) => None,
    });
    Here {
        names: vec![config.hostname.to_ascii_lowercase()],
        addresses: config.bind.clone(),
        ports: ports.collect(),
        lmtp_socket: Some(config.lmtp.socket.clone()),
    }
}

fn rule(route: &daemon::Route, name: &str) -> Result<Rule, String> {
    let host = || {
        let text = route.relay_host.as_deref().unwrap_or_default();
        let literal = text.parse::<IpAddr>().map(|address| match address {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        });
        let text = literal.unwrap_or_else(|_| text.to_owned());
        Host::parse(&text).map_err(|error| format!("relay_host = {text:?}: {error}"))
    };
    let action = match route.action {
        RouteAction::Mx => Action::Mx,
        RouteAction::Relay => Action::Relay(Relay {
            host: host()?,
            port: route.relay_port.unwrap_or(25),
            implicit_tls: route.implicit_tls,
            credentials: route.user.as_ref().map(|_| name.to_owned()),
            use_mx: route.use_mx,
        }),
        RouteAction::Lmtp => Action::Lmtp(match &route.socket {
            Some(socket) => Lmtp::Socket(socket.clone()),
            None => Lmtp::Tcp { host: host()?, port: route.relay_port.unwrap_or(24) },
        }),
        RouteAction::Discard => Action::Discard,
        RouteAction::Refuse => {
            let reply = route.reply.as_deref().unwrap_or_default();
            let (code, text) = reply.split_once(' ').unwrap_or((reply, ""));
            let code = code.parse().map_err(|_| format!("reply = {reply:?}: expected a code, as in `550 5.7.1 no`"))?;
            Action::Refuse { code, text: text.to_owned() }
        }
        RouteAction::Pipe => Action::Pipe { command: route.command.clone() },
    };
    let patterns = |text: &Option<String>| text.as_deref().map(pattern).transpose();
    Ok(Rule {
        name: String::new(),
        conditions: Conditions {
            recipients: patterns(&route.recipient_domain)?.into_iter().collect(),
            senders: patterns(&route.sender)?.into_iter().collect(),
        },
        tls: route.tls,
        source_addresses: route.source_address.into_iter().collect(),
        ehlo_name: route.ehlo_name.clone(),
        ..Rule::new(action)
    })
}

fn scheduler(delivery: &daemon::Delivery) -> queue::scheduler::Settings {
    let shaping = Shaping {
        sessions: delivery.sessions_per_destination,
        messages_per_session: delivery.messages_per_session,
        recipients_per_batch: delivery.recipients_per_message,
        ..Shaping::default()
    };
    let minute = |count: Option<u32>| count.map(|count| Rate::new(count, Duration::from_secs(60)));
    let overrides: BTreeMap<String, Shaping> = delivery
        .shape
        .iter()
        .map(|shape| {
            let own = Shaping {
                sessions: shape.sessions.unwrap_or(shaping.sessions),
                messages_per_session: shape.messages_per_session.unwrap_or(shaping.messages_per_session),
                recipients_per_batch: shape.recipients_per_message.unwrap_or(shaping.recipients_per_batch),
                messages: minute(shape.messages_per_minute),
                recipients: minute(shape.recipients_per_minute),
                connections: minute(shape.connections_per_minute),
                ..shaping
            };
            (shape.destination.to_ascii_lowercase(), own)
        })
        .collect();
    queue::scheduler::Settings {
        sessions: delivery.sessions,
        sessions_per_group: delivery.sessions_per_provider,
        shaping,
        overrides,
        linger: Duration::from_secs(delivery.linger_seconds),
        backoff_first: Duration::from_secs(delivery.retry.dead_seconds),
        backoff_max: Duration::from_secs(delivery.retry.dead_max_seconds),
        ..queue::scheduler::Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_destination_is_left_alone_as_the_configuration_says() {
        for (text, first, longest) in
            [("", 60, 3_600), ("[delivery.retry]\ndead_seconds = 5\ndead_max_seconds = 20\n", 5, 20)]
        {
            let scheduler = Settings::new(&Config::parse(text).unwrap()).unwrap().scheduler;
            let seconds = (scheduler.backoff_first.as_secs(), scheduler.backoff_max.as_secs());
            assert_eq!(seconds, (first, longest));
        }
    }
}
