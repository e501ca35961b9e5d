//! Daemons as a service manager runs them.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use mailwright_e2e::{System, program, succeed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Hands a listening socket over as descriptor 3 (sd_listen_fds(3)), then becomes the daemon.
const MANAGER: &str = r#"
import os, socket, sys
port, program, config = int(sys.argv[1]), sys.argv[2], sys.argv[3]
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', port))
listener.listen(64)
os.dup2(listener.fileno(), 3)
os.environ['LISTEN_FDS'] = '1'
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv(program, [program, '--config', config])
"#;

#[test]
fn a_socket_is_handed_over_and_readiness_is_told() {
    let system = System::new();
    let notify = system.client_path("notify");
    let told = UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let port = system.port(110).to_string();
    let pop3d = program("pop3d").display().to_string();
    let mut daemon = Command::new("python3")
        .args(["-c", MANAGER, &port, &pop3d, &system.config()])
        .env("NOTIFY_SOCKET", &notify)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 256];
    let octets = told.recv(&mut word).unwrap();
    assert!(word[..octets].starts_with(b"READY=1"), "{}", String::from_utf8_lossy(&word[..octets]));
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask("USER ann@example.test", &["+OK"]);
    pop3.ask("PASS ann-secret", &["+OK"]);
    pop3.ask("QUIT", &["+OK"]);
    kill(Pid::from_raw(i32::try_from(daemon.id()).unwrap()), Signal::SIGTERM).unwrap();
    let octets = told.recv(&mut word).unwrap();
    assert!(word[..octets].starts_with(b"STOPPING=1"), "{}", String::from_utf8_lossy(&word[..octets]));
    let mut log = String::new();
    daemon.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(daemon.wait().unwrap().success(), "{log}");
    // The other port of its kind was its own to take.
    assert!(log.contains("listener=\"pop3s\"") || log.contains("pop3s"), "{log}");
}

#[test]
fn each_daemon_tells_its_health_on_a_port_of_its_own() {
    let system = System::new();
    let daemons = ["mta", "imapd", "pop3d"].map(|name| system.start(name));
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
    for port in [80, 81, 82] {
        let url = |path: &str| format!("http://127.0.0.1:{}/{path}", system.port(port));
        assert_eq!(succeed("curl", &["-sSf", &url("healthz")], ""), "ok\n");
        assert_eq!(succeed("curl", &["-sSf", &url("readyz")], ""), "ready\n");
        let metrics = succeed("curl", &["-sSf", &url("metrics")], "");
        assert_eq!(metrics.contains("logins_total{protocol=\"imap\",result=\"ok\"} 1"), port == 81, "{metrics}");
    }
    assert!(daemons.into_iter().all(mailwright_e2e::Daemon::stop));
}
