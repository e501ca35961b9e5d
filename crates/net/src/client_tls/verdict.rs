//! What is thought of a server's certificate.

use std::fmt;

use routing::tlsrpt::ResultType;
use rustls::{CertificateError, Error};

/// How a server showed who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// A trusted CA says that it is this name.
    Authority {
        /// The name of those asked for that the certificate bears.
        name: String,
    },
    /// DANE-EE: a TLSA record names its certificate or key (RFC 7672 §3.1.1).
    DaneEndEntity {
        /// The record in presentation form.
        record: String,
    },
    /// DANE-TA: a TLSA record names an issuer of its certificate, which bears this name (RFC 7672 §3.1.2).
    DaneTrustAnchor {
        /// The record in presentation form.
        record: String,
        /// The name of those asked for that the certificate bears.
        name: String,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority { name } => write!(f, "{name} by a trusted CA"),
            Self::DaneEndEntity { record } => write!(f, "DANE-EE {record}"),
            Self::DaneTrustAnchor { record, name } => write!(f, "{name} by DANE-TA {record}"),
        }
    }
}

/// Why a certificate does not show who the server is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It bears none of the names.
    #[error("certificate is for another host")]
    HostMismatch,
    /// It, or one of its issuers, was valid until a time that is past.
    #[error("certificate has expired")]
    Expired,
    /// It, or one of its issuers, is not valid yet.
    #[error("certificate is not valid yet")]
    NotYetValid,
    /// No trusted CA issued it: self-signed, an unknown CA, or intermediates that are missing.
    #[error("certificate is not from a trusted CA")]
    NotTrusted,
    /// A CA took it back.
    #[error("certificate was revoked")]
    Revoked,
    /// No TLSA record matches the chain.
    #[error("certificate matches no TLSA record")]
    TlsaMismatch,
    /// It cannot be read, is not for servers, or is signed in a way that is not accepted.
    #[error("certificate cannot be used")]
    Unusable,
    /// There was no name to judge it by.
    #[error("no name to judge the certificate by")]
    NoName,
}

impl Distrust {
    /// The result type of a TLS report (RFC 8460 §4.3.1, §4.3.2).
    #[must_use]
    pub fn result_type(self) -> ResultType {
        match self {
            Self::HostMismatch => ResultType::CertificateHostMismatch,
            Self::Expired | Self::NotYetValid => ResultType::CertificateExpired,
            Self::NotTrusted => ResultType::CertificateNotTrusted,
            Self::TlsaMismatch => ResultType::TlsaInvalid,
            Self::Revoked | Self::Unusable | Self::NoName => ResultType::ValidationFailure,
        }
    }

    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => match error {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::HostMismatch
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::NotTrusted,
                CertificateError::Revoked => Self::Revoked,
                // A CA's own certificate on a server is one that nobody issued for the server.
                CertificateError::Other(_) => Self::NotTrusted,
                _ => Self::Unusable,
            },
            _ => Self::Unusable,
        }
    }

    /// What the handshake ends with.
    pub(crate) fn error(self) -> Error {
        Error::InvalidCertificate(match self {
            Self::HostMismatch | Self::NoName => CertificateError::NotValidForName,
            Self::Expired => CertificateError::Expired,
            Self::NotYetValid => CertificateError::NotValidYet,
            Self::NotTrusted => CertificateError::UnknownIssuer,
            Self::Revoked => CertificateError::Revoked,
            Self::TlsaMismatch => CertificateError::ApplicationVerificationFailure,
            Self::Unusable => CertificateError::BadEncoding,
        })
    }
}
