//! The gateway under load.

use crate::role::Role;
use std::io;

/// Starts `tidegate edge` with default windows and detectors, and an uplink that nobody answers,
/// so that it holds everything.
pub fn start() -> io::Result<Role> {
    start_with("")
}

/// The same with more in `[log]`, and behind it.
pub fn start_with(more: &str) -> io::Result<Role> {
    start_linked("url = \"mqtt://127.0.0.1:1\"", more)
}

/// The same with a `[cloud]` of its own.
pub fn start_linked(cloud: &str, more: &str) -> io::Result<Role> {
    let config = "gateway = \"load\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n";
    Role::start("edge", &format!("{config}[cloud]\n{cloud}\n[log]\nlimit = \"8GiB\"\n{more}"))
}
