//! Plans, looked up and remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use routing::sts::CachedPolicy;
use routing::{Lookup, Plan, Step, Target, Unroutable, policy_domain};
use store::{RoomFact, Store};
use tokio::task::JoinSet;

use crate::world::World;

/// The room of the store in which MTA-STS policies are kept.
const POLICIES: &str = "mta-sts";
/// Plans that are remembered.
const PLANS: usize = 20_000;

/// The plans of a process.
#[derive(Debug)]
pub(crate) struct Routes {
    settings: Arc<routing::Settings>,
    remembered: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    plans: HashMap<Target, Arc<Plan>>,
    /// How often all were forgotten.
    forgotten: u64,
}

impl Routes {
    pub(crate) fn new(settings: Arc<routing::Settings>) -> Self {
        Self { settings, remembered: Mutex::default() }
    }

    /// Where mail for a target goes now.
    pub(crate) async fn plan<W: World>(
        &self,
        world: &Arc<W>,
        store: &Arc<dyn Store>,
        target: Target,
    ) -> Result<Plan, Box<Unroutable>> {
        let now = world.now();
        let (known, forgotten) = {
            let remembered = self.remembered();
            (remembered.plan(&target, now), remembered.forgotten)
        };
        if let Some(plan) = known {
            let mut plan = Plan::clone(&plan);
            plan.shuffle(world.random());
            return Ok(plan);
        }
        let plan = look_up(world, store, target.clone(), Arc::clone(&self.settings)).await?;
        let mut remembered = self.remembered();
        // What was asked before is not what has been mended.
        if remembered.forgotten == forgotten {
            remembered.add(target, Arc::new(plan.clone()), now);
        }
        Ok(plan)
    }

    /// Forgets all plans: what they were made of may have been mended.
    pub(crate) fn forget(&self) {
        let mut remembered = self.remembered();
        remembered.plans.clear();
        remembered.forgotten += 1;
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn plan(&self, target: &Target, now: Timestamp) -> Option<Arc<Plan>> {
        self.plans.get(target).filter(|plan| plan.valid_until > now).cloned()
    }

    fn add(&mut self, target: Target, plan: Arc<Plan>, now: Timestamp) {
        if self.plans.len() >= PLANS {
            self.plans.retain(|_, plan| plan.valid_until > now);
            if self.plans.len() >= PLANS {
                self.plans.clear();
            }
        }
        self.plans.insert(target, plan);
    }
}

/// Asks the world until there is a plan, or none.
///
/// # Errors
/// Why mail cannot go there, now or ever.
pub async fn look_up<W: World>(
    world: &Arc<W>,
    store: &Arc<dyn Store>,
    target: Target,
    settings: Arc<routing::Settings>,
) -> Result<Plan, Box<Unroutable>> {
    let domain = policy_domain(&target).map(str::to_owned);
    let cached = match &domain {
        Some(domain) => policy(store, domain).await,
        None => None,
    };
    let mut lookup = Lookup::new(target, settings, cached, world.random(), world.now());
    let mut asked = JoinSet::new();
    let outcome = loop {
        match lookup.poll() {
            Step::Ask(questions) => {
                for question in questions {
                    let world = Arc::clone(world);
                    asked.spawn(async move {
                        let answer = world.answer(&question).await;
                        (question, answer)
                    });
                }
            }
            Step::Wait => match asked.join_next().await {
                Some(Ok((question, answer))) => lookup.answer(&question, answer, world.now()),
                // A task that was cancelled with the runtime: nothing follows any more.
                Some(Err(_)) | None => std::future::pending().await,
            },
            Step::Done(outcome) => break outcome,
        }
    };
    if let (Some(domain), Some(policy)) = (domain, lookup.policy_to_store()) {
        let fact = RoomFact { key: domain, value: policy.encode(), expires: Some(policy.forget_at().as_millisecond()) };
        if let Err(error) = store.put_room_facts(POLICIES, vec![fact]).await {
            tracing::warn!(%error, "an MTA-STS policy is not kept; it is fetched again");
        }
    }
    outcome
}

async fn policy(store: &Arc<dyn Store>, domain: &str) -> Option<CachedPolicy> {
    match store.room_fact(POLICIES, domain).await {
        Ok(fact) => fact.and_then(|fact| CachedPolicy::decode(&fact.value)),
        Err(error) => {
            tracing::warn!(%error, "MTA-STS policies cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use jiff::SignedDuration;

    use super::*;
    use crate::trial::{self, Trial};

    #[tokio::test]
    async fn what_was_asked_before_it_was_to_be_forgotten_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (world, _) = Trial::new(SignedDuration::ZERO);
        let office = trial::office(&folder, world).await;
        let target = Target::domain(address::Domain::parse("far.example").unwrap());
        for forgets in [false, true] {
            office.routes.forget();
            let mut plan = std::pin::pin!(office.routes.plan(&office.world, &office.store, target.clone()));
            assert!(plan.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            if forgets {
                office.routes.forget();
            }
            plan.await.unwrap();
            let remembered = office.routes.remembered().plan(&target, office.world.now());
            assert_eq!(remembered.is_some(), !forgets);
        }
    }
}
