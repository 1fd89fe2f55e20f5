//! File, environment and `--set`, merged into one tree by the crate `config`.

use crate::error::{ConfigErrors, Place, Problem};
use crate::limits::{FILE_BYTES_MAX, INDEX_MAX};
use crate::places::{Places, line_of};
use config::{Config, File, FileFormat, Map, Source, Value};
use std::io::Read as _;
use std::path::Path;
use toml::de::DeTable;

/// What the environment variables that override a key begin with.
pub(crate) const ENVIRONMENT_PREFIX: &str = "TIDEGATE__";

/// The merged tree, where its values come from, and what was wrong before any key was looked at.
pub(crate) struct Merged {
    pub(crate) values: Map<String, Value>,
    pub(crate) places: Places,
    pub(crate) problems: Vec<Problem>,
}

/// Reads the file's text.
pub(crate) fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let file = path.display().to_string();
    let failed = |message: String| whole_file(&file, None, message);
    let open = std::fs::File::open(path).map_err(|e| failed(format!("the config file cannot be opened: {e}")))?;
    let mut bytes = Vec::new();
    open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| failed(format!("the config file cannot be read: {e}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(format!("the config file is longer than {}", crate::unit::size_text(FILE_BYTES_MAX))));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        whole_file(&file, Some(line), "the config file is not UTF-8 here".to_owned())
    })
}

/// Merges `text`, then `environment`, then `sets`; the later wins.
pub(crate) fn merge(file: &str, text: &str, environment: &[(String, String)], sets: &[String]) -> Result<Merged, ConfigErrors> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map(|span| line_of(text, span.start));
        whole_file(file, line, e.message().to_owned())
    })?;
    let mut places = Places::of(file, text, table.get_ref());
    let mut problems = Vec::new();
    // The crate `config` takes a quoted key such as "mqtt.listen" for a path; no key of ours needs quotes.
    for (key, _) in table.get_ref() {
        if !is_plain(key.get_ref()) {
            let line = Some(line_of(text, key.span().start));
            return Err(whole_file(file, line, format!("unknown key \"{}\"", key.get_ref().escape_debug())));
        }
    }
    // The crate `config` would refuse the whole file for one of them, and not say which.
    let unfit = |(path, number): &(String, String)| Problem {
        place: places.of_key(path),
        key: path.clone(),
        message: format!("{number} does not fit 64 bits"),
    };
    let unfit = places.oversized().iter().map(unfit).collect::<Vec<_>>();
    if !unfit.is_empty() {
        return Err(ConfigErrors::new(unfit));
    }
    let mut builder = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
    for (path, value, place) in overrides(environment, sets, &mut problems) {
        places.overridden(&path, place);
        builder = builder.add_source(Override { path, value });
    }
    let merged = builder.build().map_err(|e| whole_file(file, None, e.to_string()))?;
    let values = merged.cache.into_table().map_err(|e| whole_file(file, None, e.to_string()))?;
    Ok(Merged { values, places, problems })
}

fn whole_file(file: &str, line: Option<usize>, message: String) -> ConfigErrors {
    let place = Place::File { file: file.to_owned(), line };
    ConfigErrors::new(vec![Problem { place, key: String::new(), message }])
}

/// One key set from outside the file, as a source of the crate `config`.
#[derive(Debug, Clone)]
struct Override {
    path: String,
    value: Value,
}

impl Source for Override {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(Map::from_iter([(self.path.clone(), self.value.clone())]))
    }
}

fn overrides(environment: &[(String, String)], sets: &[String], problems: &mut Vec<Problem>) -> Vec<(String, Value, Place)> {
    let mut out = Vec::new();
    let mut variables = environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect::<Vec<_>>();
    // Shorter names first, so that a whole section cannot undo one of its keys.
    variables.sort();
    for (name, text) in variables {
        let path = name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase().split("__").fold(String::new(), |path, level| {
            match (path.is_empty(), level.parse::<usize>()) {
                (true, _) => level.to_owned(),
                (false, Ok(index)) => format!("{path}[{index}]"),
                (false, Err(_)) => format!("{path}.{level}"),
            }
        });
        let place = Place::Environment(name.clone());
        match check_path(&path) {
            Ok(()) => out.push((path, value_of(text), place)),
            Err(message) => problems.push(Problem { place, key: path, message }),
        }
    }
    for argument in sets {
        let place = Place::Set(argument.clone());
        let Some((path, text)) = argument.split_once('=') else {
            let message = "write --set section.key=value, such as --set mqtt.listen=127.0.0.1:1883".to_owned();
            problems.push(Problem { place, key: String::new(), message });
            continue;
        };
        let path = path.trim();
        match check_path(path) {
            Ok(()) => out.push((path.to_owned(), value_of(text), place)),
            Err(message) => problems.push(Problem { place, key: path.to_owned(), message }),
        }
    }
    out
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Lets through `section.key` and `section[3].key` only.
fn check_path(path: &str) -> Result<(), String> {
    for level in path.split('.') {
        let (name, index) = level.split_once('[').map_or((level, None), |(name, index)| (name, Some(index)));
        if !is_plain(name) {
            return Err("this is no key; write section.key or section[0].key".to_owned());
        }
        let Some(index) = index else { continue };
        let digits = index.strip_suffix(']').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        if digits.and_then(|digits| digits.parse().ok()).is_none_or(|index: usize| index > INDEX_MAX) {
            return Err(format!("the index in brackets is a whole number from 0 to {INDEX_MAX}"));
        }
    }
    Ok(())
}

/// A value as TOML writes it (`5`, `true`, `["10s"]`); what is no TOML is the text itself, so that strings need no quotes.
fn value_of(text: &str) -> Value {
    let plain = || Value::new(None, text);
    if text.contains('\n') {
        return plain();
    }
    let document = format!("value = {text}");
    // A date or time would come back as a string anyway, but reformatted.
    let parsed = Config::builder().add_source(File::from_str(&document, FileFormat::Toml)).build();
    match parsed.and_then(|config| config.get::<Value>("value")) {
        Ok(value) if text.trim_start().starts_with(['"', '\'', '[', '{']) || !matches!(value.kind, config::ValueKind::String(_)) => value,
        _ => plain(),
    }
}
