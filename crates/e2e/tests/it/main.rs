//! The system as its users meet it: real processes, real clients.

mod clients;
mod commands;
mod crash;
mod leaving;
mod machine;
mod operator;
mod others;
mod queue;
mod rules;
mod sendmail;
mod service;
mod trouble;
