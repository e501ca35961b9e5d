//! A milter's changes as ours.

use std::collections::BTreeMap;
use std::str::FromStr;

use address::{ForwardPath, ReversePath};
use bytes::Bytes;
use milter::{Modification, Text};

use crate::session::{bare, printable};
use crate::{HeaderChange, Modifications, RecipientChange};

/// Octets of the words about parameters that are left out; a note has no room for more.
const MOST_TOLD: usize = 500;

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
                Ok(sender) => {
                    let parameters = parsed(parameters, ["RET", "ENVID"], "the sender", &mut wanted.ignored);
                    wanted.modifications.sender = Some((sender, parameters));
                }
                Err(_) => wanted.ignored.push("a sender that is no address".to_owned()),
            },
            Modification::AddRecipient { path, parameters } => match ForwardPath::parse(&path_of(&path)) {
                Ok(path) => {
                    let of = path.to_string();
                    let parameters = parsed(parameters, ["NOTIFY", "ORCPT"], &of, &mut wanted.ignored);
                    wanted.modifications.recipients.push(RecipientChange::Add(path, parameters));
                }
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

/// The parameters that a milter gives to a path, of which it may set the `settable`. The others, and those that are none,
/// are left out and told: a change is made for what is right in it.
fn parsed<T: FromStr + Default>(
    parameters: Option<Text>,
    settable: [&str; 2],
    of: &str,
    ignored: &mut Vec<String>,
) -> T {
    let text = parameters.unwrap_or_default().to_string_lossy();
    let (mut taken, mut left): (BTreeMap<String, &str>, String) = Default::default();
    for word in text.split_ascii_whitespace() {
        let keyword = word.split('=').next().unwrap_or_default().to_ascii_uppercase();
        let why = if matches!(keyword.as_str(), "SIZE" | "BODY") {
            "the message itself shows it"
        } else if !settable.contains(&keyword.as_str()) {
            "not for a milter to set"
        } else if taken.contains_key(&keyword) || word.parse::<T>().is_err() {
            "bad or repeated"
        } else {
            taken.insert(keyword, word);
            continue;
        };
        if left.len() < MOST_TOLD {
            left.push_str(&format!(" {keyword} ({why})"));
        }
    }
    if !left.is_empty() {
        ignored.push(printable(&format!("parameters of {of}:{left}")));
    }
    taken.into_values().collect::<Vec<_>>().join(" ").parse().unwrap_or_default()
}
