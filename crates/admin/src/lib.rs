//! What `mailctl` does: set-up, accounts, the demonstration.
