//! What a server offers in its reply to EHLO or LHLO (RFC 5321 §4.1.1.1).

use wire::Mechanism;

use crate::parse::{limits_param, number20};
use crate::reply::Reply;
use crate::schedule::{Hold, UtcTime, is_priority_profile};

/// The service extensions offered; all of it is forgotten when TLS begins (RFC 3207 §4.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// The largest message in octets, where SIZE told one.
    pub max_size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// FUTURERELEASE (RFC 4865): the longest hold in seconds, and the last time until which a message is held.
    pub future_release: Option<(u32, UtcTime)>,
    /// DELIVERBY (RFC 2852): the least time of mode `R` in seconds, 0 where none was told.
    pub deliver_by: Option<u32>,
    /// MT-PRIORITY (RFC 6710).
    pub mt_priority: bool,
    /// The priority assignment policy that MT-PRIORITY named (RFC 6710 §9.2).
    pub priority_profile: Option<String>,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH with its mechanisms (RFC 4954); empty when it is not offered.
    pub auth: Vec<Mechanism>,
    /// MAILMAX of LIMITS: MAIL commands in one connection (RFC 9422 §4.1).
    pub mail_max: Option<u32>,
    /// RCPTMAX of LIMITS: RCPT commands in one transaction (RFC 9422 §4.2).
    pub rcpt_max: Option<u32>,
    /// RCPTDOMAINMAX of LIMITS: domains of recipients in one connection (RFC 9422 §4.3).
    pub rcpt_domain_max: Option<u32>,
}

impl Extensions {
    /// From the reply: its first line is a greeting, each other one an extension. What is unknown is passed over.
    #[must_use]
    pub fn from_reply(reply: &Reply) -> Self {
        let mut found = Self::default();
        for line in reply.lines().skip(1) {
            // LENIENT: `AUTH=LOGIN` is the form before RFC 2554, still sent beside the other.
            let cut = line.find([' ', '=']).unwrap_or(line.len());
            let (keyword, parameters) = line.split_at(cut);
            let parameters = parameters.trim_start_matches([' ', '=']);
            found.add(&keyword.to_ascii_uppercase(), parameters);
        }
        found
    }

    fn add(&mut self, keyword: &str, parameters: &str) {
        match keyword {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "DSN" => self.dsn = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "STARTTLS" => self.starttls = true,
            "REQUIRETLS" => self.require_tls = true,
            "FUTURERELEASE" => self.future_release = future_release(parameters),
            "DELIVERBY" => {
                // RFC 2852 §2: further options may follow behind a comma.
                let least = parameters.split(',').next().unwrap_or_default();
                let least = number20(least.as_bytes()).map_or(0, |(_, least)| least);
                self.deliver_by = Some(u32::try_from(least).unwrap_or(u32::MAX));
            }
            "MT-PRIORITY" => {
                self.mt_priority = true;
                self.priority_profile = Some(parameters).filter(|name| is_priority_profile(name)).map(str::to_owned);
            }
            "SIZE" => {
                self.size = true;
                // RFC 1870 §4: zero or nothing is no fixed maximum.
                let number = number20(parameters.as_bytes()).ok().map(|(_, number)| number);
                self.max_size = number.filter(|number| *number > 0);
            }
            "AUTH" => {
                for name in parameters.split_ascii_whitespace() {
                    if let Ok(mechanism) = Mechanism::try_from(name)
                        && !self.auth.contains(&mechanism)
                    {
                        self.auth.push(mechanism);
                    }
                }
            }
            "LIMITS" => self.add_limits(parameters),
            _ => {}
        }
    }

    /// RFC 9422 §3.7: bad syntax voids all of them, a bad value its own limit.
    fn add_limits(&mut self, parameters: &str) {
        for (name, value) in limits_param(parameters).unwrap_or_default() {
            let Some(value) = value.and_then(limit_value) else { continue };
            match name {
                "MAILMAX" => self.mail_max = Some(value),
                "RCPTMAX" => self.rcpt_max = Some(value),
                "RCPTDOMAINMAX" => self.rcpt_domain_max = Some(value),
                _ => {}
            }
        }
    }
}

/// `SP max-future-release-interval SP max-future-release-date-time` (RFC 4865 §3).
fn future_release(parameters: &str) -> Option<(u32, UtcTime)> {
    let (interval, time) = parameters.split_once(' ')?;
    match Hold::for_from_wire(interval)? {
        Hold::For(seconds) => Some((seconds, UtcTime::from_wire(time.trim())?)),
        Hold::Until(_) => None,
    }
}

/// `%x31-39 0*5DIGIT` (RFC 9422 §4.1).
fn limit_value(value: &str) -> Option<u32> {
    let fits = value.len() <= 6 && !value.starts_with('0') && value.bytes().all(|octet| octet.is_ascii_digit());
    fits.then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers() {
        let mechanisms = |names: &[&str]| names.iter().filter_map(|name| Mechanism::try_from(*name).ok()).collect();
        let none = Extensions::default();
        let table: Vec<(&str, Extensions)> = vec![
            ("mx.example", none.clone()),
            // RFC 5321 appendix D.1
            (
                "foo.com greets bar.com\n8BITMIME\nSIZE\nDSN\nHELP",
                Extensions { eight_bit_mime: true, size: true, dsn: true, ..none.clone() },
            ),
            // RFC 9422 §5
            (
                "mail.example.com\nSMTPUTF8\nLIMITS RCPTMAX=20 MAILMAX=5\nSIZE 100000000\n8BITMIME",
                Extensions {
                    smtputf8: true,
                    rcpt_max: Some(20),
                    mail_max: Some(5),
                    size: true,
                    max_size: Some(100_000_000),
                    eight_bit_mime: true,
                    ..none.clone()
                },
            ),
            (
                "a\nLIMITS RCPTMAX=0 MAILMAX=1234567 X RCPTDOMAINMAX=1",
                Extensions { rcpt_domain_max: Some(1), ..none.clone() },
            ),
            ("a\nLIMITS RCPTMAX=5 ;", none.clone()),
            // RFC 2852 §6, RFC 6710 §8
            ("mail.other.com\nDELIVERBY 30", Extensions { deliver_by: Some(30), ..none.clone() }),
            ("a\nDELIVERBY", Extensions { deliver_by: Some(0), ..none.clone() }),
            ("a\nDELIVERBY 5,x", Extensions { deliver_by: Some(5), ..none.clone() }),
            (
                "a\nMT-PRIORITY MIXER\nREQUIRETLS",
                Extensions {
                    mt_priority: true,
                    priority_profile: Some("MIXER".into()),
                    require_tls: true,
                    ..none.clone()
                },
            ),
            (
                "a\nFUTURERELEASE 3600 1970-01-02T00:00:00Z\nMT-PRIORITY",
                Extensions {
                    future_release: Some((3600, UtcTime::from_unix(86_400))),
                    mt_priority: true,
                    ..none.clone()
                },
            ),
            ("a\nFUTURERELEASE 0 1970-01-02T00:00:00Z", none.clone()),
            ("a\nFUTURERELEASE 3600", none.clone()),
            (
                "a\nSIZE 0\nauth=login plain\nAUTH PLAIN CRAM-MD5 ?",
                Extensions { size: true, auth: mechanisms(&["LOGIN", "PLAIN", "CRAM-MD5"]), ..none.clone() },
            ),
        ];
        for (text, expected) in table {
            assert_eq!(Extensions::from_reply(&Reply::plain(250, text)), expected, "{text}");
        }
    }
}
