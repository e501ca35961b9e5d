//! Accounts from a CSV file: `address,password-or-hash[,quota]` a line (RFC 4180).

use std::path::Path;

use daemon::Error;
use directory::ImportRow;

/// Reads the rows of a file.
///
/// # Errors
/// The first line that is none.
pub fn read_csv(path: &Path) -> Result<Vec<ImportRow>, Error> {
    let wrong = |line: u64, reason: String| Error::Failed(format!("{}:{line}: {reason}", path.display()));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_path(path)
        .map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record
            .map_err(|error| wrong(error.position().map_or(0, csv::Position::line), "malformed line".to_owned()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(address), Some(password)) = (record.get(0), record.get(1)) else {
            return Err(wrong(line, "expected address,password-or-hash[,quota]".into()));
        };
        let quota_octets = match record.get(2).map(str::trim).filter(|quota| !quota.is_empty()) {
            Some(quota) => Some(quota.parse().map_err(|_| wrong(line, format!("quota {quota:?}: expected octets")))?),
            None => None,
        };
        rows.push(ImportRow { line, address: address.trim().to_owned(), password: password.to_owned(), quota_octets });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_quoting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        std::fs::write(&path, "a@b,\"p,\"\"w\",100\nc@d,$6$x$y\n").unwrap();
        let rows = read_csv(&path).unwrap();
        assert_eq!((rows[0].password.as_str(), rows[0].quota_octets, rows[1].line), ("p,\"w", Some(100), 2));
        std::fs::write(&path, "a@b,x\nc@d\n").unwrap();
        assert!(read_csv(&path).unwrap_err().to_string().contains("a.csv:2: expected address"));
        std::fs::write(&path, "a@b,x,many\n").unwrap();
        assert!(read_csv(&path).unwrap_err().to_string().contains("quota \"many\""));
    }
}
