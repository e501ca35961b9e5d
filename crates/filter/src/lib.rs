//! What others have to say about a message on its way in: milters and a policy service.
