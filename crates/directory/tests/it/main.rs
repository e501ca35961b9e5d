//! The directory over a real store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use address::{ForwardPath, Mailbox};
use mailwright_directory::*;
use sasl::{Mechanism, client};
use store::{Embedded, NewAccount, Options};
use wire::Secret;

struct Fixture {
    _directory: tempfile::TempDir,
    directory: Arc<Directory>,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { min_free_octets: 0, ..Options::default() };
    let store = Embedded::open(folder.path(), &options).unwrap();
    let hashing = Hashing { memory_kib: 8, iterations: 1, parallelism: 1, scram_iterations: 4_096 };
    let directory = Directory::new(store, Settings { hashing, failures_per_minute: 3, ..Settings::default() });
    directory.add_domain("example.org", None).await.unwrap();
    directory.add_account("Ann@example.org", "secret").await.unwrap();
    Fixture { _directory: folder, directory }
}

async fn targets(directory: &Directory, address: &str) -> String {
    match directory.resolve(&ForwardPath::parse(address).unwrap()).await {
        Resolution::Local(Found { accounts: targets, elsewhere }) => {
            let mut names: Vec<String> = targets
                .into_iter()
                .map(|target| {
                    let detail = target.detail.map(|detail| format!("+{detail}")).unwrap_or_default();
                    format!("{}{detail}", target.account.key)
                })
                .collect();
            names.extend(elsewhere.iter().map(|forward| forward.to.to_string()));
            names.join(" ")
        }
        Resolution::NoSuchUser => "no such user".into(),
        Resolution::NotLocal => "not local".into(),
        Resolution::Disabled => "disabled".into(),
        Resolution::Unavailable(error) => error.to_string(),
    }
}

#[tokio::test]
async fn addresses_lead_to_accounts() {
    // rule 14, rule 6
    let f = fixture().await;
    let directory = &f.directory;
    directory.add_account("bob@example.org", "secret").await.unwrap();
    directory.owe_aliases("example.org", "ann@example.org").await.unwrap();
    directory.add_alias("team@example.org", &["ann@example.org".into(), "bob@example.org".into()]).await.unwrap();
    directory.add_alias("bob@example.org", &["bob@example.org".into(), "ann@example.org".into()]).await.unwrap();
    let table = [
        ("ANN@Example.ORG", "ann@example.org"),
        ("ann+news@example.org", "ann@example.org+news"),
        ("Postmaster", "ann@example.org"),
        ("POSTMASTER@example.org", "ann@example.org"),
        ("abuse@example.org", "ann@example.org"),
        ("team@example.org", "ann@example.org bob@example.org"),
        ("bob@example.org", "ann@example.org bob@example.org"),
        ("nobody@example.org", "no such user"),
        ("ann@elsewhere.example", "not local"),
        ("ann@[127.0.0.1]", "not local"),
        ("ann%example.org@elsewhere.example", "not local"),
    ];
    for (address, expected) in table {
        assert_eq!(targets(directory, address).await, expected, "{address}");
    }
    directory.set_enabled("bob@example.org", false).await.unwrap();
    directory.remove_alias("bob@example.org", &[]).await.unwrap();
    assert_eq!(targets(directory, "bob@example.org").await, "disabled");
    directory.add_domain("all.example", Some("ann@example.org")).await.unwrap();
    assert_eq!(targets(directory, "whoever@all.example").await, "ann@example.org");
}

#[tokio::test]
async fn loops_are_refused_when_added_and_targets_elsewhere_are_not() {
    // rule 14
    let f = fixture().await;
    let directory = &f.directory;
    directory.add_alias("a@example.org", &["b@example.org".into()]).await.unwrap();
    let looped = directory.add_alias("b@example.org", &["a@example.org".into()]).await;
    assert!(matches!(looped, Err(AdminError::AliasLoop(_))));
    directory.add_account("bob@example.org", "secret").await.unwrap();
    directory.add_alias("c@example.org", &["x@elsewhere.example".into(), "bob@example.org".into()]).await.unwrap();
    assert_eq!(targets(directory, "c@example.org").await, "bob@example.org x@elsewhere.example");
    directory.add_alias("owner-c@example.org", &["ann@example.org".into()]).await.unwrap();
    let path = ForwardPath::parse("c@example.org").unwrap();
    let Resolution::Local(found) = directory.resolve(&path).await else { panic!("c is there") };
    let owner = Some("owner-c@example.org".to_owned());
    assert_eq!(found.elsewhere[0].owner.as_ref().map(ToString::to_string), owner);
    assert_eq!(found.accounts[0].owner.as_ref().map(ToString::to_string), owner);
    assert!(matches!(directory.add_alias("c@elsewhere.example", &[]).await, Err(AdminError::NotLocal(_))));
}

