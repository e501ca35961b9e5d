//! From the configuration to what the entrance works with.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use address::{Domain, Mailbox};
use bytes::Bytes;
use daemon::{Config, Context, Error, OnFailure};
use filter::{Filters, HookSettings, MacroStage, MilterSettings, Post, Stage, Stages};
use net::https::Limits;
use net::{CertificateError, ClientTls, Https, LookUp, Resolver, ResolverError, ResolverSettings, Validation};

use crate::policy::{BackupDomain, BackupRecipients, LimitSettings, Rate, Rates, RelayRules};

/// What is needed to ask others: only where the configuration does.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub(crate) resolver: Option<Resolver>,
    pub(crate) tls: Option<ClientTls>,
    https: Option<Https>,
}

impl Outside {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let asks = config.hook.iter().any(|hook| hook.url.starts_with("https:"));
        if !asks && !config.policy.reverse_dns {
            return Ok(Self::default());
        }
        let resolver = match Resolver::new(resolver(config)) {
            Ok(resolver) => resolver,
            Err(error) if !asks => {
                tracing::warn!(%error, "names of clients are not looked up");
                return Ok(Self::default());
            }
            Err(error) => return Err(wrong_dns(config, &error)),
        };
        if !asks {
            return Ok(Self { resolver: Some(resolver), ..Self::default() });
        }
        let tls = ClientTls::new(ca_file(config)).map_err(|error| wrong_ca_file(config, &error))?;
        // rule 30
        let allowed: Result<Vec<_>, _> = config.routing.private_targets.iter().map(|text| text.parse()).collect();
        let allowed = allowed.map_err(|error| config.wrong(format_args!("routing.private_targets: {error}")))?;
        let look_up: Arc<dyn LookUp> = Arc::new(resolver.clone());
        let https = Https::new(tls.clone(), look_up, routing::reach::Reach::new(allowed));
        Ok(Self { resolver: Some(resolver), tls: Some(tls), https: Some(https) })
    }

    /// Has what there is read again on SIGHUP.
    pub(crate) fn reloaded_by(&self, context: &mut Context) {
        if let Some(own) = self.resolver.clone() {
            let reload = move |config: &Config| own.reload(resolver(config)).map_err(|error| wrong_dns(config, &error));
            context.on_reload("name servers of the entrance", reload);
        }
        if let Some(own) = self.tls.clone() {
            let reload =
                move |config: &Config| own.reload(ca_file(config)).map_err(|error| wrong_ca_file(config, &error));
            context.on_reload("CAs of policy hooks", reload);
        }
    }
}

fn resolver(config: &Config) -> ResolverSettings {
    ResolverSettings {
        servers: config.dns.servers.clone(),
        // What a client's name says is a hint, whoever signed it.
        validation: if config.dns.trust_ad { Validation::AdBit } else { Validation::Off },
        ..ResolverSettings::default()
    }
}

fn ca_file(config: &Config) -> Option<&Path> {
    let path = config.dns.ca_file.as_path();
    (!path.as_os_str().is_empty()).then_some(path)
}

fn wrong_dns(config: &Config, error: &ResolverError) -> Error {
    config.wrong(format_args!("dns: {error}"))
}

fn wrong_ca_file(config: &Config, error: &CertificateError) -> Error {
    config.wrong(format_args!("dns.ca_file: {error}"))
}

/// Documents to policy services that are not on this machine.
struct Hooks(Https);

#[async_trait::async_trait]
impl Post for Hooks {
    async fn post(&self, url: &str, document: Bytes, most: usize) -> Result<(u16, Bytes), String> {
        let limits = Limits { octets: most + 1, ..Limits::default() };
        let answer = self.0.post(url, "application/json", document, limits).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.body.len() > most {
            return Err(format!("an answer of more than {most} octets"));
        }
        Ok((answer.status, answer.body.into()))
    }
}

/// Who relays through us (rule 12).
///
/// # Errors
/// A domain is none, or a list of recipients cannot be used.
pub fn relay_rules(config: &Config) -> Result<RelayRules, Error> {
    let mut backup = Vec::new();
    for entry in &config.smtp.backup_domains {
        let wrong = |what: String| config.wrong(format_args!("smtp.backup_domains: {}: {what}", entry.domain));
        let domain = Domain::parse(&entry.domain).map_err(|error| wrong(error.to_string()))?;
        let recipients = match &entry.recipients_file {
            None => BackupRecipients::Anybody,
            Some(file) => {
                let wrong = |what: String| wrong(format!("{}: {what}", file.display()));
                let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
                let mut listed = BTreeSet::new();
                for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                    let mailbox = Mailbox::parse(line).map_err(|error| wrong(format!("{line:?}: {error}")))?;
                    listed.insert(mailbox.key());
                }
                BackupRecipients::Listed(listed)
            }
        };
        backup.push(BackupDomain { domain, subdomains: entry.subdomains, recipients });
    }
    let networks = daemon::networks(&config.smtp.relay_networks);
    Ok(RelayRules { networks, refuse_accounts: false, backup })
}

/// How much anybody may do.
pub(crate) fn limits(rates: &daemon::Rates) -> LimitSettings {
    let minute = |amount: u64| (amount > 0).then(|| Rate::new(amount, Duration::from_secs(60)));
    let of = |rate: &daemon::Rate| Rates {
        connections: minute(rate.connections_per_minute),
        commands: minute(rate.commands_per_minute),
        recipients: minute(rate.recipients_per_minute),
        messages: minute(rate.messages_per_minute),
        octets: minute(rate.octets_per_minute),
    };
    LimitSettings {
        by_address: of(&rates.address),
        by_network: of(&rates.network),
        by_account: of(&rates.account),
        recipients_a_day: (rates.recipients_a_day > 0).then_some(rates.recipients_a_day),
        exempt: daemon::networks(&rates.exempt),
        longest_delay: Duration::from_secs(rates.longest_delay_seconds.min(100)),
        ..LimitSettings::default()
    }
}

