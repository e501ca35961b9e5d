//! TLS reports: a domain is told how TLS with its servers went (RFC 8460).
//!
//! | RFC 8460 | here |
//! |---|---|
//! | §3 | [`record`], [`Endpoint`] |
//! | §4.3 | [`ResultType`] |
//! | §4.4, §4.5 | [`Report`], [`Applied`] |
//! | §5.1, §5.3, §5.4 | [`Report::file_name`], [`Report::subject`], [`MEDIA_TYPE`], [`MEDIA_TYPE_GZIP`] |
//!
//! A day's sessions are counted in [`Tally`] values, one for each domain and UTC day, which the store keeps as octets.
//! The report is compressed and sent elsewhere.

use std::fmt;

use crate::sts::{field_of, fields};

mod report;
mod tally;

pub use report::{Day, Report};
pub(crate) use tally::before_any_session;
pub use tally::{Applied, Failure, MAX_DETAILS, MAX_POLICIES, Outcome, Tally};

/// The media type of a report, plain (RFC 8460 §6.4).
pub const MEDIA_TYPE: &str = "application/tlsrpt+json";
/// The media type of a report that gzip compressed (RFC 8460 §6.3).
pub const MEDIA_TYPE_GZIP: &str = "application/tlsrpt+gzip";
/// How many endpoints of a record are used, in its order.
pub const MAX_ENDPOINTS: usize = 8;

/// The name of a domain's TLSRPT record (RFC 8460 §3).
#[must_use]
pub fn record_name(domain: &str) -> String {
    format!("_smtp._tls.{domain}")
}

/// Where reports are wanted.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Endpoint {
    /// By POST to that URI; the `https:` included.
    Https(String),
    /// By mail to that address. Such mail needs a DKIM signature (rule 36).
    Mailto(address::Mailbox),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(uri) => f.write_str(uri),
            Self::Mailto(mailbox) => {
                f.write_str("mailto:")?;
                // RFC 6068 §2: what a URI cannot hold, and what this record cannot (RFC 8460 §3), is written %XX.
                mailbox.to_string().bytes().try_for_each(|octet| match octet {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b'+' | b'=' => {
                        write!(f, "{}", char::from(octet))
                    }
                    _ => write!(f, "%{octet:02X}"),
                })
            }
        }
    }
}

/// Why a domain's TXT records ask for no reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// None begins with the version.
    #[error("no record of the version TLSRPTv1")]
    None,
    /// More than one does.
    #[error("more than one record of the version TLSRPTv1")]
    Several,
    /// From octet `at` of the record on it is not `tlsrpt-field`.
    #[error("expected tlsrpt-field at octet {at}")]
    Syntax {
        /// Where.
        at: usize,
    },
    /// It names no endpoint that is https or mailto.
    #[error("no usable endpoint")]
    NoEndpoint,
}

