//! The queue runner of a daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Config, Context, Error};
use directory::Directory;
use net::{Answers, CertificateError, ClientTls, Resolver, ResolverError, ResolverSettings, Validation};
use store::Store;
use tokio::sync::watch;

use crate::internet::Internet;
use crate::office::Office;
use crate::settings::Settings;

/// The office of a process in the real world.
pub type PostOffice = Office<Internet>;

/// Whether the routes and all else about delivery make sense: no mail goes round in circles, every route can match, files
/// can be read.
///
/// # Errors
/// What is wrong, and what would be accepted.
pub fn check(config: &Config) -> Result<(), Error> {
    let (_keep, drain) = watch::channel(false);
    internet(config, &Settings::new(config)?, drain).map(|_| ())
}

/// Builds the office of a configuration and lets it run the queue until the process stops.
///
/// # Errors
/// What of the configuration cannot be used.
pub fn start(
    context: &mut Context,
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
) -> Result<Arc<PostOffice>, Error> {
    let config = Arc::clone(&context.config);
    let settings = Settings::new(&config)?;
    let world = internet(&config, &settings, context.drain.clone())?;
    let office = Office::new(Arc::new(world), store, directory, Arc::new(settings));
    let asks = Arc::clone(&office);
    context.on_reload("name servers of delivery", move |config| {
        asks.world.resolver().reload(resolver(config)).map_err(|error| wrong_dns(config, &error))?;
        asks.routes.forget();
        Ok(())
    });
    let trusts = Arc::clone(&office);
    context.on_reload("CAs of delivery", move |config| {
        trusts.world.tls().reload(present(&config.dns.ca_file)).map_err(|error| wrong_ca_file(config, &error))
    });
    if config.delivery.enabled {
        context.spawn(Arc::clone(&office).run(context.drain.clone()));
    }
    Ok(office)
}

/// The world as a configuration sees it: its name servers, its trust. Connections end when `drain` becomes true.
///
/// # Errors
/// What of the configuration cannot be used.
pub fn internet(config: &Config, settings: &Settings, drain: watch::Receiver<bool>) -> Result<Internet, Error> {
    let resolver = Resolver::new(resolver(config)).map_err(|error| wrong_dns(config, &error))?;
    let tls = ClientTls::new(present(&config.dns.ca_file)).map_err(|error| wrong_ca_file(config, &error))?;
    let answers = Answers::new(resolver, tls.clone(), settings.routing.reach.clone());
    let connect = Duration::from_secs(config.delivery.connect_seconds.clamp(1, 300));
    Ok(Internet::new(answers, tls, connect, drain))
}

fn resolver(config: &Config) -> ResolverSettings {
    ResolverSettings {
        servers: config.dns.servers.clone(),
        validation: if config.dns.trust_ad { Validation::AdBit } else { Validation::Own },
        trust_anchor: present(&config.dns.trust_anchor).map(Path::to_owned),
        ..ResolverSettings::default()
    }
}

fn present(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

fn wrong_dns(config: &Config, error: &ResolverError) -> Error {
    config.wrong(format_args!("dns: {error}"))
}

fn wrong_ca_file(config: &Config, error: &CertificateError) -> Error {
    config.wrong(format_args!("dns.ca_file: {error}"))
}
