//! The settings of a server session, and the capabilities that follow from them.

use crate::ServerLimits;

/// Shared by sessions behind an `Arc`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Our name in the greeting.
    pub hostname: String,
    /// STARTTLS is offered in clear.
    pub starttls: bool,
    /// Passwords are taken in clear; for loopback and tests. Default false.
    pub allow_plaintext_auth: bool,
    /// SASL mechanisms offered where passwords may be sent.
    pub mechanisms: Vec<String>,
    /// SASL mechanisms offered besides where TLS gives a channel binding.
    pub binding_mechanisms: Vec<String>,
    /// LITERAL+ instead of LITERAL- (rule 20). Default true.
    pub literal_plus: bool,
    /// What ID tells, as name and value.
    pub id: Vec<(String, String)>,
    /// The limits.
    pub limits: ServerLimits,
}

impl Config {
    /// The defaults, without STARTTLS and mechanisms.
    #[must_use]
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            starttls: false,
            allow_plaintext_auth: false,
            mechanisms: Vec::new(),
            binding_mechanisms: Vec::new(),
            literal_plus: true,
            id: vec![("name".into(), "Mailwright".into())],
            limits: ServerLimits::default(),
        }
    }
}

/// The extensions that every session has once it is logged in.
const EXTENSIONS: &str = "BINARY CHILDREN CONDSTORE ENABLE ESEARCH ID IDLE LIST-EXTENDED LIST-STATUS MOVE MULTIAPPEND \
     NAMESPACE OBJECTID PREVIEW QRESYNC SAVEDATE SEARCHRES SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE UIDPLUS \
     UNSELECT UTF8=ACCEPT WITHIN";

/// What a client may rely on in this state (RFC 9051 §7.2.2).
pub(super) fn capabilities(config: &Config, tls: bool, binding: bool, logged_in: bool) -> String {
    let mut out = String::from("IMAP4rev1 IMAP4rev2");
    // RFC 7888 §5: one of the two, never both.
    out.push_str(if config.literal_plus { " LITERAL+" } else { " LITERAL-" });
    if logged_in {
        out.push(' ');
        out.push_str(EXTENSIONS);
        out.push_str(&format!(" APPENDLIMIT={}", config.limits.append_octets));
        return out;
    }
    out.push_str(" SASL-IR ENABLE ID");
    if !tls && config.starttls {
        out.push_str(" STARTTLS");
    }
    if tls || config.allow_plaintext_auth {
        for mechanism in &config.mechanisms {
            out.push_str(" AUTH=");
            out.push_str(mechanism);
        }
        if binding {
            for mechanism in &config.binding_mechanisms {
                out.push_str(" AUTH=");
                out.push_str(mechanism);
            }
        }
    } else {
        out.push_str(" LOGINDISABLED");
    }
    out
}
