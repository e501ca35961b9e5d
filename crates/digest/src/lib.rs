//! What the store keeps of a message: ENVELOPE, BODYSTRUCTURE, header cache and preview, as opaque versioned facts.
