//! A milter of somebody else.
