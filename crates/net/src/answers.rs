//! Answers every question of [`routing`]: from DNS, and policies by HTTPS.

use std::sync::Arc;

use routing::reach::Reach;
use routing::{Answer, FetchError, PolicyBody, Question, sts};

use crate::https::Limits;
use crate::{ClientTls, Https, HttpsError, LookUp, LookUpError, Resolver};

/// Answers questions. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Answers {
    resolver: Resolver,
    https: Https,
}

impl Answers {
    /// Answers from this resolver, and fetches policies from hosts that `tls` trusts and `reach` allows.
    #[must_use]
    pub fn new(resolver: Resolver, tls: ClientTls, reach: Reach) -> Self {
        let look_up: Arc<dyn LookUp> = Arc::new(resolver.clone());
        Self { https: Https::new(tls, look_up, reach), resolver }
    }

    /// The same, with a client for policies of its own.
    #[must_use]
    pub fn with_https(resolver: Resolver, https: Https) -> Self {
        Self { resolver, https }
    }

    /// The resolver.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The client for policies, also for reports and hooks.
    #[must_use]
    pub fn https(&self) -> &Https {
        &self.https
    }

    /// The answer to a question; within the resolver's total time, or a minute for a policy.
    pub async fn answer(&self, question: &Question) -> Answer {
        match question.policy_url() {
            Some(url) => Answer::Policy(self.policy(&url).await),
            None => self.resolver.answer(question).await,
        }
    }

    async fn policy(&self, url: &str) -> Result<PolicyBody, FetchError> {
        // One octet more than allowed, which tells that there are more.
        let limits = Limits { octets: sts::MAX_POLICY + 1, ..Limits::default() };
        let response = self.https.get(url, limits).await.map_err(|error| {
            tracing::debug!(url, %error, "policy not fetched");
            match error {
                HttpsError::LookUp(LookUpError::None) | HttpsError::Refused { .. } => FetchError::NoAddress,
                HttpsError::Certificate(_) | HttpsError::Tls(_) => FetchError::Certificate,
                HttpsError::Timeout => FetchError::Timeout,
                HttpsError::Http(_) => FetchError::Malformed,
                _ => FetchError::Unreachable,
            }
        })?;
        // RFC 8461 §3.3: anything but 200 is a failure, redirects are not followed.
        match response.status {
            200 => Ok(PolicyBody { octets: response.body, media_type: response.media_type }),
            status => Err(FetchError::Status(status)),
        }
    }
}
