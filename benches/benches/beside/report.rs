//! The figures, side by side.

use std::fmt::Write as _;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// A rate.
    More,
    /// A time or an amount.
    Less,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(String, f64, Option<f64>, f64, String)>,
}

impl Report {
    /// Takes a figure of both, in rounds; the medians count. `peer` may be empty where there is nothing to compare.
    pub(crate) fn add(&mut self, what: &str, better: Better, ours: &[f64], peer: &[f64], target: &str) {
        let (ours, peer) = (median(ours).unwrap_or(f64::NAN), median(peer));
        let times = match (better, peer) {
            (_, None) => f64::NAN,
            (Better::More, Some(peer)) => ours / peer,
            (Better::Less, Some(peer)) => peer / ours,
        };
        let row = (what.to_owned(), ours, peer, times, target.to_owned());
        eprintln!("{}", line(&row));
        self.rows.push(row);
    }

    /// A table.
    #[must_use]
    pub(crate) fn markdown(&self) -> String {
        let mut table = String::from("| | Mailwright | peer | times better | wanted |\n|---|---:|---:|---:|---|\n");
        for row in &self.rows {
            let _ = writeln!(table, "{}", line(row));
        }
        table
    }
}

fn line((what, ours, peer, times, target): &(String, f64, Option<f64>, f64, String)) -> String {
    let peer = peer.map_or_else(|| "-".to_owned(), number);
    let times = if times.is_nan() { "-".to_owned() } else { format!("{times:.1}") };
    format!("| {what} | {} | {peer} | {times} | {target} |", number(*ours))
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
