//! Who is who: domains, accounts, aliases, passwords and throttling.
