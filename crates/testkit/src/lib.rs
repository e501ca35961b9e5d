//! Transcript player and fake clock for tests of sessions.
