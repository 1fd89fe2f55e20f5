//! `--out`: each recording again, with what the detector said of each row.

use super::Sheet;
use crate::outcome::Failure;
use anyhow::{Context as _, anyhow};
use std::path::Path;

/// Refuses a folder that the recordings themselves are in: they would be overwritten, or found again.
pub(super) fn check(dir: &Path, out: Option<&Path>) -> Result<(), Failure> {
    let Some(out) = out else { return Ok(()) };
    // What does not exist yet is seen from the nearest folder that does.
    let there = out.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let (Ok(dir_full), Ok(there_full)) = (dir.canonicalize(), there.canonicalize()) else { return Ok(()) };
    if there_full.starts_with(&dir_full) {
        return Err(Failure::Usage(anyhow!(
            "--out {} lies in {}, whose recordings it would overwrite or add to; name a folder outside",
            out.display(),
            dir.display()
        )));
    }
    Ok(())
}

/// Writes one recording below `out` under its relative name: `said` is score and alarm of each row.
pub(super) fn write(out: &Path, name: &str, sheet: &Sheet, said: impl Iterator<Item = (f64, bool)>) -> anyhow::Result<()> {
    let path = out.join(name);
    let place = || format!("{} cannot be written", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(place)?;
    }
    let mut writer = csv::WriterBuilder::new().delimiter(sheet.delimiter).flexible(true).from_path(&path).with_context(place)?;
    let added = |row: &csv::StringRecord, score: &str, alarm: &str| {
        // A short row is filled up, so that the added columns stand below their names.
        let missing = sheet.header.len().saturating_sub(row.len());
        row.iter().chain(std::iter::repeat_n("", missing)).chain([score, alarm]).map(str::to_owned).collect::<Vec<_>>()
    };
    writer.write_record(added(&sheet.header, "score", "alarm")).with_context(place)?;
    for (row, (score, alarm)) in sheet.rows.iter().zip(said) {
        writer.write_record(added(row, &score.to_string(), if alarm { "1" } else { "0" })).with_context(place)?;
    }
    writer.flush().with_context(place)
}
