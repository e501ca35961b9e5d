//! The rules of the entrance in words, for whoever asks what would happen to a message: those that `mta` goes by, from the
//! same configuration. Nothing is counted, and no filter is asked.

use std::net::IpAddr;

use address::{ForwardPath, Mailbox};
use daemon::{Config, Error, Kind};
use net::Network;
use smtp::HelloName;

use crate::policy::{HelloFact, HelloFacts, LimitSettings, Rates};
use crate::reverse;
use crate::settings;

/// Who would send the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// The client's address; with no account either: a program of this machine, by `sendmail`.
    pub address: Option<IpAddr>,
    /// What it says in EHLO.
    pub hello: Option<&'a str>,
    /// The account that it has logged in as.
    pub account: Option<&'a Mailbox>,
}

impl Caller<'_> {
    /// Where it comes in, as filters and the trace name it.
    #[must_use]
    pub fn listener(&self) -> &'static str {
        match (self.account, self.address) {
            (Some(_), _) => "submission",
            (None, Some(_)) => "smtp",
            (None, None) => "sendmail",
        }
    }
}

/// What would apply to a message of this client to this recipient: what each rule is about, and its words.
///
/// # Errors
/// What of the configuration cannot be used.
pub async fn explain(
    config: &Config,
    caller: &Caller<'_>,
    recipient: &ForwardPath,
) -> Result<Vec<(&'static str, String)>, Error> {
    let mut told: Vec<_> = listener(config, caller).into_iter().map(|words| ("listener", words)).collect();
    told.extend(names(config, caller).await?.into_iter().map(|words| ("names", words)));
    told.extend(rates(&settings::limits(&config.rates), caller).into_iter().map(|words| ("rates", words)));
    told.extend(sizes(config, caller, recipient)?.into_iter().map(|words| ("size", words)));
    told.extend(filters(config, caller.listener()).into_iter().map(|words| ("filters", words)));
    Ok(told)
}

fn listener(config: &Config, caller: &Caller<'_>) -> Vec<String> {
    let off = |section: &str| vec![format!("nothing is taken there: {section}.enabled = false")];
    let places = |kinds: &[Kind]| {
        let places = kinds.iter().flat_map(|kind| config.places(*kind));
        places.map(|place| place.to_string()).collect::<Vec<_>>().join(", ")
    };
    let login = "a login first (530 5.7.0)";
    let secure = if config.submission.allow_plaintext_auth {
        "in clear, too, since submission.allow_plaintext_auth = true"
    } else {
        "within TLS alone (530 5.7.0 before)"
    };
    let mut words = match caller.listener() {
        "sendmail" if !config.sendmail.enabled => return off("sendmail"),
        "sendmail" => return vec!["the command sendmail: no login, no rates".into()],
        "submission" if !config.submission.enabled => return off("submission"),
        "submission" => {
            let places = places(&[Kind::Submission, Kind::Submissions]);
            vec![format!("submission at {places}: {login}, {secure}")]
        }
        _ if !config.smtp.enabled => return off("smtp"),
        _ => port_25(config, &places(&[Kind::Smtp])),
    };
    if caller.account.is_none() && config.submission.enabled {
        words.push(format!("on submission this client would need {login}, {secure}; `--login ACCOUNT` tells of it"));
    }
    let limits = &config.limits;
    words.push(format!(
        "{} connections at once from one address, {} in all (421 4.3.2); in one: {} messages, {} errors",
        limits.connections_per_address, limits.connections, limits.transactions, limits.errors
    ));
    words
}

fn port_25(config: &Config, places: &str) -> Vec<String> {
    let smtp = &config.smtp;
    let mut words = vec![format!("SMTP at {places}: nobody logs in there, TLS is not demanded")];
    if smtp.greeting_delay_ms > 0 {
        let then = if smtp.refuse_early_talkers { "refused (554 5.5.0)" } else { "told of in the trace" };
        let delay = smtp.greeting_delay_ms;
        words.push(format!("the greeting comes after {delay} ms; who talks before is {then} (smtp.greeting_delay_ms)"));
    }
    if smtp.tarpit_ms > 0 {
        let (delay, errors) = (smtp.tarpit_ms, smtp.tarpit_after_errors);
        words.push(format!("after {errors} refusals in a row each is {delay} ms late (smtp.tarpit_ms)"));
    }
    words
}