#[tokio::test]
async fn a_domain_stands_for_another() {
    let f = fixture().await;
    let directory = &f.directory;
    directory.add_account("bob@example.org", "secret").await.unwrap();
    directory.add_domain_alias("example.net", "example.org").await.unwrap();
    for (address, expected) in
        [("Ann+lists@example.net", "ann@example.org+lists"), ("nobody@example.net", "no such user")]
    {
        assert_eq!(targets(directory, address).await, expected, "{address}");
    }
    directory.add_alias("sales@example.net", &["bob@example.org".into()]).await.unwrap();
    assert_eq!(targets(directory, "sales@example.net").await, "bob@example.org");
    assert_eq!(targets(directory, "sales@example.org").await, "no such user");
    let looped = directory.add_alias("bob@example.org", &["bob@example.net".into()]).await;
    assert!(matches!(looped, Err(AdminError::AliasLoop(_))), "{looped:?}");
    let chained = directory.add_domain_alias("example.com", "example.net").await;
    assert!(matches!(chained, Err(AdminError::DomainAlias(_))));
    // rule 16
    let ann = directory.find_account("ann@example.org").await.unwrap();
    let own = address::Mailbox::parse("ann@example.net").unwrap();
    assert!(directory.sender_allowed(ann.id, &own).await.unwrap());
    directory.remove_domain("example.net").await.unwrap();
    assert_eq!(targets(directory, "ann@example.net").await, "not local");
}

#[tokio::test]
async fn passwords_are_checked_and_their_change_acts_at_once() {
    // rule 8
    let f = fixture().await;
    let check = |user: &'static str, password: &'static str| {
        let directory = Arc::clone(&f.directory);
        async move { directory.check(user, &Secret::new(password), None).await }
    };
    assert_eq!(check("ann@example.org", "secret").await.unwrap().address, "Ann@example.org");
    assert!(check("ann", "secret").await.is_ok(), "one domain is served");
    assert_eq!(check("ann", "wrong").await, Err(Failure::Wrong));
    assert_eq!(check("nobody", "secret").await, Err(Failure::Wrong));
    f.directory.set_password("ann@example.org", "other").await.unwrap();
    assert_eq!(check("ann", "secret").await, Err(Failure::Wrong));
    assert!(check("ann", "other").await.is_ok());
    f.directory.set_enabled("ann@example.org", false).await.unwrap();
    assert_eq!(check("ann", "other").await, Err(Failure::Disabled));
    f.directory.remove_account("ann@example.org").await.unwrap();
    assert_eq!(check("ann", "other").await, Err(Failure::Wrong));
}

#[tokio::test]
async fn failures_are_throttled() {
    let f = fixture().await;
    for _ in 0..3 {
        assert_eq!(f.directory.check("ann", &Secret::new("wrong"), None).await, Err(Failure::Wrong));
    }
    assert_eq!(f.directory.check("ann", &Secret::new("secret"), None).await, Err(Failure::Throttled));
}

async fn log_in(directory: &Arc<Directory>, mechanism: Mechanism, user: &str, password: &str) -> Outcome {
    let mut client = client::Exchange::new(mechanism, user, Secret::new(password), None, "client".into());
    let mut login = Login::new(directory, mechanism, None, None);
    let mut outcome = login.respond(client.initial()).await;
    while let Outcome::Challenge(challenge) = outcome {
        match client.respond(&challenge) {
            Ok(response) => outcome = login.respond(Some(response)).await,
            Err(_) => return Outcome::Failure(Failure::Wrong, String::new()),
        }
    }
    outcome
}

#[tokio::test]
async fn scram_works_with_a_verifier_and_tells_nobody_who_has_none() {
    // rule 31
    let f = fixture().await;
    for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256] {
        let outcome = log_in(&f.directory, mechanism, "ann@example.org", "secret").await;
        assert!(matches!(outcome, Outcome::Success(_)), "{mechanism:?}");
    }
    assert!(f.directory.scram_available().await.unwrap());
    let outcome = log_in(&f.directory, Mechanism::ScramSha256, "ann@example.org", "wrong").await;
    assert!(matches!(outcome, Outcome::Failure(Failure::Wrong, _)));
    let mut challenges = Vec::new();
    for _ in 0..2 {
        let mut login = Login::new(&f.directory, Mechanism::ScramSha256, None, None);
        let first = Secret::new("n,,n=nobody@example.org,r=x");
        let Outcome::Challenge(challenge) = login.respond(Some(first)).await else { panic!("a challenge") };
        challenges.push(String::from_utf8(challenge).unwrap().split_once(",s=").unwrap().1.to_owned());
    }
    assert_eq!(challenges[0], challenges[1], "an unknown user's salt is stable");
}

#[tokio::test]
async fn imports_are_all_or_nothing_and_hashes_are_upgraded() {
    let f = fixture().await;
    let row = |line, address: &str, password: &str| ImportRow {
        line,
        address: address.into(),
        password: password.into(),
        quota_octets: None,
    };
    let hash = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    let bad = f.directory.import(vec![row(1, "c@example.org", hash), row(2, "d@example.org", "{MD5}x")]).await;
    assert_eq!(bad.unwrap_err().line, 2);
    assert_eq!(f.directory.all_accounts().await.unwrap().len(), 1);
    f.directory.import(vec![row(1, "c@example.org", hash), row(2, "d@example.org", "plain")]).await.unwrap();
    assert!(!f.directory.scram_available().await.unwrap());
    assert!(f.directory.check("c@example.org", &Secret::new("Hello world!"), None).await.is_ok());
    let account = f.directory.find_account("c@example.org").await.unwrap();
    let kinds: Vec<&str> = account.credentials.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["password", "scram-sha-256"]);
    assert!(account.credentials[0].1.starts_with(b"$argon2id$"));
    assert!(f.directory.scram_available().await.unwrap());
}

