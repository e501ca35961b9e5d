use mailwright_e2e::{authority::Authority, peers::*};
#[test]
fn they_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let authority = Authority::new();
    let certified = authority.certify(folder.path(), &["mail.test"]);
    let knot = knot::Knot::serve(&folder.path().join("knot"), "a MX 10 b\nb A 127.0.0.1\nold A 127.0.0.2\nbad A 127.0.0.3\n", &["old"], &["bad"]);
    println!("{knot:?}");
    println!("{}", std::fs::read_to_string(folder.path().join("knot/signed.zone")).unwrap());
    let ex = exim::Exim::start(&folder.path().join("exim"), free_port(), 9, &certified, "");
    let op = opensmtpd::OpenSmtpd::start(&folder.path().join("open"), free_port(), 9, &certified);
    println!("{ex:?} {op:?} {} {}", ex.log(), op.log());
}