/// The endpoints that the TXT records at `_smtp._tls.` and the domain name: `tlsrpt-record` (RFC 8460 §3). URIs of other
/// schemes, and malformed ones, are left out.
///
/// # Errors
/// The domain wants no reports.
pub fn record(records: &[Vec<u8>]) -> Result<Vec<Endpoint>, RecordError> {
    let mut found = records.iter().filter(|record| fields(record, b"v=TLSRPTv1").is_some());
    let record = found.next().ok_or(RecordError::None)?;
    if found.next().is_some() {
        return Err(RecordError::Several);
    }
    let mut rua = None;
    for (at, field) in fields(record, b"v=TLSRPTv1").into_iter().flatten() {
        // White space is allowed around the commas of this one field alone.
        match field.strip_prefix(b"rua=") {
            Some(value) => _ = rua.get_or_insert(value),
            None => _ = field_of(field).ok_or(RecordError::Syntax { at })?,
        }
    }
    let rua = rua.and_then(|rua| std::str::from_utf8(rua).ok()).unwrap_or_default();
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for endpoint in rua.split(',').filter_map(|uri| endpoint(uri.trim_matches([' ', '\t']))) {
        if endpoints.len() < MAX_ENDPOINTS && !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    if endpoints.is_empty() { Err(RecordError::NoEndpoint) } else { Ok(endpoints) }
}

/// `tlsrpt-uri`, if the scheme is known. The scheme's case does not matter (RFC 3986 §3.1).
fn endpoint(uri: &str) -> Option<Endpoint> {
    if uri.bytes().any(|octet| !octet.is_ascii_graphic() || b"!;\"<>\\^`{|}".contains(&octet)) {
        return None;
    }
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("https") {
        let authority = rest.strip_prefix("//")?.split(['/', '?', '#']).next()?;
        // No user information: it has no place in a request that strangers cause.
        return (!authority.is_empty() && !authority.contains('@')).then(|| Endpoint::Https(format!("https:{rest}")));
    }
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    // RFC 6068 §2: header fields behind the `?` are not ours to obey; one address is expected.
    let address = percent_decoded(rest.split('?').next()?)?;
    address::Mailbox::parse(&address).ok().map(Endpoint::Mailto)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

/// What went wrong with a session (RFC 8460 §4.3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ResultType {
    /// The server does not offer STARTTLS, or refused it.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate is not from a trusted issuer, or its chain is broken.
    CertificateNotTrusted,
    /// Anything else, with a reason code: a failed handshake; a host that the policy does not list.
    ValidationFailure,
    /// No TLSA record matched, or none was usable.
    TlsaInvalid,
    /// TLSA records could not be validated.
    DnssecInvalid,
    /// DANE is required by setting, and there are no TLSA records.
    DaneRequired,
    /// The MTA-STS policy could not be fetched.
    StsPolicyFetchError,
    /// What was fetched is no policy.
    StsPolicyInvalid,
    /// The policy host's certificate is not valid.
    StsWebpkiInvalid,
}

impl ResultType {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::StarttlsNotSupported,
        Self::CertificateHostMismatch,
        Self::CertificateExpired,
        Self::CertificateNotTrusted,
        Self::ValidationFailure,
        Self::TlsaInvalid,
        Self::DnssecInvalid,
        Self::DaneRequired,
        Self::StsPolicyFetchError,
        Self::StsPolicyInvalid,
        Self::StsWebpkiInvalid,
    ];

    /// As it stands in a report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<crate::StsFailure> for ResultType {
    fn from(failure: crate::StsFailure) -> Self {
        match failure {
            crate::StsFailure::Fetch(crate::FetchError::Certificate) => Self::StsWebpkiInvalid,
            crate::StsFailure::Fetch(_) => Self::StsPolicyFetchError,
            crate::StsFailure::Invalid(_) => Self::StsPolicyInvalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        type Row<'a> = (&'a [&'a str], Result<&'a [&'a str], RecordError>);
        let table: [Row<'_>; 17] = [
            // RFC 8460 §3.1, appendix A.
            (&["v=TLSRPTv1;rua=mailto:reports@example.com"], Ok(&["mailto:reports@example.com"])),
            (
                &["v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"],
                Ok(&["https://reporting.example.com/v1/tlsrpt"]),
            ),
            (
                &["v=TLSRPTv1 ; rua=mailto:a@b.example , https://c.example/;"],
                Ok(&["mailto:a@b.example", "https://c.example/"]),
            ),
            (&["v=TLSRPTv1;x=y;rua=HTTPS://c.example"], Ok(&["https://c.example"])),
            (&["spf", "v=TLSRPTv1;rua=mailto:a%2Bb@c.example"], Ok(&["mailto:a+b@c.example"])),
            (&["v=TLSRPTv1;rua=mailto:a@b.example?subject=x"], Ok(&["mailto:a@b.example"])),
            (&["v=TLSRPTv1;rua=ftp://x,mailto:a@b.example"], Ok(&["mailto:a@b.example"])),
            (&["v=TLSRPTv1;rua=mailto:a@b.example;rua=mailto:c@d.example"], Ok(&["mailto:a@b.example"])),
            (&["v=TLSRPTv1;rua=https://u:p@c.example/"], Err(RecordError::NoEndpoint)),
            (&["v=TLSRPTv1;rua=https:///x"], Err(RecordError::NoEndpoint)),
            (&["v=TLSRPTv1;rua=mailto:a@b.example!10m"], Err(RecordError::NoEndpoint)),
            (&["v=TLSRPTv1;"], Err(RecordError::NoEndpoint)),
            (&["v=TLSRPTv1;rua=mailto:a@b.example; x"], Err(RecordError::Syntax { at: 35 })),
            (&["v=TLSRPTv1;;rua=mailto:a@b.example"], Err(RecordError::Syntax { at: 11 })),
            (&["v=TLSRPTv2;rua=mailto:a@b.example", "V=TLSRPTv1;rua=x"], Err(RecordError::None)),
            (&["v=TLSRPTv1"], Err(RecordError::None)),
            (&["v=TLSRPTv1;rua=mailto:a@b.example", "v=TLSRPTv1;"], Err(RecordError::Several)),
        ];
        for (texts, expected) in table {
            let records: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            let found = record(&records).map(|list| list.iter().map(Endpoint::to_string).collect::<Vec<_>>());
            let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
            assert_eq!(found, expected, "{texts:?}");
        }
    }

    #[test]
    fn endpoints_have_a_limit() {
        let uris: Vec<String> = (0..=MAX_ENDPOINTS).map(|at| format!("https://r{at}.example/")).collect();
        for (count, expected) in [(MAX_ENDPOINTS, MAX_ENDPOINTS), (MAX_ENDPOINTS + 1, MAX_ENDPOINTS)] {
            let text = format!("v=TLSRPTv1;rua={}", uris[..count].join(","));
            assert_eq!(record(&[text.into_bytes()]).unwrap().len(), expected);
        }
    }

    #[test]
    fn result_types_have_names() {
        for result in ResultType::ALL {
            assert_eq!(ResultType::from_name(result.as_str()), Some(result));
        }
        assert_eq!(ResultType::from_name("none"), None);
    }
}
