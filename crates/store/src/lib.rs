//! Messages, mailboxes, spool and accounts' rows: everything durable; knows no protocol.
