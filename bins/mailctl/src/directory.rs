//! Accounts, aliases and domains.

use std::collections::BTreeSet;

use ::directory::Directory;
use admin::System;
use daemon::{Config, Error};
use serde_json::{Value, json};

use crate::args::{Account, Alias, Domain};
use crate::password;

/// What is asked of the directory.
pub(crate) enum Request {
    /// `mailctl account …`
    Account(Account),
    /// `mailctl alias …`
    Alias(Alias),
    /// `mailctl domain …`
    Domain(Domain),
}

pub(crate) fn run(args: &daemon::Args, as_json: bool, request: Request) -> Result<(), Error> {
    let (_, config) = Config::find(args.config.as_deref())?;
    daemon::start_log(&daemon::Log { level: "warn".into(), ..config.log.clone() })?;
    crate::runtime()?.block_on(async {
        let system = admin::open(&config, false)?;
        let outcome = carry_out(&system, as_json, request).await;
        system.store.close().await;
        outcome
    })
}

async fn carry_out(system: &System, as_json: bool, request: Request) -> Result<(), Error> {
    match request {
        Request::Account(request) => account(&system.directory, as_json, request).await,
        Request::Alias(request) => alias(&system.directory, as_json, request).await,
        Request::Domain(request) => domain(&system.directory, as_json, request).await,
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}

async fn account(directory: &Directory, as_json: bool, request: Account) -> Result<(), Error> {
    match request {
        Account::Add { address, password } => {
            let (secret, made_up) = password::obtain(password)?;
            directory.add_account(&address, &secret).await.map_err(failed)?;
            owe_aliases(directory, [&address]).await?;
            tell_password(as_json, &address, made_up.then_some(&secret));
        }
        Account::Passwd { address, password } => {
            let (secret, made_up) = password::obtain(password)?;
            directory.set_password(&address, &secret).await.map_err(failed)?;
            tell_password(as_json, &address, made_up.then_some(&secret));
        }
        Account::List => {
            let accounts = directory.all_accounts().await.map_err(failed)?;
            if as_json {
                println!("{}", Value::Array(accounts.iter().map(account_json).collect()));
            } else {
                for account in accounts {
                    let disabled = if account.enabled { "" } else { "\tdisabled" };
                    println!(
                        "{}\t{} messages\t{} octets{disabled}",
                        account.address, account.used_messages, account.used_octets
                    );
                }
            }
        }
        Account::Show { address } => {
            let account = directory.find_account(&address).await.map_err(failed)?;
            if as_json {
                println!("{}", account_json(&account));
            } else {
                let quota = account.quota_octets.map_or("none".to_owned(), |quota| format!("{quota} octets"));
                println!("address   {}", account.address);
                println!("enabled   {}", account.enabled);
                println!("messages  {}", account.used_messages);
                println!("octets    {}", account.used_octets);
                println!("quota     {quota}");
            }
        }
        Account::Remove { address } => directory.remove_account(&address).await.map_err(failed)?,
        Account::Disable { address } => directory.set_enabled(&address, false).await.map_err(failed)?,
        Account::Enable { address } => directory.set_enabled(&address, true).await.map_err(failed)?,
        Account::Import { file } => {
            let rows = admin::read_csv(&file)?;
            let addresses: Vec<String> = rows.iter().map(|row| row.address.clone()).collect();
            let count = directory
                .import(rows)
                .await
                .map_err(|error| Error::Failed(format!("{}: {error}; nothing was imported", file.display())))?;
            owe_aliases(directory, &addresses).await?;
            if as_json {
                println!("{}", json!({ "imported": count }));
            } else {
                println!("{count} accounts imported");
            }
        }
    }
    Ok(())
}

/// A domain's first account gets what every domain must receive (rule 14).
async fn owe_aliases(directory: &Directory, addresses: impl IntoIterator<Item = &String>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for address in addresses {
        if let Some((_, domain)) = address.rsplit_once('@')
            && seen.insert(domain.to_lowercase())
        {
            directory.owe_aliases(&domain.to_lowercase(), address).await.map_err(failed)?;
        }
    }
    Ok(())
}

fn tell_password(as_json: bool, address: &str, password: Option<&String>) {
    match (as_json, password) {
        (true, Some(password)) => println!("{}", json!({ "address": address, "password": password })),
        (true, None) => println!("{}", json!({ "address": address })),
        (false, Some(password)) => println!("{password}"),
        (false, None) => {}
    }
}

fn account_json(account: &store::Account) -> Value {
    json!({
        "address": account.address,
        "enabled": account.enabled,
        "quota_octets": account.quota_octets,
        "used_octets": account.used_octets,
        "used_messages": account.used_messages,
        "created": account.created,
    })
}

async fn alias(directory: &Directory, as_json: bool, request: Alias) -> Result<(), Error> {
    match request {
        Alias::Add { address, targets } => directory.add_alias(&address, &targets).await.map_err(failed)?,
        Alias::Remove { address, targets } => directory.remove_alias(&address, &targets).await.map_err(failed)?,
        Alias::List => {
            let aliases = directory.store().aliases().await.map_err(failed)?;
            if as_json {
                let list = aliases.iter().map(|alias| json!({ "address": alias.key, "targets": alias.targets }));
                println!("{}", Value::Array(list.collect()));
            } else {
                for alias in aliases {
                    println!("{}\t{}", alias.key, alias.targets.join(" "));
                }
            }
        }
    }
    Ok(())
}

async fn domain(directory: &Directory, as_json: bool, request: Domain) -> Result<(), Error> {
    match request {
        Domain::Add { name, alias_of: Some(real), .. } => {
            directory.add_domain_alias(&name, &real).await.map_err(failed)?;
        }
        Domain::Add { name, catch_all, .. } => {
            directory.add_domain(&name, catch_all.as_deref()).await.map_err(failed)?;
        }
        Domain::Remove { name } => directory.remove_domain(&name).await.map_err(failed)?,
        Domain::List => {
            let domains = directory.store().domains().await.map_err(failed)?;
            if as_json {
                let list = domains.iter().map(|domain| json!({ "name": domain.name, "catch_all": domain.catch_all }));
                println!("{}", Value::Array(list.collect()));
            } else {
                for domain in domains {
                    println!("{}\t{}", domain.name, domain.catch_all.unwrap_or_default());
                }
            }
        }
    }
    Ok(())
}