/// What the client's names say.
async fn names(config: &Config, caller: &Caller<'_>) -> Result<Vec<String>, Error> {
    let wrong = |hello: &str| Error::Config(format!("{hello:?} is nothing that EHLO takes"));
    let hello = caller.hello.map(|hello| HelloName::try_from(hello).map_err(|_| wrong(hello))).transpose()?;
    if caller.listener() != "smtp" {
        return Ok(Vec::new());
    }
    let mut words = Vec::new();
    let known = HelloFacts::new(config);
    let mut facts = hello.as_ref().map(|name| known.judge(name, caller.address)).unwrap_or_default();
    let resolver = settings::Outside::new(config)?.resolver.filter(|_| config.policy.reverse_dns);
    match (resolver, caller.address) {
        (Some(resolver), Some(address)) => {
            let found = reverse::names(&resolver, address).await;
            facts.push(found.fact());
            facts.extend(hello.filter(|name| found.confirms(name)).map(|_| HelloFact::NameConfirmed));
        }
        _ if config.policy.reverse_dns => {
            words.push("its address is not looked up: no name server can be asked".into());
        }
        _ => words.push("its address is not looked up: policy.reverse_dns = false".into()),
    }
    words.extend(facts.iter().map(|fact| format!("{fact}: {}", fact.words())));
    words.push("these are facts for the trace and no reason to refuse".into());
    Ok(words)
}

fn rates(settings: &LimitSettings, caller: &Caller<'_>) -> Vec<String> {
    let mut words = Vec::new();
    let mut scopes: Vec<(String, &str, &Rates)> = Vec::new();
    if let Some(address) = caller.address {
        if let Some(exempt) = settings.exempt.iter().find(|network| network.contains(address)) {
            words.push(format!("{address} is in {exempt} of rates.exempt: its address and network are not limited"));
        } else {
            let (v4, v6) = settings.network_bits;
            let (host, network) = (Network::of(address, 32, 64), Network::of(address, v4, v6));
            scopes.push((format!("from {host}"), "rates.address", &settings.by_address));
            scopes.push((format!("from {network}"), "rates.network", &settings.by_network));
        }
    }
    if let Some(account) = caller.account {
        scopes.push((format!("by {account}"), "rates.account", &settings.by_account));
    }
    let before = words.len();
    for (whose, key, rates) in scopes {
        for (what, rate) in [
            ("connections", rates.connections),
            ("commands", rates.commands),
            ("recipients", rates.recipients),
            ("messages", rates.messages),
            ("octets", rates.octets),
        ] {
            words.extend(rate.map(|rate| format!("{} {what} a minute {whose} ({key})", rate.amount)));
        }
    }
    if let (Some(account), Some(most)) = (caller.account, settings.recipients_a_day) {
        words.push(format!("{most} recipients in 24 hours by {account} (rates.recipients_a_day)"));
    }
    if words.len() > before {
        let waits = match settings.longest_delay.as_secs() {
            0 => String::new(),
            seconds => format!("waits up to {seconds} s (rates.longest_delay_seconds), else "),
        };
        words.push(format!("what is more {waits}is refused: 421 4.7.0 for connections and commands, else 450 4.7.28"));
        words.push("how much of it is used up is known to the running mta alone".into());
    } else if caller.listener() != "sendmail" {
        words.push("no rate is set for this client".into());
    }
    words
}

fn sizes(config: &Config, caller: &Caller<'_>, recipient: &ForwardPath) -> Result<Vec<String>, Error> {
    let limits = &config.limits;
    let mut words = vec![format!(
        "{} octets in a message (limits.message_octets; 552 5.3.4), {} recipients of one (limits.recipients)",
        limits.message_octets, limits.recipients
    )];
    let others = settings::sizes(config)?;
    for mailbox in caller.account.into_iter().chain(recipient.mailbox()) {
        if let Some(octets) = settings::size_for(&others, mailbox) {
            words.push(format!(
                "{octets} octets in a message of or to {mailbox} (policy.message_octets_for; 552 5.3.4)"
            ));
        }
    }
    Ok(words)
}

