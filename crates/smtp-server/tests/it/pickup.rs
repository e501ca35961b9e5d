//! The drop directory, with files that nobody should put there (rule 29).

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mailwright_smtp_server::pickup::{Accept, Look, Pickup, Refusal, Settings, Submission};
use nix::sys::stat::Mode;
use nix::unistd::{User, geteuid, mkfifo};
use smtp::{DropLimits, Reply};
use tokio::sync::watch;

/// Answers as it is told, in turn; then yes.
#[derive(Debug, Default)]
struct Desk {
    answers: Mutex<Vec<Result<(), Refusal>>>,
    taken: Mutex<Vec<Submission>>,
    refused: Mutex<Vec<(Submission, Reply)>>,
    arrived: tokio::sync::Notify,
}

impl Accept for Desk {
    async fn accept(&self, submission: Submission) -> Result<(), Refusal> {
        self.taken.lock().unwrap().push(submission);
        self.arrived.notify_one();
        self.answers.lock().unwrap().pop().unwrap_or(Ok(()))
    }

    async fn on_refused(&self, submission: Submission, refusal: Reply) -> Result<(), Refusal> {
        self.refused.lock().unwrap().push((submission, refusal));
        self.answers.lock().unwrap().pop().unwrap_or(Ok(()))
    }
}

struct Office {
    folder: tempfile::TempDir,
    desk: Arc<Desk>,
    pickup: Pickup<Desk>,
    drain: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
}

fn office() -> Office {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("drop");
    fs::create_dir(&drop).unwrap();
    let settings = Settings {
        drop,
        origin: "example.org".into(),
        trusted_users: vec!["daemon".into()],
        limits: DropLimits { recipients: 10, message_octets: 1000 },
        at_once: 2,
        every: Duration::from_secs(3600),
    };
    let desk = Arc::new(Desk::default());
    let pickup = Pickup::new(settings, Arc::clone(&desk));
    let (stop, drain) = watch::channel(false);
    Office { folder, desk, pickup, drain, stop }
}

const GOOD: &str = "mailwright-drop 1\nMAIL FROM:<x@elsewhere.example> RET=HDRS\nRCPT TO:<bob@example.net>\nBDAT 15 LAST\n\
    Subject: x\n\na\rb";

