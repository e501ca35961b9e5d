//! The macros of a connection and a message, by their usual names.

use milter::Text;
use milter::client::Macros;

use crate::session::{Known, bare, printable};

/// All that is known so far.
pub(crate) fn known(known: &Known, recipient: Option<(&str, bool)>) -> Macros {
    let facts = &known.facts;
    let mut macros = Macros::new();
    let mut put = |name: &str, value: String| macros.push((name.to_owned(), Text::from(value)));
    put("j", facts.hostname.clone());
    put("v", concat!("Mailwright ", env!("CARGO_PKG_VERSION")).to_owned());
    put("daemon_name", facts.listener.clone());
    let (address, port) = match facts.client {
        Some(client) => (client.ip().to_canonical().to_string(), client.port().to_string()),
        None => ("unknown".to_owned(), "0".to_owned()),
    };
    let name = facts.client_name.clone().unwrap_or_else(|| "unknown".to_owned());
    put("_", format!("{name} [{address}]"));
    let resolve = match (&facts.client_name, &facts.client_ptr) {
        (Some(_), _) => "OK",
        (None, Some(_)) => "FORGED",
        (None, None) if facts.is_unanswered => "TEMP",
        (None, None) => "FAIL",
    };
    put("client_resolve", resolve.to_owned());
    put("client_ptr", facts.client_ptr.clone().unwrap_or_else(|| "unknown".to_owned()));
    put("client_name", name);
    put("client_addr", address);
    put("client_port", port);
    if let Some(hello) = &known.hello {
        put("s", hello.clone());
    }
    if let Some(tls) = &facts.tls {
        put("tls_version", tls.version.clone());
        put("cipher", tls.cipher.clone());
        if let Some(bits) = bits(&tls.cipher) {
            put("cipher_bits", bits.to_owned());
        }
        if let Some(name) = tls.client_names.first() {
            put("cert_subject", name.clone());
        }
    }
    if let Some(user) = &known.user {
        put("auth_authen", user.clone());
        put("auth_type", known.mechanism.clone().unwrap_or_default());
    }
    if let Some(mail) = &known.mail {
        put("i", mail.queue_id.clone());
        // RFC 4954 §5: what a client says that has not logged in is not to be trusted.
        if let Some(author) = mail.parameters.auth.as_ref().filter(|_| known.user.is_some()) {
            put("auth_author", printable(&String::from_utf8_lossy(&author.decode())));
        }
        let sender = bare(&mail.sender.to_string());
        put("mail_host", host(&sender));
        put("f", sender.clone());
        put("mail_addr", sender);
        put("mail_mailer", "smtp".to_owned());
    }
    if let Some((recipient, refused)) = recipient {
        let recipient = bare(recipient);
        put("rcpt_host", host(&recipient));
        put("rcpt_addr", recipient);
        put("rcpt_mailer", if refused { "error" } else { "smtp" }.to_owned());
    }
    macros
}

fn host(address: &str) -> String {
    address.rsplit_once('@').map(|(_, host)| host.to_owned()).unwrap_or_default()
}

/// The bits of the key of a cipher suite, by its name: the suites of TLS 1.2 and 1.3 that are spoken have no others.
fn bits(cipher: &str) -> Option<&'static str> {
    match cipher {
        cipher if cipher.contains("AES_128") => Some("128"),
        cipher if cipher.contains("AES_256") || cipher.contains("CHACHA20") => Some("256"),
        _ => None,
    }
}
