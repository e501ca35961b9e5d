//! The report of a day.

use std::fmt;

use address::Mailbox;
use jiff::Timestamp;
use serde_json::json;

use super::tally::Tally;

const SECONDS: i64 = 86_400;

/// A day in UTC, the range of a report (RFC 8460 §4.4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Day(i32);

impl Day {
    /// The day of a time.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        // Timestamps span fewer days than an i32 counts.
        Self(i32::try_from(time.as_second().div_euclid(SECONDS)).unwrap_or(0))
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// The day that many days after 1970-01-01.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Its first second.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0) * SECONDS).unwrap_or_default()
    }

    /// Its last second.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0) * SECONDS + SECONDS - 1).unwrap_or_default()
    }

    /// The first second of the next day: from then on it can be reported.
    #[must_use]
    pub fn over(self) -> Timestamp {
        Self(self.0.saturating_add(1)).start()
    }
}

/// `2016-04-01`
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.start().to_string();
        f.write_str(text.split('T').next().unwrap_or_default())
    }
}

/// A report (RFC 8460 §4.4).
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The name of the organisation that reports.
    pub organization: &'a str,
    /// Whom to ask. Its domain is the submitter (RFC 8460 §5.3).
    pub contact: &'a Mailbox,
    /// `id-left "@" id-right` of RFC 5322 §3.6.4, never used before.
    pub id: &'a str,
    /// What was counted.
    pub tally: &'a Tally,
}