#[tokio::test]
async fn clients_that_log_in_together_after_an_import_are_all_let_in_and_stay() {
    // rule 8: the upgrade of a hash is no new password.
    let f = fixture().await;
    let hash = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    let row = ImportRow { line: 1, address: "c@example.org".into(), password: hash.into(), quota_octets: None };
    f.directory.import(vec![row]).await.unwrap();
    let password = Secret::new("Hello world!");
    let mut sessions = Vec::new();
    let one = || async {
        let account = f.directory.check("c@example.org", &password, None).await.unwrap();
        Watched::new(f.directory.store().as_ref(), account.account).await.unwrap()
    };
    sessions.extend(<[Watched; 3]>::from(tokio::join!(one(), one(), one())));
    let first = sessions[0].id();
    for session in &mut sessions {
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, session.revoked(f.directory.store().as_ref())).await.is_err());
    }
    assert!(f.directory.set_password("c@example.org", "other").await.is_ok());
    for session in &mut sessions {
        session.revoked(f.directory.store().as_ref()).await;
    }
    assert_eq!(f.directory.find_account("c@example.org").await.unwrap().id, first);
}

#[tokio::test]
async fn what_a_salvage_could_not_place_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { min_free_octets: 0, ..Options::default() };
    let store = Embedded::open(folder.path(), &options).unwrap();
    let directory = Directory::new(store, Settings::default());
    directory.add_domain("example.org", None).await.unwrap();
    directory.add_account("ann@example.org", "secret").await.unwrap();
    let nobody = directory.find_account("Recovered").await.unwrap_err().to_string();
    assert_eq!(nobody, "there is no account Recovered");
    let key = store::RECOVERED.to_ascii_lowercase();
    let new = NewAccount { key, address: store::RECOVERED.into(), quota_octets: None, credentials: Vec::new() };
    directory.store().add_accounts(vec![new]).await.unwrap();
    assert_eq!(directory.check("Recovered", &Secret::new("x"), None).await, Err(Failure::Wrong));
    directory.set_password("Recovered", "secret").await.unwrap();
    for user in ["Recovered", "recovered"] {
        assert!(directory.check(user, &Secret::new("secret"), None).await.is_ok(), "{user}");
    }
    directory.set_enabled("Recovered", false).await.unwrap();
    assert_eq!(directory.check("Recovered", &Secret::new("secret"), None).await, Err(Failure::Disabled));
    // No mail comes to it.
    assert!(directory.add_account("Recovered", "x").await.is_err());
    directory.remove_account("Recovered").await.unwrap();
    assert!(directory.find_account("Recovered").await.is_err());
}

#[tokio::test]
async fn who_exists_is_not_told_by_the_time_a_refusal_takes() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { min_free_octets: 0, ..Options::default() };
    let store = Embedded::open(folder.path(), &options).unwrap();
    let hashing = Hashing { memory_kib: 8_192, iterations: 2, parallelism: 1, scram_iterations: 4_096 };
    let settings = Settings { hashing, failures_per_minute: 1_000, ..Settings::default() };
    let directory = Directory::new(store, settings);
    directory.add_domain("example.org", None).await.unwrap();
    directory.add_account("ann@example.org", "secret").await.unwrap();
    // The least of several: whatever else the machine does makes a refusal slower, never faster.
    let mut least = [std::time::Duration::MAX; 2];
    for _ in 0..8 {
        for (user, least) in ["ann@example.org", "nobody@example.org"].iter().zip(&mut least) {
            let began = std::time::Instant::now();
            assert_eq!(directory.check(user, &Secret::new("wrong"), None).await, Err(Failure::Wrong));
            *least = began.elapsed().min(*least);
        }
    }
    assert!(least[0] < least[1] * 2 && least[1] < least[0] * 2, "{least:?}");
}

#[tokio::test]
async fn senders_are_own_or_granted() {
    // rule 16
    let f = fixture().await;
    let account = f.directory.find_account("ann@example.org").await.unwrap().id;
    let grants = vec!["info@example.org".into(), "@lists.example".into()];
    f.directory.store().update_account(account, store::AccountChange::Grants(grants)).await.unwrap();
    let table = [
        ("ANN@example.org", true),
        ("ann+x@example.org", true),
        ("info@example.org", true),
        ("any@lists.example", true),
        ("bob@example.org", false),
        ("ann@elsewhere.example", false),
    ];
    for (sender, expected) in table {
        let sender = Mailbox::parse(sender).unwrap();
        assert_eq!(f.directory.sender_allowed(account, &sender).await.unwrap(), expected, "{sender}");
    }
    f.directory.set_enabled("ann@example.org", false).await.unwrap();
    assert!(!f.directory.sender_allowed(account, &Mailbox::parse("ann@example.org").unwrap()).await.unwrap());
}
