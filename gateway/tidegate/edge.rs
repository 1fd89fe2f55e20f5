//! `tidegate edge`: a gateway.

use crate::outcome::Failure;
use crate::role;

/// Checks the config, then runs until stopped.
///
/// # Errors
/// [`Failure::Usage`] for the config, [`Failure::Running`] for all else.
pub fn run(arguments: &role::Arguments) -> Result<(), Failure> {
    let config = edge::config::load(&arguments.config, &arguments.set).map_err(|errors| Failure::Usage(errors.into()))?;
    role::run(|shutdown| edge::run(config, shutdown))
}
