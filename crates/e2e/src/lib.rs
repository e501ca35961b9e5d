//! Real clients, real peers and crash tests against the running daemons.
