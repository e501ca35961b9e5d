//! The names of clients: looked up beside the session, which does not wait for them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use address::Domain;
use net::{LookUp as _, LookUpError, Resolver};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::policy::ReverseDns;

/// What is known of a client's names.
#[derive(Clone, Debug)]
pub(crate) struct Names(watch::Receiver<ReverseDns>);

impl Names {
    /// What is known by now.
    pub(crate) fn now(&self) -> ReverseDns {
        self.0.borrow().clone()
    }

    /// What is known when the lookup is done, or after `longest`.
    pub(crate) async fn within(&self, longest: Duration) -> ReverseDns {
        let mut names = self.0.clone();
        // Something is told once, or whoever would tell it is gone.
        let _ = timeout(longest, names.changed()).await;
        self.now()
    }
}

impl Default for Names {
    /// Nothing, and nobody looks.
    fn default() -> Self {
        Self(watch::channel(ReverseDns::Unknown).1)
    }
}

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

    /// Begins to look.
    pub(crate) fn begin(&self, address: IpAddr) -> Names {
        let (tell, names) = watch::channel(ReverseDns::Unknown);
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            let resolver = self.resolver.clone();
            tokio::spawn(async move {
                tell.send_replace(self::names(&resolver, address).await);
                drop(permit);
            });
        }
        Names(names)
    }
}

/// What the names of an address say.
pub(crate) async fn names(resolver: &Resolver, address: IpAddr) -> ReverseDns {
    timeout(LONGEST, look_up(resolver, address)).await.unwrap_or(ReverseDns::Unknown)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_waited_for_while_somebody_looks() {
        // Far longer than a test may take.
        let long = Duration::from_secs(3_600);
        assert_eq!(Names::default().within(long).await, ReverseDns::Unknown);

        let (tell, names) = watch::channel(ReverseDns::Unknown);
        let names = Names(names);
        assert_eq!(names.within(Duration::from_millis(1)).await, ReverseDns::Unknown, "the look-up takes longer");
        let (found, ()) = tokio::join!(names.within(long), async {
            tell.send_replace(ReverseDns::None);
        });
        assert_eq!(found, ReverseDns::None);
        assert_eq!(names.within(long).await, ReverseDns::None, "known already");
        drop(tell);
        assert_eq!(names.now(), ReverseDns::None);
    }
}
