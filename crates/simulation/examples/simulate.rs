//! Plays seeds until one fails: `simulate --seeds N --first-seed S [--threads T] [--log]`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mailwright_simulation::{Numbers, Planted, run};

fn value(name: &str) -> Option<u64> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    arguments.next()?.parse().ok()
}

fn main() -> ExitCode {
    let (seeds, first) = (value("--seeds").unwrap_or(1), value("--first-seed").unwrap_or(0));
    let threads = value("--threads").unwrap_or(2);
    let keep_lines = std::env::args().any(|argument| argument == "--log");
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let sum = Mutex::new(Numbers::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let report = run(seed, Planted::None, keep_lines);
                    for line in &report.lines {
                        println!("{line}");
                    }
                    if seeds <= 10 {
                        println!("seed {seed}: {:016x} {:?}", report.hash, report.numbers);
                    }
                    sum.lock().unwrap_or_else(PoisonError::into_inner).add(&report.numbers);
                    if !report.wrongs.is_empty() {
                        println!("seed {seed}: {} wrong", report.wrongs.len());
                        for wrong in report.wrongs.iter().take(5) {
                            println!("    {wrong}");
                        }
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_unstable();
    println!("{seeds} seeds from {first}: {:?}", sum.into_inner().unwrap_or_else(PoisonError::into_inner));
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("{} failed: {failed:?}", failed.len());
        ExitCode::FAILURE
    }
}
