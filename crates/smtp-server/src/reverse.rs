//! The names of clients: looked up beside the session, which does not wait for them.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use address::Domain;
use net::{LookUp as _, LookUpError, Resolver};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::policy::ReverseDns;

/// What is known of a client's names, by now.
pub(crate) type Names = Arc<OnceLock<ReverseDns>>;

/// Looks names up, so many at once; whoever comes beyond that stays without.
#[derive(Clone, Debug)]
pub(crate) struct Reverse {
    resolver: Resolver,
    room: Arc<Semaphore>,
}

/// Lookups at once.
const AT_ONCE: usize = 64;
/// The time for all names of an address.
const LONGEST: Duration = Duration::from_secs(20);

impl Reverse {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self { resolver, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Begins to look; what is found will stand in the cell.
    pub(crate) fn begin(&self, address: IpAddr) -> Names {
        let names = Names::default();
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            let (resolver, cell) = (self.resolver.clone(), Arc::clone(&names));
            tokio::spawn(async move {
                let found = timeout(LONGEST, look_up(&resolver, address)).await.unwrap_or(ReverseDns::Unknown);
                // Nobody else fills this cell.
                let _ = cell.set(found);
                drop(permit);
            });
        }
        names
    }
}

async fn look_up(resolver: &Resolver, address: IpAddr) -> ReverseDns {
    let Ok(names) = resolver.names_of(address).await else { return ReverseDns::Unknown };
    let mut found = Vec::new();
    for name in names.into_iter().take(ReverseDns::MOST_NAMES) {
        let Ok(domain) = Domain::parse(&name) else { continue };
        let addresses = match resolver.look_up(domain.ascii(), 0).await {
            Ok(addresses) => Some(addresses.into_iter().map(|address| address.ip()).collect()),
            Err(LookUpError::None) => Some(Vec::new()),
            Err(LookUpError::Temporary) => None,
        };
        found.push((domain, addresses));
    }
    ReverseDns::of(address, &found)
}