/// Other limits of size, by address key or `@domain`.
pub(crate) fn sizes(config: &Config) -> Result<Vec<(String, u64)>, Error> {
    let key = |text: &str| match text.strip_prefix('@') {
        Some(domain) => Domain::parse(domain).ok().map(|domain| format!("@{}", domain.ascii())),
        None => Mailbox::parse(text).ok().map(|mailbox| mailbox.key()),
    };
    let entries = config.policy.message_octets_for.iter().map(|entry| {
        let wrong = || {
            config.wrong(format_args!(
                "policy.message_octets_for: address = {:?}: expected an address, or \"@example.org\" for all of a domain",
                entry.address
            ))
        };
        Ok((key(&entry.address).ok_or_else(wrong)?, entry.octets))
    });
    entries.collect()
}

/// The limit for an address among [`sizes`].
pub(crate) fn size_for(sizes: &[(String, u64)], mailbox: &Mailbox) -> Option<u64> {
    if sizes.is_empty() {
        return None;
    }
    let key = mailbox.key();
    let domain = mailbox.domain().map(|domain| format!("@{}", domain.ascii()));
    sizes.iter().find(|(of, _)| *of == key || Some(of) == domain.as_ref()).map(|(_, octets)| *octets)
}

/// The filters of each listener.
pub(crate) fn filters(config: &Config, outside: &Outside) -> Result<HashMap<&'static str, Filters>, Error> {
    let https: Option<Arc<dyn Post>> = outside.https.clone().map(|https| Arc::new(Hooks(https)) as Arc<dyn Post>);
    let mut found = HashMap::new();
    for listener in ["smtp", "submission", "submissions", "lmtp", "sendmail"] {
        let sees = |listeners: &[String]| listeners.is_empty() || listeners.iter().any(|name| name == listener);
        let mut settings = filter::Settings::default();
        for milter in config.milter.iter().filter(|milter| sees(&milter.listeners)) {
            settings.milters.push(self::milter(milter, config)?);
        }
        for hook in config.hook.iter().filter(|hook| sees(&hook.listeners)) {
            let mut own = HookSettings::new(&hook.name, &hook.url);
            own.timeout = seconds(hook.seconds, own.timeout);
            own.on_failure = on_failure(hook.on_failure);
            own.stages = stages(&hook.stages).unwrap_or(own.stages);
            settings.hooks.push(own);
        }
        let filters = Filters::new(settings, https.as_ref()).map_err(|error| config.wrong(error))?;
        found.insert(listener, filters);
    }
    Ok(found)
}

fn milter(milter: &daemon::Milter, config: &Config) -> Result<MilterSettings, Error> {
    let address = milter.address.parse().map_err(|error| {
        config.wrong(format_args!("milter {}: address = {:?}: {error}", milter.name, milter.address))
    })?;
    let mut own = MilterSettings::new(&milter.name, address);
    own.connect_timeout = seconds(milter.connect_seconds, own.connect_timeout);
    own.command_timeout = seconds(milter.command_seconds, own.command_timeout);
    own.content_timeout = seconds(milter.content_seconds, own.content_timeout);
    own.on_failure = on_failure(milter.on_failure);
    own.stages = stages(&milter.stages).unwrap_or(own.stages);
    own.body_octets = usize::try_from(config.limits.message_octets).unwrap_or(own.body_octets);
    own.macros = macros(&milter.macros);
    Ok(own)
}

fn macros(told: &daemon::Macros) -> Vec<(MacroStage, Vec<String>)> {
    const ORDER: [MacroStage; 7] = [
        MacroStage::Connect,
        MacroStage::Hello,
        MacroStage::Mail,
        MacroStage::Recipient,
        MacroStage::Data,
        MacroStage::EndOfHeader,
        MacroStage::End,
    ];
    let bare = |name: &String| name.trim_start_matches('{').trim_end_matches('}').to_owned();
    let lists = ORDER.into_iter().zip(told.lists());
    lists.filter_map(|(stage, names)| Some((stage, names.as_ref()?.iter().map(bare).collect()))).collect()
}

fn seconds(told: Option<u64>, default: Duration) -> Duration {
    told.map_or(default, |seconds| Duration::from_secs(seconds.clamp(1, 3_600)))
}

fn on_failure(told: OnFailure) -> filter::OnFailure {
    match told {
        OnFailure::Accept => filter::OnFailure::Accept,
        OnFailure::Tempfail => filter::OnFailure::TempFail,
        OnFailure::Reject => filter::OnFailure::Reject,
    }
}

fn stages(names: &[String]) -> Option<Stages> {
    const ALL: [Stage; 6] = [Stage::Connect, Stage::Hello, Stage::Mail, Stage::Recipient, Stage::Data, Stage::Message];
    let named: Vec<Stage> = ALL.into_iter().filter(|stage| names.iter().any(|name| name == stage.as_str())).collect();
    (!named.is_empty()).then(|| Stages::of(&named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_of_a_milter() {
        let config = Config::parse(
            "hostname = \"mx.example.org\"\n[[milter]]\nname = \"one\"\naddress = \"/run/one\"\n\
             macros = { connect = [\"j\", \"{client_ptr}\"], rcpt = [], end_of_message = [\"i\"] }\n",
        )
        .unwrap();
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            milter(&config.milter[0], &config).unwrap().macros,
            [
                (MacroStage::Connect, list(&["j", "client_ptr"])),
                (MacroStage::Recipient, list(&[])),
                (MacroStage::End, list(&["i"])),
            ]
        );
    }
}
