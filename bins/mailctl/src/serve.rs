//! Setting a system up, and running all of it in one process.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use admin::{Init, System, Trip};
use daemon::{Config, Context, Error, Kind, Place, Started, Unconfined};
use serde_json::json;
use smtp_server::Outgoing;

use crate::args::{self, Tls};

/// Starts every server in this process.
async fn start(context: &mut Context) -> Result<System, Error> {
    let system = admin::open(&context.config, true)?;
    let office = delivery::start(context, system.store.clone(), system.directory.clone())?;
    let table = Arc::clone(&office);
    let outgoing = Outgoing::new(move |destination, rows| office.fresh(destination, rows))
        .refusing(move |sender, recipient| table.refusal(sender, recipient));
    smtp_server::start(context, system.store.clone(), system.directory.clone(), Some(outgoing)).await?;
    imap_server::start(context, system.store.clone(), system.directory.clone()).await?;
    pop3_server::start(context, system.store.clone(), system.directory.clone()).await?;
    Ok(system)
}

/// `mailctl serve`
pub(crate) fn serve(args: &daemon::Args) -> Result<(), Error> {
    let started = Started::new("mailctl", args)?;
    if args.check {
        delivery::check(started.config())?;
        smtp_server::check(started.config())?;
        admin::check(started.config())?;
        return started.check();
    }
    started.bind(&Kind::IN_ONE_PROCESS)?.confine(Unconfined::No)?.run(
        start,
        async |_| std::future::pending().await,
        async |system| system.store.close().await,
    )
}

/// `mailctl check config`
pub(crate) fn check_config(args: &daemon::Args) -> Result<(), Error> {
    let (path, config) = Config::find(args.config.as_deref())?;
    let args = daemon::Args { config: Some(path.clone()), quiet: true, ..args.clone() };
    let started = Started::new("mailctl", &args)?;
    delivery::check(started.config())?;
    smtp_server::check(started.config())?;
    started.check()?;
    let missing = admin::check(started.config())?;
    println!("{}: good, for {}", path.display(), config.hostname);
    if let Some(missing) = missing {
        println!("no daemon starts yet: {missing}");
    }
    Ok(())
}

/// `mailctl init`
pub(crate) fn init(args: &args::Init, as_json: bool) -> Result<(), Error> {
    if args.tls == Tls::Acme {
        return Err(Error::Config("--tls acme is not in this version: use self-signed or files".into()));
    }
    let wanted = Init {
        domain: args.domain.clone(),
        hostname: args.hostname.clone().unwrap_or_else(|| format!("mx.{}", args.domain)),
        bind: args.bind.clone(),
        base_port: args.base_port,
        self_signed: args.tls == Tls::SelfSigned,
    };
    let made = crate::runtime()?.block_on(admin::init(&args.dir, &wanted))?;
    if as_json {
        let listeners: Vec<_> =
            made.listeners.iter().map(|(name, place)| json!({ "name": name, "place": place })).collect();
        println!("{}", json!({ "config": made.config, "listeners": listeners }));
        return Ok(());
    }
    println!("configuration  {}", made.config.display());
    for (name, place) in &made.listeners {
        println!("{name:<13}  {place}");
    }
    if made.as_root {
        println!("\nThe data belongs to root, so the daemons will run as root. For real use: make a user, give it the");
        println!("directory (chown -R), and set user = \"\" in the configuration.");
    }
    if args.tls == Tls::Files {
        println!("\nName your certificate and key in the section [tls].");
    }
    println!("\nNext: mailctl --config {} account add you@{}", made.config.display(), args.domain);
    Ok(())
}

const HOSTNAME: &str = "mx.example.test";
const DOMAIN: &str = "example.test";

/// The two people of the demonstration: address and password.
struct People {
    sender: (String, String),
    recipient: (String, String),
}

