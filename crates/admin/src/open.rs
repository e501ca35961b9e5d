//! A system as every daemon and command opens it.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Config, Error};
use directory::{Directory, Hashing, Settings};
use store::{Embedded, Options, Salvaged, Store};

/// The store and the directory over it.
#[derive(Clone, Debug)]
pub struct System {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who is who.
    pub directory: Arc<Directory>,
}

/// Opens the system of a configuration. `listen`: hear of the changes of other processes, as daemons do.
///
/// # Errors
/// The data directory cannot be used, or is gone; the error says why and what to do.
pub fn open(config: &Config, listen: bool) -> Result<System, Error> {
    if !listen {
        daemon::data_is_there(config)?; // a daemon has looked before it made anything
    }
    make(config, listen)
}

/// Whether this version can use the store of a configuration, as far as that can be told without opening it. A data directory
/// that is not there yet is no fault of the configuration: what is to be said of it.
///
/// # Errors
/// It has another format.
pub fn check(config: &Config) -> Result<Option<Error>, Error> {
    store::check(&config.data).map_err(|error| failed(config, error))?;
    Ok(daemon::data_is_there(config).err())
}

/// Opens the system of a configuration, a new one where there is none.
pub(crate) fn make(config: &Config, listen: bool) -> Result<System, Error> {
    let options = Options { listen, ..options(config) };
    let store: Arc<dyn Store> = Embedded::open(&config.data, &options).map_err(|error| failed(config, error))?;
    let settings = Settings {
        hashing: Hashing {
            memory_kib: config.auth.argon2_memory_kib,
            iterations: config.auth.argon2_iterations,
            parallelism: config.auth.argon2_parallelism,
            scram_iterations: config.auth.scram_iterations,
        },
        cache: Duration::from_secs(config.auth.cache_seconds),
        failures_per_minute: config.auth.failures_per_minute,
        ..Settings::default()
    };
    let directory = Directory::new(Arc::clone(&store), settings);
    Ok(System { store, directory })
}

/// Makes the index of the store anew from its segments, while no daemon runs. One that is there is kept beside it, if
/// `replace` says that it may be replaced.
///
/// # Errors
/// A daemon runs, an index is there and may not be replaced, or the segments cannot be read.
pub fn salvage(config: &Config, replace: bool) -> Result<Salvaged, Error> {
    daemon::data_is_there(config)?;
    store::salvage(&config.data, &options(config), replace).map_err(|error| failed(config, error))
}

fn options(config: &Config) -> Options {
    Options {
        segment_octets: config.store.segment_octets,
        min_free_octets: config.store.min_free_octets,
        ..Options::default()
    }
}

fn failed(config: &Config, error: store::Error) -> Error {
    let data = config.data.display();
    match error {
        store::Error::Unusable(reason) => Error::Config(reason),
        error if error.is_damage() => Error::Failed(format!(
            "data directory {data}: {error}\nStop the daemons; `mailctl salvage --replace` makes the index anew from the messages"
        )),
        error => Error::Failed(format!("data directory {data}: {error}")),
    }
}
