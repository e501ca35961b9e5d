//! What a connection to one host must be: how it is secured, and what follows when that fails.
//!
//! | source | demand |
//! |---|---|
//! | usable TLSA records (RFC 7672 §2.2) | [`Demand::Dane`] |
//! | TLSA records, none usable | [`Demand::Encrypted`] |
//! | an MTA-STS policy to enforce (RFC 8461 §5) | [`Demand::Verified`] |
//! | nothing, or a policy in testing | [`Demand::Opportunistic`] |
//! | the operator's setting for a destination | [`TlsPolicy`] |
//! | the message: REQUIRETLS, `TLS-Required: no` (RFC 8689) | [`Security::for_message`] |

use std::fmt;
use std::str::FromStr;

use wire::EnhancedCode;

use crate::dane::Tlsa;

/// What the dialler must reach before it may send a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Demand {
    /// No TLS, even where it is offered.
    None,
    /// TLS where it is offered, whoever the peer is; clear text where it is not, or where the handshake fails
    /// ([`Security::after_failure`]).
    Opportunistic,
    /// TLS, whoever the peer is.
    Encrypted,
    /// TLS with a certificate that a trusted CA issued for one of the names.
    Verified {
        /// Reference names, A-labels in lower case; the first is the server name to send (SNI).
        names: Vec<String>,
    },
    /// TLS with a certificate that the records match ([`crate::dane::authenticate`]).
    Dane {
        /// Usable records only (RFC 6698 §4.1): at least one.
        records: Vec<Tlsa>,
        /// Reference names for usage DANE-TA (RFC 7672 §3.2.2), A-labels in lower case; the first, the TLSA base domain,
        /// is the server name to send (RFC 7672 §8.1).
        names: Vec<String>,
    },
}

impl Demand {
    /// Whether a message may leave in clear text.
    #[must_use]
    pub fn allows_clear(&self) -> bool {
        matches!(self, Self::None | Self::Opportunistic)
    }

    /// Whether the peer must show who it is.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        matches!(self, Self::Verified { .. } | Self::Dane { .. })
    }

    /// A word for logs: `none`, `opportunistic`, `encrypted`, `verified`, `dane`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Encrypted => "encrypted",
            Self::Verified { .. } => "verified",
            Self::Dane { .. } => "dane",
        }
    }
}

/// Who made the demand.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// Nobody: the default.
    Default,
    /// The destination's TLSA records.
    Dane,
    /// The destination's MTA-STS policy.
    Sts,
    /// The operator's setting for the destination.
    Setting,
    /// The message itself (RFC 8689).
    Message,
}

/// What an MTA-STS policy says of a host. A session is reported under it, whatever the demand is (RFC 8460 §4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Sts {
    /// The policy is in testing: verify, report, deliver anyway (RFC 8461 §5).
    pub testing: bool,
    /// An `mx` pattern of the policy matches the host (RFC 8461 §4.1). Always so if not testing: hosts that match none
    /// are not in a plan then.
    pub listed: bool,
}

/// How the connection to one host must be secured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Security {
    /// What must be reached.
    pub demand: Demand,
    /// Who demands it.
    pub source: Source,
    /// What MTA-STS says, if the destination has a policy that is not `none`.
    pub sts: Option<Sts>,
    /// The host's name was learnt in a way that an attacker cannot change: from secure MX records, from an MTA-STS
    /// policy that lists it, or from the operator (RFC 8689 §2).
    pub name_is_sure: bool,
    /// The names under which a certificate of the host may be accepted, for whoever verifies although `demand` does not
    /// ask for it: a policy in testing, REQUIRETLS. The host's own name is the first.
    pub names: Vec<String>,
}

