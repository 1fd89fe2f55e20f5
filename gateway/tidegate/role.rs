//! What both roles share: their arguments, the runtime, signals, and the time a stop may take.

use crate::outcome::Failure;
use anyhow::Context as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// A stop ends within 5 s by contract; the role's own grace is shorter, and this is the net below it.
const STOP_MAX: Duration = Duration::from_millis(4_800);

/// `--config FILE [--set KEY=VALUE]...`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The config, TOML; broker-config/ has complete examples.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Override one key: section.key=value; the last one wins, also over TIDEGATE__SECTION__KEY.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Runs a role until it fails or a SIGTERM or SIGINT has stopped it.
///
/// # Errors
/// [`Failure::Running`] with the role's error, or when a stop takes too long.
pub fn run<F, E>(role: impl FnOnce(Shutdown) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let done = runtime.block_on(async {
        // Listening for signals begins before the role does anything: a stop during recovery is a clean one too.
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
        let (stop, stopped) = oneshot::channel();
        let overdue = async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            // The role may have ended by itself just now; then nobody waits for this.
            let _ = stop.send(());
            tokio::time::sleep(STOP_MAX).await;
        };
        let shutdown: Shutdown = Box::pin(async move {
            let _ = stopped.await;
        });
        tokio::select! {
            done = role(shutdown) => done.map_err(anyhow::Error::from),
            () = overdue => Err(anyhow::anyhow!("the stop took longer than {STOP_MAX:?}; all that was acknowledged is in the log")),
        }
    });
    // Threads that still wait for a disk must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(done?)
}

/// Resolves when the role is asked to stop.
pub type Shutdown = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