impl Office {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("drop").join(name)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    async fn look(&mut self) -> Look {
        self.pickup.look(&self.drain).await.unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn taken(&self) -> Vec<Submission> {
        self.desk.taken.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_message_is_taken_and_its_file_goes() {
    let mut office = office();
    office.put("a", GOOD);
    assert_eq!(office.look().await, Look { taken: 1, ..Look::default() });
    assert!(office.names().is_empty());
    let taken = office.taken();
    // rule 10
    assert_eq!(&taken[0].octets[..], b"Subject: x\r\n\r\na b\r\n");
    assert_eq!(taken[0].recipients[0].0.to_string(), "<bob@example.net>");
    assert_eq!(taken[0].parameters.ret, Some(smtp::Ret::Hdrs));
    assert_eq!(taken[0].uid, geteuid().as_raw());
    // rule 32
    let id = &taken[0].queue_id;
    assert!(id.len() == 15 && id.bytes().all(|octet| octet.is_ascii_alphanumeric()), "{id}");
    assert_eq!(office.look().await, Look::default());
}

#[tokio::test]
async fn a_file_that_was_not_unlinked_is_offered_under_the_same_queue_id() {
    let mut office = office();
    office.put("a", GOOD);
    office.put("b", GOOD);
    let not_now = || Err(Refusal::Temporary(Reply::new(451, "4.3.0 not now")));
    *office.desk.answers.lock().unwrap() = vec![not_now(), not_now()];
    assert_eq!(office.look().await, Look { later: 2, ..Look::default() });
    // Put off, it is not offered before its time.
    assert_eq!(office.look().await, Look { later: 2, ..Look::default() });
    assert_eq!((office.taken().len(), office.names().len()), (2, 2));
    // Another process, after a crash.
    let mut ids: Vec<String> = office.taken().into_iter().map(|taken| taken.queue_id).collect();
    let settings = Settings { drop: office.path(""), ..Settings::new(&daemon::Config::default()) };
    let mut again = Pickup::new(settings, Arc::clone(&office.desk));
    assert_eq!(again.look(&office.drain).await.unwrap(), Look { taken: 2, ..Look::default() });
    let mut more: Vec<String> = office.taken().into_iter().skip(2).map(|taken| taken.queue_id).collect();
    ids.sort_unstable();
    more.sort_unstable();
    assert_eq!(ids, more);
    assert_ne!(ids[0], ids[1]);
    assert!(office.names().is_empty());
}

#[tokio::test]
async fn what_is_refused_for_good_is_reported_before_it_goes() {
    let mut office = office();
    office.put("a", GOOD);
    let never = Err(Refusal::from(Reply::new(550, "5.1.1 nobody of that name")));
    *office.desk.answers.lock().unwrap() = vec![Ok(()), never];
    assert_eq!(office.look().await, Look { taken: 1, ..Look::default() });
    assert_eq!(office.desk.refused.lock().unwrap()[0].1.text(), "nobody of that name");
    assert!(office.names().is_empty());
    // A report that is not durable keeps the file.
    office.put("a", GOOD);
    let (never, not_now) = (Reply::new(550, "5.1.1 never"), Reply::new(451, "4.3.0 not now"));
    *office.desk.answers.lock().unwrap() = vec![Err(not_now.into()), Err(never.into())];
    assert_eq!(office.look().await, Look { later: 1, ..Look::default() });
    assert_eq!(office.names(), ["a"]);
}

#[tokio::test]
async fn nothing_but_a_plain_file_is_opened() {
    // rule 29
    let mut office = office();
    let secret = office.folder.path().join("secret");
    fs::write(&secret, GOOD).unwrap();
    symlink(&secret, office.path("symlink")).unwrap();
    symlink("nowhere", office.path("dangling")).unwrap();
    fs::hard_link(&secret, office.path("hard-link")).unwrap();
    mkfifo(&office.path("pipe"), Mode::from_bits_truncate(0o666)).unwrap();
    fs::create_dir(office.path("directory")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(office.path("socket")).unwrap();
    office.put("large", &GOOD.replace("a\rb", &"x".repeat(100_000)));
    office.put("empty", "");
    office.put("no-format", "Subject: x\n\nhello\n");
    office.put("cut-off", &GOOD[..GOOD.len() - 1]);
    office.put("too-long", &GOOD.replace("15 LAST", "1001 LAST"));
    office.put("good", GOOD);
    assert_eq!(office.look().await, Look { taken: 1, aside: 11, ..Look::default() });
    assert_eq!(office.taken().len(), 1);
    let names = office.names();
    assert!(names.len() == 11 && names.iter().all(|name| name.starts_with("corrupt.")), "{names:?}");
    assert!(secret.exists());
    // They are looked at once.
    assert_eq!(office.look().await, Look::default());
}

#[tokio::test]
async fn a_file_that_is_being_written_is_left_alone_for_a_day() {
    let mut office = office();
    office.put(".tmp.new", "mailwright-drop 1\n");
    let old = office.put(".tmp.old", "mailwright-drop 1\n");
    let then = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    fs::File::options().write(true).open(old).unwrap().set_modified(then).unwrap();
    assert_eq!(office.look().await, Look::default());
    assert_eq!(office.names(), [".tmp.new"]);
}

/// Gives a file to a user; `None` where we may not.
fn give(path: &Path, user: &str) -> Option<User> {
    let user = User::from_name(user).unwrap()?;
    geteuid().is_root().then_some(())?;
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    Some(user)
}

#[tokio::test]
async fn the_sender_is_the_owner_of_the_file() {
    // rule 29
    let mut office = office();
    let owners = [
        // owner, named sender, sender, claimed
        ("nobody", "<x@elsewhere.example>", "<nobody@example.org>", true),
        ("nobody", "<NoBody@example.org>", "<NoBody@example.org>", false),
        ("nobody", "<>", "<>", false),
        ("daemon", "<x@elsewhere.example>", "<x@elsewhere.example>", false),
        ("root", "<x@elsewhere.example>", "<x@elsewhere.example>", false),
    ];
    for (owner, named, sender, claimed) in owners {
        let path = office.put("a", &GOOD.replace("<x@elsewhere.example>", named));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let Some(user) = give(&path, owner) else { continue };
        assert_eq!(fs::metadata(&path).unwrap().uid(), user.uid.as_raw());
        assert_eq!(office.look().await.taken, 1);
        let taken = office.taken().pop().unwrap();
        assert_eq!(taken.sender.to_string(), sender, "{owner} as {named}");
        assert_eq!(taken.claimed_sender.map(|path| path.to_string()), claimed.then(|| named.to_owned()));
        assert_eq!((taken.uid, taken.login.as_deref()), (user.uid.as_raw(), Some(owner)));
    }
    if geteuid().is_root() {
        let path = office.put("a", GOOD);
        chown(&path, Some(54_321), None).unwrap();
        assert_eq!(office.look().await.taken, 1);
        assert_eq!(office.taken().pop().unwrap().sender.to_string(), "<uid54321@example.org>");
    }
}

#[tokio::test]
async fn the_directory_is_watched() {
    let office = office();
    let (desk, path) = (Arc::clone(&office.desk), office.path("a"));
    let written = office.put("../being-written", GOOD);
    office.put("before", GOOD);
    let running = tokio::spawn(office.pickup.run(office.drain.clone()));
    desk.arrived.notified().await;
    // It looks once an hour; the kernel tells it.
    fs::rename(written, path).unwrap();
    desk.arrived.notified().await;
    office.stop.send(true).unwrap();
    running.await.unwrap();
    assert_eq!(desk.taken.lock().unwrap().len(), 2);
}
