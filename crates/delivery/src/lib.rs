//! The queue runner: takes what is due to where it goes.

pub mod pipe;
