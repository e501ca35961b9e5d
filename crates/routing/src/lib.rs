//! Where mail for a domain goes, in which order, and how it must be secured.