impl Security {
    /// The server name to send in the handshake (RFC 6066 §3); `None` where the host is an address.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match &self.demand {
            Demand::Verified { names } | Demand::Dane { names, .. } => names.first(),
            _ => self.names.first(),
        }
        .map(String::as_str)
    }

    /// What is demanded for one message: REQUIRETLS raises, `TLS-Required: no` lowers what the destination publishes.
    /// What the operator set stays. A message with the null reverse-path should come `AsPublished` (RFC 8689 §4.2.1).
    ///
    /// For `TLS-Required: no` this drops the demand on a host of a plan; hosts that are not in the plan because of a
    /// policy come back with a plan that was looked up under [`TlsPolicy::Opportunistic`].
    ///
    /// # Errors
    /// This host cannot serve the message; another may. With no other, the message bounces with the code.
    pub fn for_message(&self, wish: TlsWish) -> Result<Self, Unsuitable> {
        let mut security = self.clone();
        match wish {
            TlsWish::AsPublished => {}
            TlsWish::Required => {
                let unsuitable = |what| Unsuitable { code: EnhancedCode::permanent(7, 10), what };
                if !self.name_is_sure || self.demand == Demand::None {
                    return Err(unsuitable("the server's name cannot be verified"));
                }
                if !self.demand.authenticates() {
                    if self.names.is_empty() {
                        return Err(unsuitable("an address cannot be verified"));
                    }
                    security.demand = Demand::Verified { names: self.names.clone() };
                    security.source = Source::Message;
                }
            }
            TlsWish::NotRequired => {
                if matches!(self.source, Source::Dane | Source::Sts) {
                    security.demand = Demand::Opportunistic;
                    security.source = Source::Message;
                }
            }
        }
        Ok(security)
    }

    /// What follows a failure. Only opportunistic TLS falls back to clear text; the caller traces that it did (rule 36).
    ///
    /// The code is that of a deferral. A message with REQUIRETLS for which no host is left bounces instead, with
    /// [`TlsFailure::requiretls_code`].
    #[must_use]
    pub fn after_failure(&self, failure: TlsFailure) -> Next {
        if !self.demand.allows_clear() || failure == TlsFailure::NotRequireTls {
            return Next::OtherHost { code: failure.code(), report: self.sts.is_some() || self.source == Source::Dane };
        }
        match failure {
            // The session goes on as it is.
            TlsFailure::NotOffered | TlsFailure::Refused => Next::Continue,
            // After a failed handshake the octets on the wire are lost: a new connection, without STARTTLS.
            _ => Next::ReconnectInClear,
        }
    }
}

/// What a message says of TLS (RFC 8689).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TlsWish {
    /// Nothing.
    #[default]
    AsPublished,
    /// REQUIRETLS at MAIL: a verified peer that offers REQUIRETLS too.
    Required,
    /// The field `TLS-Required: no`: what the destination publishes is ignored.
    NotRequired,
}

/// A host cannot take a message that came with REQUIRETLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{code} {what}")]
pub struct Unsuitable {
    /// The enhanced status code (RFC 8689 §4.2.1).
    pub code: EnhancedCode,
    /// In words.
    pub what: &'static str,
}

/// What went wrong between the greeting and the first message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TlsFailure {
    /// EHLO did not offer STARTTLS.
    NotOffered,
    /// STARTTLS was answered with 4xx or 5xx.
    Refused,
    /// The handshake failed.
    Handshake,
    /// The handshake succeeded and the certificate does not do.
    NotAuthenticated,
    /// The server does not offer REQUIRETLS, and the message needs it.
    NotRequireTls,
}

impl TlsFailure {
    /// The enhanced status code for a deferral (RFC 3463 §3.8, RFC 5248).
    #[must_use]
    pub fn code(self) -> EnhancedCode {
        match self {
            Self::NotOffered | Self::Refused => EnhancedCode::transient(7, 10),
            Self::Handshake | Self::NotAuthenticated => EnhancedCode::transient(7, 5),
            Self::NotRequireTls => EnhancedCode::transient(7, 30),
        }
    }

    /// The enhanced status code with which a message with REQUIRETLS bounces (RFC 8689 §4.2.1).
    #[must_use]
    pub fn requiretls_code(self) -> EnhancedCode {
        match self {
            Self::NotRequireTls => EnhancedCode::permanent(7, 30),
            _ => EnhancedCode::permanent(7, 10),
        }
    }
}

/// What the dialler does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Go on in clear text on this connection; trace it.
    Continue,
    /// Connect again and do not ask for TLS; trace it.
    ReconnectInClear,
    /// Leave this host. With no other, the mail waits.
    OtherHost {
        /// The enhanced status code.
        code: EnhancedCode,
        /// The failure belongs into a TLS report.
        report: bool,
    },
}

