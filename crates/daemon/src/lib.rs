//! Configuration, logging, listeners, privileges, metrics and drain: what every daemon shares.
