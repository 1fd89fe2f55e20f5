//! `tidegate check`: validates a config of either role without starting.

use crate::outcome::{Failure, print};
use crate::words;
use settings::Table;
use settings::nearest::nearest;
use std::path::PathBuf;

/// Keys of the file's top level that only a gateway's config has.
const EDGE_KEYS: [&str; 8] = ["gateway", "limits", "ingest", "cloud", "windows", "log", "source", "limit"];
/// The same for a cloud bridge.
const CLOUD_KEYS: [&str; 1] = ["merged"];

/// `--config FILE [--set KEY=VALUE]... [--json]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The config of a gateway or of a cloud bridge.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Override one key: section.key=value.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Print the effective config, defaults included, as JSON.
    #[arg(long)]
    json: bool,
}

/// Says that the config is valid, or everything that is wrong with it.
///
/// # Errors
/// [`Failure::Usage`] with all problems.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let usage = |errors: settings::ConfigErrors| Failure::Usage(errors.into());
    let table = Table::load(&arguments.config, &arguments.set).map_err(usage)?;
    let (role, effective) = if is_edge(&table) {
        let config = edge::config::read(table).map_err(usage)?;
        (format!("gateway {}", config.gateway), serde_json::to_string_pretty(&config))
    } else {
        let config = cloud::config::read(table).map_err(usage)?;
        ("cloud bridge".to_owned(), serde_json::to_string_pretty(&config))
    };
    if arguments.json {
        let effective = effective.map_err(anyhow::Error::from)?;
        return print(&effective);
    }
    let file = words::harmless(&arguments.config.display().to_string());
    print(&format!("{file}: ok, a config for the {role}"))
}

/// Whether a config is a gateway's: by the keys that only one role has, misspelt ones included, so that
/// `gatewy = "a"` is told its near name rather than that a cloud bridge knows no such key.
fn is_edge(table: &Table) -> bool {
    let count = |keys: &[&str]| table.keys().filter(|key| nearest(key, keys.iter().copied()).is_some()).count();
    count(&EDGE_KEYS) > count(&CLOUD_KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_told_by_its_keys() {
        let of = |text: &str| is_edge(&Table::parse("f", text, &[], &[]).unwrap());
        assert!(of("gateway = \"a\"\ndata_dir = \"d\""));
        assert!(of("gatewy = \"a\"\ndata_dir = \"d\""));
        assert!(of("data_dir = \"d\"\n[windws]\nsizes = []"));
        assert!(!of("data_dir = \"d\"\n[mqtt]\nlisten = \"127.0.0.1:0\""));
        assert!(!of("data_dir = \"d\"\n[merged]\n"));
    }
}
