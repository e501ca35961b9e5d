//! Mailbox addresses: local part, domain, address literal, paths, IDNA, subaddresses.
