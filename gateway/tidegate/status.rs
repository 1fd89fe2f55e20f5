//! `tidegate status`: what a running gateway or bridge is doing, for a person.
//!
//! | file | subject |
//! |---|---|
//! | `page.rs` | sections, rows and tables; what a page does not know is shown at its end |
//! | `edge.rs`, `cloud.rs` | the page of a gateway, of a bridge |

mod cloud;
mod edge;
mod page;

use crate::outcome::{Failure, print};
use crate::web::{host_of, request};
use crate::words;
use anyhow::{Context as _, bail};
use serde_json::Value;

/// `--url http://H:P [--json]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The role's HTTP address; run.json in its data dir names it.
    #[arg(long, value_name = "http://HOST:PORT")]
    url: String,

    /// Print the JSON of /api/v1/status as it is.
    #[arg(long)]
    json: bool,
}

/// Prints the status.
///
/// # Errors
/// [`Failure::Usage`] for a URL that is none, [`Failure::Running`] when the role does not answer well.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let host = host_of(&arguments.url).map_err(Failure::Usage)?;
    let body = get(&host, "/api/v1/status").with_context(|| format!("no status from {}", arguments.url))?;
    let status = serde_json::from_slice::<Value>(&body).with_context(|| format!("the answer of {} is no JSON", arguments.url))?;
    match arguments.json {
        true => print(&serde_json::to_string_pretty(&status).map_err(anyhow::Error::from)?),
        false => print(human(&words::harmless_json(status)).trim_end()),
    }
}

/// The status of a role at `host:port`.
///
/// # Errors
/// When it does not answer well.
pub fn of(host: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&get(host, "/api/v1/status")?)?)
}

fn get(host: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let answer = request(host, "GET", path, "")?;
    if answer.code != 200 {
        bail!("it answered {}: {}", answer.code, String::from_utf8_lossy(&answer.body).trim());
    }
    Ok(answer.body)
}

fn human(status: &Value) -> String {
    match status["role"].as_str() {
        Some("cloud") => cloud::page(status),
        _ => edge::page(status),
    }
}
