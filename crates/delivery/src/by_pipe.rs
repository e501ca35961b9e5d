//! Messages for programs of this machine.

use bytes::Bytes;
use wire::EnhancedCode;

use crate::pipe::{Handed, Pipe, PipeOutcome, hand_over};
use crate::settings::PipeSettings;
use crate::verdict::{Reason, Verdict};
use crate::work::{Addressee, Work};

/// Gives a message to a program, for one recipient.
pub(crate) async fn deliver(
    command: &[String],
    settings: Option<&PipeSettings>,
    work: &Work,
    addressee: &Addressee,
    octets: Bytes,
) -> Verdict {
    let Some((program, arguments)) = command.split_first() else {
        return Verdict::Deferred(Reason::ours(EnhancedCode::transient(3, 5), "the route names no program"));
    };
    let mut pipe = Pipe::new(program);
    pipe.arguments = arguments.to_vec();
    if let Some(settings) = settings {
        pipe.deadline = settings.deadline;
        if let Some(user) = &settings.user {
            pipe.user.clone_from(user);
        }
    }
    let handed = Handed {
        queue_id: work.queue_id().to_owned(),
        sender: work.spool.sender.clone(),
        recipient: addressee.row.address.clone(),
        octets,
    };
    match hand_over(&pipe, &handed).await {
        PipeOutcome::Delivered { said } => {
            let words = if said.is_empty() { "2.0.0 taken by the program".to_owned() } else { format!("2.0.0 {said}") };
            Verdict::Delivered(smtp::Reply::new(250, words))
        }
        PipeOutcome::Temporary(reply) => Verdict::Deferred(reason(&reply)),
        PipeOutcome::Permanent(reply) => Verdict::Failed(reason(&reply)),
    }
}

/// What became of it, without the code that no server gave.
fn reason(reply: &smtp::Reply) -> Reason {
    let text = reply.text();
    let code = reply.enhanced().map(|code| code.to_string()).unwrap_or_default();
    Reason::not_of_a_server(reply, text.strip_prefix(&code).unwrap_or(text).trim_start().to_owned())
}
