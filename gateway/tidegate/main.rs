//! The program `tidegate`: one command per file, exit codes decided here and nowhere else.
//!
//! | file | command |
//! |---|---|
//! | `edge.rs` | `tidegate edge`: a gateway |
//! | `cloud.rs` | `tidegate cloud`: a cloud bridge |
//! | `check.rs` | `tidegate check`: validates a config of either role |
//! | `demo.rs`, `demo/` | `tidegate demo`: a whole plant that shows what the product does, and checks it |
//! | `replay.rs`, `replay/` | `tidegate replay`: publishes a recorded CSV as if it were sensors |
//! | `status.rs` | `tidegate status`: what a running role is doing |
//! | `alarms.rs` | `tidegate alarms`: lists alarms and figures, acknowledges, shelves |
//! | `web.rs` | one HTTP request over a plain socket |
//! | `log.rs` | `tidegate log`: reads the durable log, also beside a running process |
//! | `backtest.rs` | `tidegate backtest`: a changed configuration over recorded data |
//! | `explain.rs` | `tidegate explain`: why an alert was raised |
//! | `history.rs` | a gateway's log through the fold, for those who ask |
//! | `score.rs`, `score/` | `tidegate score`: the detectors over public benchmarks, with their official metrics |
//! | `words.rs` | numbers, times and names as a person reads them |
//! | `role.rs` | what the roles share: runtime, signals, the time a stop may take |
//! | `outcome.rs` | how a command ends |
//!
//! Standard output carries results only; everything else goes to standard error.

mod alarms;
mod backtest;
mod check;
mod cloud;
mod demo;
mod edge;
mod explain;
mod history;
mod log;
mod outcome;
mod replay;
mod role;
mod score;
mod status;
mod web;
mod words;

use clap::{CommandFactory as _, Parser, Subcommand};
use outcome::Failure;
use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// An MQTT gateway for the factory floor and the cloud bridge behind it.
///
/// Exit codes: 0 done, 1 it failed while running, 2 the command line or the config is wrong.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
struct Arguments {
    /// How to log to standard error, json or text; RUST_LOG sets the level (error, warn, info, debug, trace).
    #[arg(long, global = true, value_name = "json|text", default_value = "text")]
    log: Log,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogFormat {
    Json,
    Text,
}

/// What `--log` says: everywhere how to log, for a backtest also which log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Log {
    Format(LogFormat),
    Dir(PathBuf),
}

impl FromStr for Log {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "json" => Self::Format(LogFormat::Json),
            "text" => Self::Format(LogFormat::Text),
            dir => Self::Dir(PathBuf::from(dir)),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway: front door for sensors, log, windows, detection, alarms, uplink.
    Edge(role::Arguments),
    /// Run a cloud bridge: takes gateways' alerts and deltas, merges, publishes merged topics.
    Cloud(role::Arguments),
    /// Show a whole plant at work on this machine, with faults, an outage and a kill, and compare what came out.
    Demo(demo::Arguments),
    /// Validate a config of either role without starting.
    Check(check::Arguments),
    /// Publish a recorded CSV as if it were sensors.
    Replay(replay::Arguments),
    /// Show what a running gateway or bridge is doing.
    Status(status::Arguments),
    /// List the alarms of a running gateway or bridge, acknowledge them, put them aside.
    Alarms(alarms::Arguments),
    /// Read the durable log, also beside a running process.
    #[command(subcommand)]
    Log(log::Command),
    /// Say why an alert was raised: what was seen, what was expected, what changed the day before.
    Explain(explain::Arguments),
    /// Run a changed configuration over recorded data (--log DATA_DIR or --csv FILE), print the difference in alerts.
    #[command(
        override_usage = "tidegate backtest --log DATA_DIR | --csv FILE --config NEW.toml [OPTIONS]",
        after_help = "Here --log also names what to run over: --log DATA_DIR, a gateway's data dir."
    )]
    Backtest(backtest::Arguments),
    /// Run the detectors over a public benchmark and print its official metrics.
    #[command(subcommand)]
    Score(score::Command),
}

fn main() -> ExitCode {
    // clap itself ends with 2 for a wrong command line and with 0 for --help and --version.
    let arguments = Arguments::parse();
    let (format, log_dir) = match arguments.log {
        Log::Format(format) => (format, None),
        Log::Dir(dir) => (LogFormat::Text, Some(dir)),
    };
    if let Some(dir) = log_dir.as_ref().filter(|_| !matches!(arguments.command, Command::Backtest(_))) {
        let message = format!("invalid value '{}' for '--log': write json or text", dir.display());
        Arguments::command().error(clap::error::ErrorKind::InvalidValue, message).exit();
    }
    let done = start_logging(format).and_then(|()| match arguments.command {
        Command::Edge(arguments) => edge::run(&arguments),
        Command::Cloud(arguments) => cloud::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Alarms(arguments) => alarms::run(&arguments),
        Command::Log(command) => log::run(&command),
        Command::Backtest(arguments) => backtest::run(&arguments, log_dir),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Score(command) => score::run(&command),
    });
    match done {
        // Whoever reads our output has seen enough, as in `tidegate log show | head`.
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Running(error)) => {
            report(format, &error);
            ExitCode::from(1)
        }
        Err(Failure::Usage(error)) => {
            report(format, &error);
            ExitCode::from(2)
        }
    }
}

fn report(format: LogFormat, error: &anyhow::Error) {
    // Of several problems each has a line.
    let text = in_words(error).lines().map(words::harmless).collect::<Vec<_>>().join("\n");
    match format {
        LogFormat::Json => tracing::error!("{text}"),
        LogFormat::Text => eprintln!("tidegate: {text}"),
    }
}

/// An error and what caused it. Many already end in the words of their cause.
fn in_words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>() {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn start_logging(format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| Failure::Usage(anyhow::anyhow!("the environment variable RUST_LOG is wrong: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let in_use = || std::io::Error::other("in use");
        assert_eq!(in_words(&anyhow::Error::from(in_use()).context("listen 1: in use")), "listen 1: in use");
        assert_eq!(in_words(&anyhow::Error::from(in_use()).context("listen 1")), "listen 1: in use");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
