//! Parses SMTP command lines, given as arguments, and says what a server makes of them.
//!
//! ```text
//! cargo run -p mailwright-examples --example parse_smtp_line -- 'MAIL FROM:<ann@client.example> SIZE=5000'
//! ```

use smtp::{Command, Leniency};

fn main() {
    let mut lines: Vec<String> = std::env::args().skip(1).collect();
    if lines.is_empty() {
        lines = ["EHLO client.example", "MAIL FROM:<ann@client.example> SIZE=5000", "RCPT TO:<bob@@example>"]
            .map(str::to_owned)
            .to_vec();
    }
    for line in lines {
        println!("{line}\n    {}", describe(&line));
    }
}

/// What the line is, or the reply that it gets.
pub(crate) fn describe(line: &str) -> String {
    match Command::parse(line.as_bytes(), &Leniency::default()) {
        Ok(command) => format!("{command:?}"),
        Err(error) => format!("{error}; the reply is {}", error.reply()),
    }
}
