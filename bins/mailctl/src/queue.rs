//! The queue, and where messages have been.

use std::io::{BufWriter, IsTerminal as _, Write as _};

use admin::{Act, Selection, Wanted};
use daemon::{Config, Error};
use serde_json::json;
use store::{SpoolState, Store};

use crate::args::{Chosen, Queue, Trace, Which};

/// What is asked.
pub(crate) enum Request {
    /// `mailctl queue …`
    Queue(Queue),
    /// `mailctl trace …`
    Trace(Trace),
}

pub(crate) fn run(args: &daemon::Args, as_json: bool, request: &Request) -> Result<(), Error> {
    if let Request::Queue(queue) = request {
        confirm(queue)?;
    }
    let (_, config) = Config::find(args.config.as_deref())?;
    daemon::start_log(&daemon::Log { level: "warn".into(), ..config.log.clone() })?;
    crate::runtime()?.block_on(async {
        let system = admin::open(&config, false)?;
        let outcome = carry_out(system.store.as_ref(), as_json, request).await;
        system.store.close().await;
        outcome
    })
}

async fn carry_out(store: &dyn Store, as_json: bool, request: &Request) -> Result<(), Error> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match request {
        Request::Queue(Queue::List { summary: true, .. }) => admin::summary(store, as_json, &mut out).await,
        Request::Queue(Queue::List { which, limit, .. }) => {
            admin::list(store, &selection(which), *limit, as_json, &mut out).await
        }
        Request::Queue(Queue::Show { id }) => admin::show(store, id, as_json, &mut out).await,
        Request::Queue(Queue::Retry(chosen)) => act(store, as_json, chosen, Act::Retry).await,
        Request::Queue(Queue::Hold(chosen)) => act(store, as_json, chosen, Act::Hold).await,
        Request::Queue(Queue::Release(chosen)) => act(store, as_json, chosen, Act::Release).await,
        Request::Queue(Queue::Remove(chosen)) => act(store, as_json, chosen, Act::Remove).await,
        Request::Trace(trace) => {
            let wanted = Wanted { what: trace.what.clone(), since: trace.since.clone(), limit: trace.limit };
            admin::tell(store, &wanted, as_json, &mut out).await
        }
    }?;
    // Whoever reads it may have seen enough.
    let _ = out.flush();
    Ok(())
}

fn selection(which: &Which) -> Selection {
    Selection {
        id: which.id.clone(),
        domain: which.domain.clone(),
        sender: which.sender.clone(),
        recipient: which.recipient.clone(),
        state: match (which.held, which.waiting) {
            (true, _) => Some(SpoolState::Held),
            (_, true) => Some(SpoolState::Waiting),
            _ => None,
        },
    }
}

/// What cannot be undone, or stops everything, is asked for twice.
fn confirm(queue: &Queue) -> Result<(), Error> {
    let (chosen, question) = match queue {
        Queue::Retry(chosen) | Queue::Release(chosen) => (chosen, None),
        Queue::Hold(chosen) if !chosen.all => (chosen, None),
        Queue::Hold(chosen) => (chosen, Some("Put the whole queue on hold?")),
        Queue::Remove(chosen) if chosen.all => (chosen, Some("Remove the whole queue, and tell nobody?")),
        Queue::Remove(chosen) => (chosen, Some("Remove all that fits, and tell nobody?")),
        Queue::List { .. } | Queue::Show { .. } => return Ok(()),
    };
    if !chosen.all && selection(&chosen.which).is_everything() {
        return Err(Error::Config(
            "which of the queue? Expected a queue id, --domain, --sender, --recipient, --held, --waiting or --all"
                .into(),
        ));
    }
    let Some(question) = question.filter(|_| !chosen.yes) else { return Ok(()) };
    if !std::io::stdin().is_terminal() {
        return Err(Error::Config("without a terminal to ask at, this needs --yes".into()));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Error::Failed(error.to_string()))?;
    if answer.trim().eq_ignore_ascii_case("y") { Ok(()) } else { Err(Error::Failed("nothing was done".into())) }
}

async fn act(store: &dyn Store, as_json: bool, chosen: &Chosen, act: Act) -> Result<(), Error> {
    let acted = admin::act(store, &selection(&chosen.which), act).await?;
    if as_json {
        println!(
            "{}",
            json!({
                "did": act.word(),
                "recipients": acted.recipients,
                "messages": acted.messages,
                "on_hold": acted.on_hold,
            })
        );
    } else {
        let done = match act {
            Act::Retry => "tried now",
            Act::Hold => "on hold now",
            Act::Release => "released",
            Act::Remove => "removed",
        };
        println!("{} recipients of {} messages {done}", acted.recipients, acted.messages);
        if acted.on_hold > 0 {
            println!("{} recipients stay as they are: they are on hold; `mailctl queue release` first", acted.on_hold);
        }
    }
    if acted.recipients == 0 && !chosen.all {
        return Err(Error::Failed("nothing in the queue fits, or it is so already".into()));
    }
    Ok(())
}