impl Report<'_> {
    /// The report as JSON.
    ///
    /// `mx-host` is an array, as the text of RFC 8460 §4.4 demands; the example of its appendix B has a string.
    #[must_use]
    pub fn json(&self) -> String {
        let day = self.tally.day();
        json!({
            "organization-name": self.organization,
            "date-range": { "start-datetime": day.start().to_string(), "end-datetime": day.end().to_string() },
            "contact-info": self.contact.to_string(),
            "report-id": self.id,
            "policies": self.tally.json(),
        })
        .to_string()
    }

    /// The domain that reports, A-labels.
    #[must_use]
    pub fn submitter(&self) -> String {
        self.contact.domain().map_or_else(|| self.contact.host.to_string(), |domain| domain.ascii().to_owned())
    }

    /// The file's name (RFC 8460 §5.1): `sender!domain!begin!end!unique.json.gz`. Of `unique` only letters and digits are
    /// used.
    #[must_use]
    pub fn file_name(&self, unique: &str, gzip: bool) -> String {
        let day = self.tally.day();
        let unique: String = unique.chars().filter(char::is_ascii_alphanumeric).collect();
        let unique = if unique.is_empty() { unique } else { format!("!{unique}") };
        let (sender, domain) = (self.submitter(), self.tally.domain());
        let (begin, end) = (day.start().as_second(), day.end().as_second());
        format!("{sender}!{domain}!{begin}!{end}{unique}.json{}", if gzip { ".gz" } else { "" })
    }

    /// The value of Subject, not folded (RFC 8460 §5.3).
    #[must_use]
    pub fn subject(&self) -> String {
        format!("Report Domain: {} Submitter: {} Report-ID: <{}>", self.tally.domain(), self.submitter(), self.id)
    }

    /// The header fields that a mailed report has beside its Subject (RFC 8460 §5.3): names and values.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, String); 2] {
        [("TLS-Report-Domain", self.tally.domain().to_owned()), ("TLS-Report-Submitter", self.submitter())]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{Applied, Failure, Outcome, ResultType};
    use super::*;
    use crate::sts::Policy;

    /// RFC 8460 appendix B, but for `mx-host`, which is an array, and `additional-information`, which we never have.
    const EXAMPLE: &str = r#"{
      "organization-name": "Company-X",
      "date-range": {
        "start-datetime": "2016-04-01T00:00:00Z",
        "end-datetime": "2016-04-01T23:59:59Z"
      },
      "contact-info": "sts-reporting@company-x.example",
      "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
      "policies": [{
        "policy": {
          "policy-type": "sts",
          "policy-string": ["version: STSv1","mode: testing", "mx: *.mail.company-y.example","max_age: 86400"],
          "policy-domain": "company-y.example",
          "mx-host": ["*.mail.company-y.example"]
        },
        "summary": {
          "total-successful-session-count": 5326,
          "total-failure-session-count": 303
        },
        "failure-details": [{
          "result-type": "starttls-not-supported",
          "sending-mta-ip": "2001:db8:abcd:13::1",
          "receiving-mx-hostname": "mx2.mail.company-y.example",
          "receiving-ip": "203.0.113.56",
          "failed-session-count": 200
        }, {
          "result-type": "certificate-expired",
          "sending-mta-ip": "2001:db8:abcd:12::1",
          "receiving-mx-hostname": "mx1.mail.company-y.example",
          "failed-session-count": 100
        }, {
          "result-type": "validation-failure",
          "sending-mta-ip": "198.51.100.62",
          "receiving-ip": "203.0.113.58",
          "receiving-mx-hostname": "mx-backup.mail.company-y.example",
          "failed-session-count": 3,
          "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"
        }]
      }]
    }"#;

    #[test]
    fn example_of_the_rfc() {
        let policy = b"version: STSv1\nmode: testing\nmx: *.mail.company-y.example\nmax_age: 86400\n";
        let policy = Policy::parse(policy).unwrap();
        let applied = Applied::sts("company-y.example", Some(&policy));
        let mut tally = Tally::new("company-y.example", Day::of("2016-04-01T12:00:00Z".parse().unwrap()));
        let failure = |result, from: &str, mx: &str, to: Option<&str>, reason: Option<&str>| Failure {
            sending_ip: Some(from.parse().unwrap()),
            mx_host: Some(mx.to_owned()),
            receiving_ip: to.map(|to| to.parse().unwrap()),
            reason: reason.map(str::to_owned),
            ..Failure::new(result)
        };
        let expired =
            failure(ResultType::CertificateExpired, "2001:db8:abcd:12::1", "mx1.mail.company-y.example", None, None);
        let clear = failure(
            ResultType::StarttlsNotSupported,
            "2001:db8:abcd:13::1",
            "mx2.mail.company-y.example",
            Some("203.0.113.56"),
            None,
        );
        let other = failure(
            ResultType::ValidationFailure,
            "198.51.100.62",
            "mx-backup.mail.company-y.example",
            Some("203.0.113.58"),
            Some("X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"),
        );
        for (failure, count) in [(None, 5326), (Some(expired), 100), (Some(clear), 200), (Some(other), 3)] {
            for _ in 0..count {
                tally.add(Outcome { applied: applied.clone(), failure: failure.clone() });
            }
        }
        let contact = Mailbox::parse("sts-reporting@company-x.example").unwrap();
        let report = Report {
            organization: "Company-X",
            contact: &contact,
            id: "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
            tally: &tally,
        };
        let (found, expected): (Value, Value) =
            (serde_json::from_str(&report.json()).unwrap(), serde_json::from_str(EXAMPLE).unwrap());
        assert_eq!(found, expected);
        assert_eq!(
            report.file_name("0-01", true),
            "company-x.example!company-y.example!1459468800!1459555199!001.json.gz"
        );
        assert_eq!(report.file_name("", false), "company-x.example!company-y.example!1459468800!1459555199.json");
        assert_eq!(
            report.subject(),
            "Report Domain: company-y.example Submitter: company-x.example \
             Report-ID: <5065427c-23d3-47ca-b6e0-946ea0e8c4be>"
        );
        assert_eq!(report.fields()[1], ("TLS-Report-Submitter", "company-x.example".to_owned()));
    }

    #[test]
    fn names_of_the_rfc() {
        let tally = Tally::new("example.net", Day::of("2016-08-01T01:00:07Z".parse().unwrap()));
        let report =
            |contact| Report { organization: "x", contact, id: "735ff.e317+bf22029@mailexample.net", tally: &tally };
        // RFC 8460 §5.1. It has two days that begin at seven seconds past one; ours is the day of UTC (§4.1).
        let contact = Mailbox::parse("tlsrpt@mail.sndr.example.com").unwrap();
        assert_eq!(
            report(&contact).file_name("001", true),
            "mail.sndr.example.com!example.net!1470009600!1470095999!001.json.gz"
        );
        // RFC 8460 §5.3, unfolded, and the fields of §5.3.1.
        let contact = Mailbox::parse("tlsrpt@mail.sender.example.com").unwrap();
        assert_eq!(
            report(&contact).subject(),
            "Report Domain: example.net Submitter: mail.sender.example.com \
             Report-ID: <735ff.e317+bf22029@mailexample.net>"
        );
        assert_eq!(
            report(&contact).fields(),
            [
                ("TLS-Report-Domain", "example.net".to_owned()),
                ("TLS-Report-Submitter", "mail.sender.example.com".to_owned())
            ]
        );
    }

    #[test]
    fn days() {
        let day = Day::of("2016-04-01T23:59:59.9Z".parse().unwrap());
        assert_eq!(day, Day::of("2016-04-01T00:00:00Z".parse().unwrap()));
        assert_eq!(day.to_string(), "2016-04-01");
        assert_eq!(day.over(), "2016-04-02T00:00:00Z".parse().unwrap());
        assert_eq!(Day::from_number(day.number()), day);
        assert_eq!(Day::of("1969-12-31T23:00:00Z".parse().unwrap()).number(), -1);
    }
}