/// The operator's setting for a destination.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TlsPolicy {
    /// What the destination publishes by DANE or MTA-STS; else opportunistic.
    #[default]
    Auto,
    /// Never TLS. Nothing published is asked for.
    None,
    /// Opportunistic. Nothing published is asked for.
    Opportunistic,
    /// TLS at least; what is published beyond that is obeyed.
    Required,
    /// A verified certificate at least, by DANE or else for the host's or the destination's name.
    Verified,
    /// DANE (RFC 7672 §6): hosts without usable TLSA records and destinations without secure MX records get no mail.
    Dane,
}

impl TlsPolicy {
    /// Whether what the destination publishes is asked for.
    #[must_use]
    pub fn asks(self) -> bool {
        !matches!(self, Self::None | Self::Opportunistic)
    }

    /// Whether it can be met only by a host that has a name.
    pub(crate) fn needs_name(self) -> bool {
        matches!(self, Self::Verified | Self::Dane)
    }
}

impl fmt::Display for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verified => "verified",
            Self::Dane => "dane",
        })
    }
}

/// Why text is no [`TlsPolicy`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected auto, none, opportunistic, required, verified or dane")]
pub struct TlsPolicyError;

impl FromStr for TlsPolicy {
    type Err = TlsPolicyError;

    fn from_str(text: &str) -> Result<Self, TlsPolicyError> {
        [Self::Auto, Self::None, Self::Opportunistic, Self::Required, Self::Verified, Self::Dane]
            .into_iter()
            .find(|policy| policy.to_string() == text)
            .ok_or(TlsPolicyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(demand: Demand, source: Source) -> Security {
        Security { demand, source, sts: None, name_is_sure: true, names: vec!["mx.example".into()] }
    }

    fn verified() -> Demand {
        Demand::Verified { names: vec!["mx.example".into()] }
    }

    // rule 36
    #[test]
    fn only_opportunistic_falls_back() {
        let opportunistic = security(Demand::Opportunistic, Source::Default);
        assert_eq!(opportunistic.after_failure(TlsFailure::NotOffered), Next::Continue);
        assert_eq!(opportunistic.after_failure(TlsFailure::Refused), Next::Continue);
        assert_eq!(opportunistic.after_failure(TlsFailure::Handshake), Next::ReconnectInClear);
        assert!(matches!(opportunistic.after_failure(TlsFailure::NotRequireTls), Next::OtherHost { .. }));
        for demand in [Demand::Encrypted, verified(), Demand::Dane { records: vec![], names: vec![] }] {
            for failure in [TlsFailure::NotOffered, TlsFailure::Refused, TlsFailure::Handshake] {
                let next = security(demand.clone(), Source::Dane).after_failure(failure);
                assert!(matches!(next, Next::OtherHost { report: true, .. }), "{demand:?} {failure:?}");
            }
        }
    }

    // RFC 8689 §4.2.1
    #[test]
    fn requiretls() {
        let raised = security(Demand::Opportunistic, Source::Default).for_message(TlsWish::Required).unwrap();
        assert_eq!((raised.demand, raised.source), (verified(), Source::Message));
        let dane = security(Demand::Dane { records: vec![], names: vec![] }, Source::Dane);
        assert_eq!(dane.for_message(TlsWish::Required), Ok(dane.clone()));
        let mut unsure = security(Demand::Encrypted, Source::Setting);
        unsure.name_is_sure = false;
        assert_eq!(unsure.for_message(TlsWish::Required).unwrap_err().code.to_string(), "5.7.10");
        assert!(security(Demand::None, Source::Setting).for_message(TlsWish::Required).is_err());
    }

    // RFC 8689 §4.2.2
    #[test]
    fn tls_required_no() {
        let lowered = security(verified(), Source::Sts).for_message(TlsWish::NotRequired).unwrap();
        assert_eq!(lowered.demand, Demand::Opportunistic);
        let kept = security(verified(), Source::Setting).for_message(TlsWish::NotRequired).unwrap();
        assert_eq!(kept.demand, verified());
    }

    #[test]
    fn policies_read_and_print() {
        for text in ["auto", "none", "opportunistic", "required", "verified", "dane"] {
            assert_eq!(text.parse::<TlsPolicy>().unwrap().to_string(), text);
        }
        assert!("Dane".parse::<TlsPolicy>().is_err());
    }
}
