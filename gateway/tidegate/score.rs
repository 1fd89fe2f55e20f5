//! `tidegate score`: the product's own detectors over public benchmarks, with the official
//! metrics, and over generated series with known faults.
//!
//! The detectors run with their defaults and see each row once, in order, and no label.

mod faults;
mod nab;
mod skab;

use crate::outcome::Failure;
use anyhow::{Context as _, anyhow};
use std::path::{Path, PathBuf};

/// Which benchmark.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Skoltech Anomaly Benchmark (waico/SKAB): the machine's detector over eight channels at 1 Hz.
    Skab(Arguments),
    /// Numenta Anomaly Benchmark (numenta/NAB): the detector of a single series.
    Nab(Arguments),
    /// Known faults in generated series: how many are found, and how often faultless ones alarm.
    Faults(faults::Arguments),
}

/// `DIR [--files] [--json]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The benchmark's folder; recordings are found in it and below.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Also one line for each recording.
    #[arg(long)]
    files: bool,

    /// Print one JSON object instead.
    #[arg(long, conflicts_with = "files")]
    json: bool,
}

/// Runs one benchmark.
///
/// # Errors
/// [`Failure::Usage`] for a folder without recordings, [`Failure::Running`] for one that cannot be read.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Skab(arguments) => skab::run(arguments),
        Command::Nab(arguments) => nab::run(arguments),
        Command::Faults(arguments) => faults::run(arguments),
    }
}

/// The CSV files below a folder, by name.
fn recordings(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).map_err(|error| Failure::Usage(anyhow!("{} cannot be read: {error}", dir.display())))?;
        for entry in entries {
            let path = entry.with_context(|| format!("{} cannot be read", dir.display()))?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "csv") {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Failure::Usage(anyhow!("{} holds no recordings (*.csv)", dir.display())));
    }
    Ok(found)
}

/// A recording's name below the benchmark's folder, with `/` on every platform.
fn name(path: &Path, dir: &Path) -> String {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// A benchmark's time: `2020-03-09 10:34:33`, with or without a fraction; in ms since the Unix epoch.
fn time_ms(text: &str) -> anyhow::Result<i64> {
    let moment: jiff::civil::DateTime = text.trim().parse().with_context(|| format!("{text:?} is no time"))?;
    Ok(moment.to_zoned(jiff::tz::TimeZone::UTC).with_context(|| format!("{text:?} is no time"))?.timestamp().as_millisecond())
}

/// A field as a number.
fn field(record: &csv::StringRecord, at: usize) -> anyhow::Result<f64> {
    let text = record.get(at).ok_or_else(|| anyhow!("a row has no field {}", at + 1))?;
    text.trim().parse().with_context(|| format!("{text:?} is no number"))
}
