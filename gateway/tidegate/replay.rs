//! `tidegate replay`: publishes a recorded CSV as if it were sensors, and ends when every publish is acknowledged.
//!
//! | file | subject |
//! |---|---|
//! | `replay/recording.rs` | the CSV: its delimiter, its columns, its rows |
//! | `replay/moment.rs` | a time as people write it → ms since the Unix epoch |
//! | `replay/client.rs` | the MQTT client: many in flight, resumed after a break, acknowledgements counted |

mod client;
pub mod moment;
pub mod recording;

use crate::outcome::{Failure, print};
use anyhow::anyhow;
use client::{Client, Message};
use indicatif::{ProgressBar, ProgressStyle};
use recording::{Choice, Recording, Row};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// `FILE.csv --url mqtt://H:P [...]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The recording: CSV with a header line.
    file: PathBuf,

    /// The gateway, or any MQTT 5 broker.
    #[arg(long, value_name = "mqtt://HOST:PORT")]
    url: String,

    /// Where to publish; {column} becomes the column's name.
    #[arg(long, value_name = "TOPIC", default_value = "sensors/{column}")]
    topic: String,

    /// The column with the time; by default one named like time, timestamp or datetime. Times without a zone are UTC.
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,

    /// The columns to publish, by default all others.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,

    /// What separates the columns, by default the commonest of , ; and tab in the header.
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,

    /// How much faster than recorded: a factor such as 1 or 60, or max.
    #[arg(long, value_name = "FACTOR", default_value = "max", value_parser = speed)]
    speed: Speed,

    /// MQTT quality of service; with 0 nothing is ever acknowledged.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,

    /// The MQTT client identifier, by default a new one.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Times(f64),
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    match (text, text.parse::<f64>()) {
        ("max", _) => Ok(Speed::Max),
        (_, Ok(factor)) if factor.is_finite() && factor > 0.0 => Ok(Speed::Times(factor)),
        _ => Err("write a factor above 0, such as 1 or 60, or max".to_owned()),
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("\\t" | "tab", _) => Ok(b'\t'),
        (_, [byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("write one ASCII character, such as , or ; or \\t".to_owned()),
    }
}

/// Publishes the recording.
///
/// # Errors
/// [`Failure::Usage`] for wrong arguments, [`Failure::Running`] when not every publish was acknowledged.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let usage = |message: String| Failure::Usage(anyhow!(message));
    let url = settings::address::broker_url(&arguments.url).map_err(|message| usage(format!("--url: {message}")))?;
    let choice = Choice { delimiter: arguments.delimiter, time_column: arguments.time_column.as_deref(), columns: &arguments.columns };
    let recording = Recording::open(&arguments.file, &choice)?;
    let topics = topics(&arguments.topic, recording.columns()).map_err(usage)?;
    if matches!(arguments.speed, Speed::Times(_)) && !recording.has_time() {
        return Err(usage(format!(
            "--speed needs times, and {} has no column that is named like one; name it with --time-column",
            arguments.file.display()
        )));
    }
    let id = arguments.client_id.clone().unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        format!("tidegate-replay-{}-{:x}", std::process::id(), now.as_nanos())
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let bar = progress(recording.bytes());
    let outcome = runtime.block_on(async {
        let client = Client::start(&url, &id, arguments.qos);
        let fed = feed(recording, &topics, arguments.speed, &client, &bar).await;
        (fed, client.finish().await)
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    bar.finish_and_clear();
    let (fed, (counts, ended)) = outcome;
    print(&format!("published {} acknowledged {}", counts.published, counts.acknowledged))?;
    let skipped = fed?;
    if skipped > 0 {
        tracing::info!(cells = skipped, "cells that are no number were left out");
    }
    ended?;
    if counts.published == 0 {
        return Err(Failure::Running(anyhow!("{} has no row with a number in it: there was nothing to publish", arguments.file.display())));
    }
    if counts.refused.is_empty() {
        return Ok(());
    }
    let reasons = counts.refused.iter().map(|(reason, count)| format!("{count} with {reason}")).collect::<Vec<_>>().join(", ");
    Err(Failure::Running(anyhow!("{url} refused some of what was published: {reasons}")))
}

/// The topic of each column.
fn topics(template: &str, columns: &[String]) -> Result<Vec<String>, String> {
    if template.is_empty() || template.contains(['+', '#', '\0']) {
        return Err(format!("--topic {template:?} is no topic to publish to; write one without + and #, such as sensors/{{column}}"));
    }
    if columns.len() > 1 && !template.contains("{column}") {
        return Err(format!(
            "--topic {template:?} would mix {} columns in one topic; write {{column}} in it, or choose one with --columns",
            columns.len()
        ));
    }
    let others = template.replace("{column}", "");
    if let Some(at) = others.find('{') {
        let name = others[at..].split_inclusive('}').next().unwrap_or_default();
        return Err(format!("--topic {template:?}: {name} stands for nothing; the only placeholder is {{column}}"));
    }
    // '+', '#' and NUL can be in a column's name, but not in a topic.
    Ok(columns.iter().map(|column| template.replace("{column}", &column.replace(['+', '#', '\0'], "_"))).collect())
}

/// Hands all rows to the client in the time that the speed gives them; how many cells were no number.
async fn feed(mut recording: Recording, topics: &[String], speed: Speed, client: &Client, bar: &ProgressBar) -> anyhow::Result<u64> {
    let mut skipped = 0;
    let mut row = Row::default();
    let mut began = None::<(Instant, i64)>;
    while recording.next(&mut row)? {
        if let (Speed::Times(factor), Some(time_ms)) = (speed, row.time_ms) {
            let (start, first_ms) = *began.get_or_insert((Instant::now(), time_ms));
            #[expect(clippy::cast_precision_loss, reason = "pacing by the millisecond over any length of recording")]
            let offset_s = (time_ms - first_ms) as f64 / 1_000.0 / factor;
            // A recording may go back in time; then the row goes at once.
            if let Ok(offset) = Duration::try_from_secs_f64(offset_s) {
                tokio::time::sleep_until(start + offset).await;
            }
        }
        skipped += row.skipped;
        for (column, value) in &row.values {
            let payload = match row.time_ms {
                Some(time_ms) => format!("{{\"value\":{value},\"ts\":{time_ms}}}"),
                None => format!("{{\"value\":{value}}}"),
            };
            if !client.publish(Message { topic: topics[*column].clone(), payload }).await {
                // The client has given up; its reason comes out of `finish`.
                return Ok(skipped);
            }
        }
        bar.set_position(recording.position());
        bar.set_message(client.in_words());
    }
    Ok(skipped)
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {msg} {eta}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        assert_eq!((speed("max"), speed("60"), speed("0.5")), (Ok(Speed::Max), Ok(Speed::Times(60.0)), Ok(Speed::Times(0.5))));
        assert!(["0", "-1", "nan", "inf", "fast", ""].iter().all(|text| speed(text).is_err()));
        assert_eq!((delimiter(";"), delimiter("\\t")), (Ok(b';'), Ok(b'\t')));
        assert!(["", ";;", "\"", "\n", "é"].iter().all(|text| delimiter(text).is_err()));
    }

    #[test]
    fn each_column_has_its_topic() {
        let columns = ["a b".to_owned(), "c#+".to_owned()];
        assert_eq!(topics("sensors/{column}", &columns).unwrap(), ["sensors/a b", "sensors/c__"]);
        assert!(topics("sensors", &columns).unwrap_err().contains("mix 2 columns"));
        assert_eq!(topics("one", &columns[..1]).unwrap(), ["one"]);
        assert!(topics("a/+", &columns).is_err());
        assert!(topics("a/{colum}", &columns[..1]).unwrap_err().contains("{colum} stands for nothing"));
        assert!(topics("{column}/{x", &columns).is_err());
    }
}
