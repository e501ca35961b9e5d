//! Which files a confined process may reach (rule 25), and which programs it may start (rule 29).

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError,
};

use crate::{Config, RouteAction};

/// Our data and sockets to write; configuration, certificates and the system's name service to read; the commands of
/// routes to start, and nothing else.
pub(crate) fn restrict_files(config: &Config, path: &Path) -> Result<(), RulesetError> {
    let abi = ABI::V3;
    let all: BitFlags<AccessFs> = AccessFs::from_all(abi) & !BitFlags::from(AccessFs::Execute);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut allowed: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
    for path in [&config.data, &config.run, &config.sendmail.drop, &PathBuf::from("/tmp"), &PathBuf::from("/var/tmp")] {
        allowed.push((path.clone(), all));
    }
    allowed.push(("/dev/null".into(), AccessFs::ReadFile | AccessFs::WriteFile));
    allowed.extend(readable(config, path).into_iter().map(|path| (path, read)));
    for program in programs(config) {
        allowed.push((program, AccessFs::ReadFile | AccessFs::Execute));
    }
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .create()?;
    for (path, access) in allowed {
        // A right to a directory's entries is none to a file.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(abi) };
        // What is not there needs no rule.
        if let Ok(descriptor) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(descriptor, access))?;
        }
    }
    ruleset.restrict_self()?;
    Ok(())
}

fn readable(config: &Config, path: &Path) -> Vec<PathBuf> {
    let system = ["/etc", "/usr/share/zoneinfo", "/usr/share/ca-certificates", "/dev", "/proc", "/sys"];
    let mut readable: Vec<PathBuf> = system.into_iter().map(PathBuf::from).collect();
    // Where the name service has its own view of /etc/resolv.conf (rule 27).
    readable.extend(["/run/systemd/resolve", "/run/resolvconf"].map(PathBuf::from));
    readable.extend(path.parent().map(Path::to_owned));
    let mut named = vec![config.dns.trust_anchor.clone(), config.dns.ca_file.clone()];
    named.extend(config.route.iter().filter_map(|route| route.password_file.clone()));
    named.extend(config.smtp.backup_domains.iter().filter_map(|backup| backup.recipients_file.clone()));
    for file in config.certificates() {
        named.extend([file.certificate, file.key]);
    }
    for path in named.iter().filter(|path| !path.as_os_str().is_empty()) {
        // A renewed file is a new target of the same link (rule 27): both directories stay open to us.
        readable.extend(path.parent().map(Path::to_owned));
        let target = fs::canonicalize(path).ok();
        readable.extend(target.and_then(|target| target.parent().map(Path::to_owned)));
    }
    if config.route.iter().any(|route| route.action == RouteAction::Pipe) {
        readable.extend(["/usr/lib", "/lib", "/lib64", "/usr/lib64"].map(PathBuf::from));
    }
    readable
}

/// The commands of routes, with what the kernel starts in their place: the interpreter of a script, the loader of a
/// program.
fn programs(config: &Config) -> Vec<PathBuf> {
    let mut programs = Vec::new();
    for command in config.route.iter().filter_map(|route| route.command.first()) {
        let Ok(program) = fs::canonicalize(command) else { continue };
        programs.extend(interpreter(&program).and_then(|path| fs::canonicalize(path).ok()));
        programs.push(program);
    }
    if !programs.is_empty() {
        for directory in ["/lib64", "/lib", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"] {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let loaders = entries.filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("ld-linux") || name.starts_with("ld-musl")
            });
            programs.extend(loaders.filter_map(|entry| fs::canonicalize(entry.path()).ok()));
        }
    }
    programs
}

/// What stands behind `#!`.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut front = Vec::new();
    fs::File::open(program).ok()?.take(256).read_to_end(&mut front).ok()?;
    let line = front.strip_prefix(b"#!")?.split(|octet| *octet == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(PathBuf::from)
}