/// `mailctl quickstart`
pub(crate) fn quickstart(args: &args::Quickstart) -> Result<(), Error> {
    let config_path = args.dir.join("mailwright.toml");
    let people = if config_path.exists() {
        println!("starting from what is in {}", args.dir.display());
        known_people(&args.dir)?
    } else {
        crate::runtime()?.block_on(set_up(args))?
    };
    let daemon_args = daemon::Args { config: Some(config_path), log_format: None, check: false, quiet: true };
    let started = Started::new("mailctl", &daemon_args)?;
    let config = started.config().clone();
    let once = args.once;
    started.bind(&Kind::IN_ONE_PROCESS)?.confine(Unconfined::Yes)?.run(
        start,
        async move |_| {
            show(&config, &people).await?;
            if once {
                return Ok(());
            }
            println!("\nServing until Ctrl-C.");
            std::future::pending().await
        },
        async |system| system.store.close().await,
    )
}

/// The first start: a system and two accounts.
async fn set_up(args: &args::Quickstart) -> Result<People, Error> {
    let wanted = Init {
        domain: DOMAIN.into(),
        hostname: HOSTNAME.into(),
        bind: vec![args.bind],
        base_port: Some(args.base_port),
        self_signed: true,
    };
    let made = admin::init(&args.dir, &wanted).await?;
    println!("set up {}", args.dir.display());
    if made.as_root {
        println!("running as root, since root owns the directory: for a trial only");
    }
    let config = Config::load(&made.config)?;
    let system = admin::open(&config, false)?;
    let failed = |error: directory::AdminError| Error::Failed(error.to_string());
    let mut people = Vec::new();
    for name in ["alice", "bob"] {
        let address = format!("{name}@{DOMAIN}");
        let password = directory::generate_password().map_err(failed)?;
        system.directory.add_account(&address, &password).await.map_err(failed)?;
        system.directory.owe_aliases(DOMAIN, &address).await.map_err(failed)?;
        people.push((address, password));
    }
    system.store.close().await;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(args.dir.join("quickstart.txt"))
        .map_err(|error| Error::Failed(error.to_string()))?;
    for (address, password) in &people {
        writeln!(file, "{address} {password}").map_err(|error| Error::Failed(error.to_string()))?;
    }
    known_people(&args.dir)
}

fn known_people(directory: &Path) -> Result<People, Error> {
    let path = directory.join("quickstart.txt");
    let text = fs::read_to_string(&path).map_err(|error| {
        Error::Failed(format!("{}: {error}: this directory was not made by quickstart", path.display()))
    })?;
    let mut people = text.lines().filter_map(|line| line.split_once(' ')).map(|(a, p)| (a.to_owned(), p.to_owned()));
    match (people.next(), people.next()) {
        (Some(sender), Some(recipient)) => Ok(People { sender, recipient }),
        _ => Err(Error::Failed(format!("{}: expected two lines of address and password", path.display()))),
    }
}

/// Makes the trip and prints each step, then what a mail client needs to know.
async fn show(config: &Config, people: &People) -> Result<(), Error> {
    let tcp = |kind: Kind| -> Result<SocketAddr, Error> {
        let place = config.places(kind).into_iter().find_map(|place| match place {
            Place::Tcp(address) => Some(address),
            Place::Unix(_) => None,
        });
        place.ok_or_else(|| Error::Failed(format!("{} has no port", kind.name())))
    };
    let trip = Trip {
        sender: (&people.sender.0, &people.sender.1),
        recipient: (&people.recipient.0, &people.recipient.1),
        submission: tcp(Kind::Submission)?,
        imaps: tcp(Kind::Imaps)?,
        pop3s: tcp(Kind::Pop3s)?,
        certificate: &config.tls.certificate,
        hostname: &config.hostname,
    };
    println!("\na message from {} to {}:", people.sender.0, people.recipient.0);
    admin::trip(&trip, |step, milliseconds| println!("  {step}  ({milliseconds} ms)")).await.map_err(Error::Failed)?;
    println!("it all works.\n\nsettings for a mail client:");
    let listeners = [
        ("IMAP, TLS", Kind::Imaps),
        ("IMAP, STARTTLS", Kind::Imap),
        ("POP3, TLS", Kind::Pop3s),
        ("SMTP, TLS", Kind::Submissions),
        ("SMTP, STARTTLS", Kind::Submission),
    ];
    for (name, kind) in listeners {
        println!("  {name:<15} {}", tcp(kind)?);
    }
    println!("  the certificate is self-signed: a client has to be told once that it may be trusted");
    for (address, password) in [&people.sender, &people.recipient] {
        println!("  user {address}   password {password}");
    }
    Ok(())
}
