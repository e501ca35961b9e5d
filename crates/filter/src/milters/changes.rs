//! A milter's changes as ours.

use address::{ForwardPath, ReversePath};
use bytes::Bytes;
use milter::{Modification, Text};

use crate::session::{bare, printable};
use crate::{HeaderChange, Modifications, RecipientChange};

/// What a milter wants at the end of a message.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) modifications: Modifications,
    pub(crate) quarantine: Option<String>,
    /// In words, what makes no sense and is not done.
    pub(crate) ignored: Vec<String>,
}

pub(crate) fn wanted(changes: Vec<Modification>) -> Wanted {
    let mut wanted = Wanted::default();
    let mut header = Vec::new();
    for change in changes {
        match change {
            Modification::AddHeader { name, value } => {
                header.push(HeaderChange::Add { name: name.to_string_lossy(), value: octets(&value) });
            }
            Modification::InsertHeader { index, name, value } => {
                header.push(HeaderChange::Insert { index, name: name.to_string_lossy(), value: octets(&value) });
            }
            Modification::ChangeHeader { index, name, value } => {
                let (name, value) = (name.to_string_lossy(), octets(&value));
                header.push(if value.is_empty() {
                    HeaderChange::Delete { index, name }
                } else {
                    HeaderChange::Change { index, name, value }
                });
            }
            Modification::ReplaceBody(piece) => wanted.modifications.body.get_or_insert_default().push(piece),
            Modification::ChangeSender { path, parameters } => match ReversePath::parse(&path_of(&path)) {
                Ok(sender) => wanted.modifications.sender = Some((sender, words(parameters))),
                Err(_) => wanted.ignored.push("a sender that is no address".to_owned()),
            },
            Modification::AddRecipient { path, parameters } => match ForwardPath::parse(&path_of(&path)) {
                Ok(path) => wanted.modifications.recipients.push(RecipientChange::Add(path, words(parameters))),
                Err(_) => wanted.ignored.push("a recipient to add that is no address".to_owned()),
            },
            Modification::DeleteRecipient(path) => match ForwardPath::parse(&path_of(&path)) {
                Ok(path) => wanted.modifications.recipients.push(RecipientChange::Delete(path)),
                Err(_) => wanted.ignored.push("a recipient to delete that is no address".to_owned()),
            },
            Modification::Quarantine(reason) => wanted.quarantine = Some(printable(&reason.to_string_lossy())),
        }
    }
    header.retain(|change| {
        if !change.is_possible() {
            wanted.ignored.push("a header field whose name is none".to_owned());
        }
        change.is_possible()
    });
    if !header.is_empty() {
        wanted.modifications.header.push(header);
    }
    wanted
}

fn octets(text: &Text) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn path_of(path: &Text) -> String {
    bare(path.to_string_lossy().trim())
}

fn words(parameters: Option<Text>) -> Option<String> {
    parameters.map(|text| printable(&text.to_string_lossy())).filter(|text| !text.is_empty())
}
