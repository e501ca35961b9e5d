//! The queue runner of a daemon.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Config, Context, Error};
use directory::Directory;
use net::{Answers, ClientTls, Resolver, ResolverSettings, Validation};
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
    Settings::new(config).map(|_| ())
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
    let present = |path: &std::path::Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let resolver = Resolver::new(ResolverSettings {
        servers: config.dns.servers.clone(),
        validation: if config.dns.trust_ad { Validation::AdBit } else { Validation::Own },
        trust_anchor: present(&config.dns.trust_anchor),
        ..ResolverSettings::default()
    })
    .map_err(|error| Error::Config(format!("dns: {error}")))?;
    let tls = ClientTls::new(present(&config.dns.ca_file).as_deref())
        .map_err(|error| Error::Config(format!("dns.ca_file: {error}")))?;
    let answers = Answers::new(resolver, tls.clone(), settings.routing.reach.clone());
    let connect = Duration::from_secs(config.delivery.connect_seconds.clamp(1, 300));
    Ok(Internet::new(answers, tls, connect, drain))
}
