//! The bodies of the fuzz targets, one function each: it panics where something is wrong.
//!
//! `fuzz/` wraps them for libFuzzer; an ordinary test runs every file of `corpus/`. A crash that was found becomes a file
//! there.

mod codecs;
mod milters;
mod records;
mod sessions;

/// A target: its name, which is also its folder below `corpus/`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 19] = [
    ("data", codecs::data),
    ("lines", codecs::lines),
    ("address", codecs::address),
    ("smtp_command", codecs::smtp_command),
    ("drop_file", codecs::drop_file),
    ("smtp_reply", codecs::smtp_reply),
    ("imap_command", codecs::imap_command),
    ("imap_response", codecs::imap_response),
    ("pop3_command", codecs::pop3_command),
    ("message", codecs::message),
    ("sasl", codecs::sasl),
    ("dsn", codecs::dsn),
    ("mta_sts_policy", records::mta_sts_policy),
    ("tlsrpt_record", records::tlsrpt_record),
    ("smtp_session", sessions::smtp),
    ("imap_session", sessions::imap),
    ("pop3_session", sessions::pop3),
    ("milter_packet", milters::packet),
    ("milter_session", milters::session),
];

/// Runs the target of that name.
///
/// # Panics
/// There is none; or the target found something.
pub fn run(name: &str, octets: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some((_, body)) = target {
        body(octets);
    }
}
