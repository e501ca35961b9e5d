//! What processes take of the machine, from `/proc`.

use std::fs;
use std::time::Duration;

/// A process and all that descend from it.
#[must_use]
pub fn family(first: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<u32>() else { continue };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut family = vec![first];
    let mut at = 0;
    while let Some(&member) = family.get(at) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| pid));
        at += 1;
    }
    family
}

/// The fields of `/proc/PID/stat` behind the name, or none if the process has gone.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// The processor time that processes and those of their children who ended have taken.
#[must_use]
pub fn processor(processes: &[u32]) -> Duration {
    let mut ticks = 0;
    for pid in processes {
        // User and system time, own and of children waited for: fields 14 to 17 of proc(5), of which two are cut off.
        let fields = stat(*pid).unwrap_or_default();
        ticks += fields.iter().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    }
    Duration::from_millis(ticks * 10)
}

/// The memory of processes in octets, shared pages divided among those who share them (PSS; rule 38).
#[must_use]
pub fn memory(processes: &[u32]) -> u64 {
    let kibibytes = |pid: &u32| -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    processes.iter().filter_map(kibibytes).sum::<u64>() * 1024
}
