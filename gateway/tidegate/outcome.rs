//! How a command ends, and how it writes its results.

use std::io::{self, Write as _};

/// Why a command did not end with 0.
#[derive(Debug)]
pub enum Failure {
    /// The command line or the config is wrong: exit code 2.
    Usage(anyhow::Error),
    /// It failed while running: exit code 1.
    Running(anyhow::Error),
    /// Nobody reads standard output any more: no failure of ours, exit code 0.
    OutputClosed,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Running(error)
    }
}

/// Writes one result to standard output, with a line end.
///
/// # Errors
/// [`Failure::OutputClosed`] when the reader has gone, [`Failure::Running`] for anything else, such as a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(Failure::Running(anyhow::anyhow!("standard output cannot be written: {error}"))),
    }
}
