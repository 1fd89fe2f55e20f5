//! `tidegate demo`: a whole plant on free loopback ports and a temporary folder, which shows what the product does
//! and checks that it did.
//!
//! | file | subject |
//! |---|---|
//! | `demo/plan.rs` | what happens when, and which alert must find which fault |
//! | `demo/machine.rs` | what each sensor reads at each moment |
//! | `demo/plant.rs` | the roles as child processes, their configs |
//! | `demo/link.rs` | the line between gateway and cloud, to be cut |
//! | `demo/sensors.rs` | the machines as MQTT clients |
//! | `demo/consumer.rs` | subscribers at the cloud and at the gateways |
//! | `demo/stage.rs` | all of these together |
//! | `demo/story.rs` | the run: does what is planned, tells what comes of it |
//! | `demo/compare.rs` | what was sent against what was received |
//! | `demo/outcome.rs` | whether all of it agrees |
//! | `demo/voice.rs` | lines for a person, or JSON |
//!
//! Nothing is simulated but the machines: the roles are the processes that a user starts, spoken to over sockets.

mod compare;
mod consumer;
mod link;
mod machine;
mod outcome;
mod plan;
mod plant;
mod sensors;
mod stage;
mod story;
mod voice;

use crate::outcome::Failure;
use anyhow::{Context as _, anyhow};
use plan::{GATEWAYS_MAX, Plan, RUN_MAX, RUN_MIN};
use stage::Stage;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use voice::{Tone, Voice};

/// `[--for 30s] [--gateways 2] [--json]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long the machines run; some seconds follow until everything has arrived.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = length)]
    length: Duration,

    /// How many gateways.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = gateways)]
    gateways: usize,

    /// Print one JSON object a line, the last of them the result.
    #[arg(long)]
    json: bool,
}

fn length(text: &str) -> Result<Duration, String> {
    let length = Duration::from_millis(settings::unit::duration_ms(text)?.unsigned_abs());
    match (RUN_MIN..=RUN_MAX).contains(&length) {
        true => Ok(length),
        false => Err(format!("write {}s to {}s: in less the detectors have not learnt enough", RUN_MIN.as_secs(), RUN_MAX.as_secs())),
    }
}

fn gateways(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=GATEWAYS_MAX) => Ok(number),
        _ => Err(format!("write a number from 1 to {GATEWAYS_MAX}")),
    }
}

/// Runs the demo.
///
/// # Errors
/// [`Failure::Running`] unless everything agrees.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let plan = Plan::new(arguments.length, arguments.gateways);
    let voice = Voice::new(arguments.json, arguments.length);
    let folder = tempfile::Builder::new().prefix("tidegate-demo-").tempdir().context("no temporary folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    // On this very thread: the kernel ends the children with the thread that started them.
    let ended = runtime.block_on(perform(&plan, &voice, folder.path()));
    runtime.shutdown_timeout(Duration::from_millis(100));
    let failure = match ended {
        Ok(Ended::Agreed) => return Ok(()),
        // Nothing is wrong with what lies there.
        Ok(Ended::Interrupted(signal)) => return Err(anyhow!("{signal} came before anything could be compared").into()),
        Ok(Ended::Differs) => anyhow!("what the consumer received and what the sensors sent do not agree"),
        Err(error) => error,
    };
    let kept = folder.keep();
    Err(failure.context(format!("configs, logs and data are kept in {}", kept.display())).into())
}

enum Ended {
    Agreed,
    Differs,
    Interrupted(&'static str),
}

/// Plays the story, ends all processes whatever came of it, and concludes.
async fn perform(plan: &Plan, voice: &Voice, folder: &std::path::Path) -> anyhow::Result<Ended> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let mut stage = Stage::default();
    let played = tokio::select! {
        played = story::play(&mut stage, plan, voice, folder) => played.map(Ok),
        _ = terminate.recv() => Ok(Err("SIGTERM")),
        _ = interrupt.recv() => Ok(Err("SIGINT")),
    };
    let ends = stage.lower().await;
    match played {
        Ok(Ok(mut outcome)) => {
            outcome.ends = ends;
            let agrees = outcome.problems().is_empty();
            voice.conclude(&outcome.json(), &outcome.text(), if agrees { Tone::Good } else { Tone::Bad });
            Ok(if agrees { Ended::Agreed } else { Ended::Differs })
        }
        Ok(Err(signal)) => {
            let result = serde_json::json!({"event": "result", "agrees": false, "problems": [format!("interrupted by {signal}")]});
            voice.conclude(&result, "Interrupted; all processes are ended.", Tone::Bad);
            Ok(Ended::Interrupted(signal))
        }
        Err(error) => {
            let result = serde_json::json!({"event": "result", "agrees": false, "problems": [format!("{error:#}")]});
            voice.conclude(&result, "The demo could not go on; all processes are ended.", Tone::Bad);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        assert_eq!((length("30s"), length("1m")), (Ok(Duration::from_secs(30)), Ok(Duration::from_secs(60))));
        assert!(["7s", "2h", "30", "-9s", ""].iter().all(|text| length(text).is_err()));
        assert_eq!((gateways("1"), gateways("16")), (Ok(1), Ok(16)));
        assert!(["0", "17", "two", ""].iter().all(|text| gateways(text).is_err()));
    }
}