fn filters(config: &Config, listener: &str) -> Vec<String> {
    let sees = |listeners: &[String]| listeners.is_empty() || listeners.iter().any(|name| name == listener);
    let milters = config.milter.iter().filter(|milter| sees(&milter.listeners));
    let hooks = config.hook.iter().filter(|hook| sees(&hook.listeners));
    milters
        .map(|milter| format!("the milter {} would be asked, and may decide otherwise", milter.name))
        .chain(hooks.map(|hook| format!("the policy hook {} would be asked, and may decide otherwise", hook.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        hostname = "mx.example.org"
        [smtp]
        greeting_delay_ms = 500
        refuse_early_talkers = true
        tarpit_ms = 900
        [policy]
        reverse_dns = false
        message_octets_for = [{ address = "@example.org", octets = 1000 }, { address = "x@far.example", octets = 77 }]
        [rates]
        exempt = ["198.51.100.0/24"]
        longest_delay_seconds = 9
        [rates.address]
        connections_per_minute = 3
        [rates.network]
        octets_per_minute = 4
        [rates.account]
        messages_per_minute = 5
        [[hook]]
        name = "judge"
        url = "http://127.0.0.1:1/"
        listeners = ["smtp"]
    "#;

    async fn told(text: &str, address: &str, hello: Option<&str>, account: &str, to: &str) -> String {
        let config = Config::parse(text).unwrap();
        let account = Mailbox::parse(account).ok();
        let caller = Caller { address: address.parse().ok(), hello, account: account.as_ref() };
        let told = explain(&config, &caller, &ForwardPath::parse(to).unwrap()).await.unwrap();
        told.iter().map(|(about, words)| format!("{about}: {words}\n")).collect()
    }

    #[tokio::test]
    async fn each_rule_says_what_applies_and_why() {
        let stranger = told(POLICY, "192.0.2.7", Some("localhost"), "", "x@far.example").await;
        let ann = told(POLICY, "2001:db8::7", None, "ann@example.org", "y@far.example").await;
        let exempt = told(POLICY, "198.51.100.7", None, "", "y@far.example").await;
        let program = told(POLICY, "", None, "", "bob@example.org").await;
        let plain =
            told("[policy]\nreverse_dns = false", "192.0.2.7", Some("mx.far.example"), "", "x@far.example").await;
        let dumb =
            told("[dns]\nservers = [\"192.0.2.1:53\"]\ntrust_ad = true", "192.0.2.7", None, "", "x@y.example").await;
        let off =
            told("[smtp]\nenabled = false\n[policy]\nreverse_dns = false", "192.0.2.7", None, "", "x@y.example").await;
        let clear = told("[submission]\nallow_plaintext_auth = true", "", None, "ann@example.org", "x@y.example").await;
        for (told, words) in [
            (&stranger, "listener: SMTP at 0.0.0.0:25, [::]:25: nobody logs in there"),
            (&stranger, "listener: the greeting comes after 500 ms; who talks before is refused (554 5.5.0)"),
            (&stranger, "listener: after 3 refusals in a row each is 900 ms late"),
            (&stranger, "on submission this client would need a login first (530 5.7.0), within TLS alone"),
            (&stranger, "names: helo-localhost: it says localhost, from elsewhere"),
            (&stranger, "names: its address is not looked up: policy.reverse_dns = false"),
            (&stranger, "rates: 3 connections a minute from 192.0.2.7/32 (rates.address)"),
            (&stranger, "rates: 4 octets a minute from 192.0.2.0/24 (rates.network)"),
            (
                &stranger,
                "rates: what is more waits up to 9 s (rates.longest_delay_seconds), else is refused: 421 4.7.0",
            ),
            (
                &stranger,
                "size: 52428800 octets in a message (limits.message_octets; 552 5.3.4), 1000 recipients of one",
            ),
            (&stranger, "size: 77 octets in a message of or to x@far.example"),
            (&stranger, "filters: the policy hook judge would be asked"),
            (&ann, "rates: 3 connections a minute from 2001:db8::/64 (rates.address)"),
            (&ann, "rates: 4 octets a minute from 2001:db8::/48 (rates.network)"),
            (&ann, "rates: 5 messages a minute by ann@example.org (rates.account)"),
            (&ann, "rates: 1000 recipients in 24 hours by ann@example.org (rates.recipients_a_day)"),
            (&ann, "size: 1000 octets in a message of or to ann@example.org"),
            (&exempt, "rates: 198.51.100.7 is in 198.51.100.0/24 of rates.exempt"),
            (&program, "listener: the command sendmail: no login, no rates"),
            (&program, "size: 1000 octets in a message of or to bob@example.org"),
            (&plain, "rates: no rate is set for this client"),
            (&dumb, "names: its address is not looked up: no name server can be asked"),
            (&off, "listener: nothing is taken there: smtp.enabled = false"),
            (&clear, "a login first (530 5.7.0), in clear, too, since submission.allow_plaintext_auth = true"),
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        for (told, words) in [
            (&stranger, "24 hours"),
            (&exempt, "a minute"),
            (&ann, "names: "),
            (&ann, "filters: "),
            (&ann, "of or to y@"),
            (&program, "rates: "),
            (&plain, "helo-"),
        ] {
            assert!(!told.contains(words), "{words}: {told}");
        }
    }
}
