//! Password hashes: made with Argon2id, read in the forms that other systems leave behind.

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

/// The cost of new hashes and verifiers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hashing {
    /// Memory of Argon2id, in KiB. Default 19,456.
    pub memory_kib: u32,
    /// Passes of Argon2id. Default 2.
    pub iterations: u32,
    /// Lanes of Argon2id. Default 1.
    pub parallelism: u32,
    /// Rounds of SCRAM verifiers. Default 4,096 (RFC 7677 §4).
    pub scram_iterations: u32,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1, scram_iterations: 4_096 }
    }
}

impl Hashing {
    fn argon2(self) -> Option<Argon2<'static>> {
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, None).ok()?;
        Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    /// The hash of a password. Blocks for as long as it costs.
    pub(crate) fn hash(self, password: &[u8]) -> Option<String> {
        let hash = self.argon2()?.hash_password(password).ok()?;
        Some(hash.to_string())
    }

    /// Whether a hash costs what new ones do.
    pub(crate) fn is_current(self, hash: &str) -> bool {
        let wanted = format!("$argon2id$v=19$m={},t={},p={}$", self.memory_kib, self.iterations, self.parallelism);
        hash.starts_with(&wanted)
    }
}

/// A password, or a hash of one, as an import gives it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Given {
    /// A password in clear.
    Plain(String),
    /// A hash.
    Hash(String),
}

/// Tells a password from a hash: what begins `{SCHEME}` or `$id$` is a hash, but for `{PLAIN}`. `None`: of an unknown
/// scheme.
pub(crate) fn given(field: &str) -> Option<Given> {
    let hash = match field.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((scheme, rest)) => match scheme.to_ascii_uppercase().as_str() {
            "PLAIN" => return Some(Given::Plain(rest.to_owned())),
            "ARGON2" | "ARGON2I" | "ARGON2ID" | "SHA256-CRYPT" | "SHA512-CRYPT" | "CRYPT" | "BLF-CRYPT" | "BCRYPT"
            | "YESCRYPT" => rest,
            _ => return None,
        },
        None if looks_hashed(field) => field,
        None => return Some(Given::Plain(field.to_owned())),
    };
    is_known(hash).then(|| Given::Hash(hash.to_owned()))
}

fn looks_hashed(field: &str) -> bool {
    field.strip_prefix('$').and_then(|rest| rest.split_once('$')).is_some_and(|(id, _)| {
        !id.is_empty() && id.len() <= 12 && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    })
}

fn is_known(hash: &str) -> bool {
    ["$argon2id$", "$argon2i$", "$argon2d$", "$5$", "$6$", "$y$", "$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| hash.starts_with(prefix))
}

/// Whether a password is the one behind a hash. Blocks for as long as the hash costs.
pub(crate) fn verify(password: &[u8], hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        Argon2::default().verify_password(password, hash).is_ok()
    } else if hash.starts_with("$5$") || hash.starts_with("$6$") {
        sha_crypt::ShaCrypt::SHA512.verify_password(password, with_rounds(hash).as_str()).is_ok()
    } else if hash.starts_with("$y$") {
        yescrypt::Yescrypt::default().verify_password(password, hash).is_ok()
    } else {
        bcrypt::verify(password, hash).unwrap_or(false)
    }
}

/// A sha-crypt hash that says its rounds: 5,000 where it leaves them out, which the library takes for another number.
fn with_rounds(hash: &str) -> String {
    match hash.split_at_checked(3) {
        Some((id, rest)) if !rest.starts_with("rounds=") => format!("{id}rounds=5000${rest}"),
        _ => hash.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_other_systems_are_read() {
        let cheap = Hashing { memory_kib: 8, iterations: 1, parallelism: 1, scram_iterations: 4_096 };
        let own = cheap.hash(b"secret").unwrap();
        assert!(cheap.is_current(&own) && !Hashing::default().is_current(&own));
        let table = [
            own.as_str(),
            // As crypt(3) makes them.
            "$y$j75$saltsalt$TRSW./kpdC7DlmOOUm047MJ/Td/rj6zGcFJ.nSn.LW4",
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ];
        for (hash, password) in table.into_iter().zip(["secret", "Hello world!", "Hello world!", "Hello world!"]) {
            assert!(verify(password.as_bytes(), hash), "{hash}");
            assert!(!verify(b"wrong", hash), "{hash}");
        }
        let blowfish = bcrypt::hash("secret", 4).unwrap();
        assert!(verify(b"secret", &blowfish) && !verify(b"wrong", &blowfish));
    }

    #[test]
    fn passwords_are_told_from_hashes() {
        let plain = |text: &str| Some(Given::Plain(text.into()));
        let hash = |text: &str| Some(Given::Hash(text.into()));
        let table = [
            ("secret", plain("secret")),
            ("$ecret", plain("$ecret")),
            ("$ecret$", None),
            ("{PLAIN}$6$x", plain("$6$x")),
            ("$6$salt$hash", hash("$6$salt$hash")),
            ("{SHA512-CRYPT}$6$salt$hash", hash("$6$salt$hash")),
            ("{CRYPT}$2y$05$x", hash("$2y$05$x")),
            ("$y$j9T$x$y", hash("$y$j9T$x$y")),
            ("{MD5}x", None),
            ("$1$salt$hash", None),
            ("{SHA512-CRYPT}plain", None),
        ];
        for (field, expected) in table {
            assert_eq!(given(field), expected, "{field}");
        }
    }
}
