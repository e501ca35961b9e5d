//! Times, ages and what others said, as an operator reads them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use queue::envelope::{AttemptKind, LastAttempt};

/// RFC 3339 with the offset of this machine's zone (rule 32).
pub(crate) fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// As [`time`], of milliseconds since 1970 as the store keeps them.
pub(crate) fn time_of(milliseconds: i64) -> String {
    time(moment(milliseconds))
}

/// A moment of the store's.
pub(crate) fn moment(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A span in its two largest units: `45s`, `5m`, `3h10m`, `2d4h`.
pub(crate) fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |first: i64, unit: &str, rest: i64, rest_unit: &str| match rest {
        0 => format!("{first}{unit}"),
        rest => format!("{first}{unit}{rest}{rest_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m"),
        3600..86_400 => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// With control characters escaped.
pub(crate) fn plain(said: &str) -> String {
    let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() };
    said.chars().map(escape).collect()
}

/// What the last attempt came to.
pub(crate) fn last(attempt: &LastAttempt) -> String {
    let host = match (&attempt.host, attempt.address) {
        (Some(host), Some(address)) => format!("{host} [{address}]"),
        (Some(host), None) => host.clone(),
        (None, Some(address)) => format!("[{address}]"),
        (None, None) => "the next system".to_owned(),
    };
    let tls = attempt.tls.as_ref().map(|tls| format!(" over {tls}")).unwrap_or_default();
    let code = attempt.code.map(|code| format!("{code} ")).unwrap_or_default();
    let text = &attempt.text;
    plain(&match attempt.kind {
        AttemptKind::Reply => format!("{host}{tls} said: {code}{text}"),
        AttemptKind::TimedOut => format!("{host} did not answer in time: {text}"),
        AttemptKind::Connect | AttemptKind::Tls | AttemptKind::Closed => format!("{host}: {text}"),
        AttemptKind::Route | AttemptKind::Own => text.clone(),
    })
}

/// Reads `2h`, `30m`, `3d`, `2026-11-26`, or RFC 3339; a span is counted back from `now`.
pub(crate) fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    let back = |unit: char, seconds: i64| {
        let count: i64 = text.strip_suffix(unit)?.parse().ok().filter(|count| *count >= 0)?;
        now.checked_sub(jiff::SignedDuration::from_secs(count.checked_mul(seconds)?)).ok()
    };
    back('s', 1)
        .or_else(|| back('m', 60))
        .or_else(|| back('h', 3600))
        .or_else(|| back('d', 86_400))
        .or_else(|| text.parse().ok())
        .or_else(|| {
            let date: jiff::civil::Date = text.parse().ok()?;
            Some(date.to_zoned(TimeZone::system()).ok()?.timestamp())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_two_units() {
        for (milliseconds, expected) in [
            (-5, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (3_600_000, "1h"),
            (11_400_000, "3h10m"),
            (86_400_000, "1d"),
            (187_200_000, "2d4h"),
        ] {
            assert_eq!(span(milliseconds), expected);
        }
    }

    #[test]
    fn moments_to_look_back_to() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2h", Some("2026-11-26T10:00:00Z")),
            ("30m", Some("2026-11-26T11:30:00Z")),
            ("3d", Some("2026-11-23T12:00:00Z")),
            ("2026-11-26T01:02:03+01:00", Some("2026-11-26T00:02:03Z")),
            ("-2h", None),
            ("h", None),
            ("yesterday", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(since(text, now), expected.map(|text| text.parse().unwrap()), "{text}");
        }
        assert!(since("2026-11-26", now).is_some());
    }

    #[test]
    fn the_last_attempt_in_words() {
        let attempt = LastAttempt {
            at: Timestamp::UNIX_EPOCH,
            kind: AttemptKind::Reply,
            host: Some("mx.example".into()),
            address: Some([192, 0, 2, 1].into()),
            tls: Some("TLS1.3".into()),
            stage: String::new(),
            code: Some(451),
            text: "4.7.1 wait\r\nhere".into(),
        };
        assert_eq!(last(&attempt), r"mx.example [192.0.2.1] over TLS1.3 said: 451 4.7.1 wait\r\nhere");
        let route = LastAttempt { kind: AttemptKind::Route, text: "4.4.3 DNS: no answer".into(), ..attempt };
        assert_eq!(last(&route), "4.4.3 DNS: no answer");
    }
}
