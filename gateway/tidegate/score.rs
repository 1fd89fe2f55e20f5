//! `tidegate score`: the product's own fold over public benchmarks, with the official metrics,
//! and over generated series with known faults.
//!
//! The detectors run with their defaults and see each row once, in order, and no label.

mod faults;
mod nab;
mod output;
mod skab;

use crate::outcome::Failure;
use anyhow::{Context as _, anyhow};
use replica::fold::FoldConfig;
use replica::rehearse::Rehearsal;
use std::path::{Path, PathBuf};

/// Which benchmark.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Skoltech Anomaly Benchmark (waico/SKAB): the machine's detector over eight channels at 1 Hz.
    Skab(Arguments),
    /// Numenta Anomaly Benchmark (numenta/NAB): the detector of a single series.
    Nab(nab::Arguments),
    /// Known faults in generated series: how many are found, and how often faultless ones alarm.
    Faults(faults::Arguments),
}

/// `DIR [--files] [--json] [--out DIR]`
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

    /// Write each recording again below this folder, with the columns `score` and `alarm` added.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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

/// A gateway with no configuration that begins with a recording.
fn gateway(clock_ms: i64) -> anyhow::Result<Rehearsal> {
    let config = FoldConfig { sizes_ms: vec![10_000, 60_000], grace_ms: 2_000, ..FoldConfig::default() };
    Ok(Rehearsal::new(clock_ms, config)?)
}

/// The CSV files below a folder, by name.
fn recordings(arguments: &Arguments) -> Result<Vec<PathBuf>, Failure> {
    let dir = &arguments.dir;
    output::check(dir, arguments.out.as_deref())?;
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).map_err(|error| Failure::Usage(anyhow!("{} cannot be read: {error}", dir.display())))?;
        for entry in entries {
            let path = entry.with_context(|| format!("{} cannot be read", dir.display()))?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
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

/// A recording's rows as text, and what separates their fields.
struct Sheet {
    header: csv::StringRecord,
    rows: Vec<csv::StringRecord>,
    delimiter: u8,
}

impl Sheet {
    /// Reads a file; its header says whether `;` or `,` separates.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)?;
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let delimiter = if first.contains(&b';') { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes.as_slice());
        let header = reader.headers()?.clone();
        let rows = reader.records().collect::<Result<_, _>>()?;
        Ok(Self { header, rows, delimiter })
    }

    /// Where a column stands.
    fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column.trim().trim_start_matches('\u{feff}') == name)
    }
}

/// A recording's name below the benchmark's folder, with `/` on every platform.
fn name(path: &Path, dir: &Path) -> String {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// A benchmark's time: `2020-03-09 10:34:33`, with or without a fraction or a zone; in ms since the Unix epoch.
fn time_ms(text: &str) -> anyhow::Result<i64> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<jiff::civil::DateTime>() {
        return Ok(moment.to_zoned(jiff::tz::TimeZone::UTC).with_context(|| format!("{text:?} is no time"))?.timestamp().as_millisecond());
    }
    Ok(text.parse::<jiff::Timestamp>().with_context(|| format!("{text:?} is no time"))?.as_millisecond())
}

/// A field as a number; none for one that is empty or says that there is none.
fn field(record: &csv::StringRecord, at: usize) -> anyhow::Result<Option<f64>> {
    let text = record.get(at).unwrap_or_default().trim();
    if text.is_empty() || ["nan", "null", "none", "na"].iter().any(|none| text.eq_ignore_ascii_case(none)) {
        return Ok(None);
    }
    text.parse().map(Some).with_context(|| format!("{text:?} is no number"))
}
