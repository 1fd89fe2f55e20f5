//! Reading a section key by key, collecting what is wrong.

use crate::error::{ConfigErrors, Problem};
use crate::layers::{self, Merged};
use crate::nearest::nearest;
use crate::places::Places;
use crate::unit;
use config::{Map, Value, ValueKind};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// One section of a config while it is being read.
///
/// Each getter asks for one key: an absent key is `None`, and so is a wrong one, after its problem was
/// noted. [`Table::finish`] then notes every key that was never asked for. Call it for each section, and
/// [`Table::end`] for the whole, which says whether anything was wrong.
#[derive(Debug)]
pub struct Table {
    path: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places: Places,
    problems: RefCell<Vec<Problem>>,
}

impl Table {
    /// Reads `file`, then the process's environment, then `sets` (each `section.key=value`).
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML; all else is noted and comes out of [`Table::end`].
    pub fn load(file: &Path, sets: &[String]) -> Result<Self, ConfigErrors> {
        // A variable that is not UTF-8 is not one of ours: our values are TOML.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect::<Vec<_>>();
        Self::parse(&file.display().to_string(), &layers::read_file(file)?, &environment, sets)
    }

    /// As [`Table::load`], from a text and an environment that are at hand.
    ///
    /// # Errors
    /// When the text is no TOML.
    pub fn parse(file: &str, text: &str, environment: &[(String, String)], sets: &[String]) -> Result<Self, ConfigErrors> {
        let Merged { values, places, problems } = layers::merge(file, text, environment, sets)?;
        let shared = Rc::new(Shared { places, problems: RefCell::new(problems) });
        Ok(Self { path: String::new(), values, known: Vec::new(), shared })
    }

    /// The keys that are there and were not read yet.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether the key is there, without reading it; it counts as known from now on.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.known.push(key);
        self.values.contains_key(key)
    }

    /// A string.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        let path = self.path_of(key);
        let value = self.take(key)?;
        match value.kind {
            ValueKind::String(text) => Some(text),
            // Without quotes on a command line, `--set gateway=7` looks like a number and is none.
            ValueKind::I64(_) | ValueKind::Boolean(_) | ValueKind::Float(_) if self.shared.places.is_overridden(&path) => {
                value.into_string().ok()
            }
            kind => self.wrong_type(key, "a string in quotes", &kind),
        }
    }

    /// A string that `read` turns into something; its error is noted as the problem.
    pub fn text<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.string(key)?;
        read(&text).map_err(|message| self.problem(key, message)).ok()
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.text(key, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let known = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
                let hint =
                    nearest(text, words.iter().map(|(word, _)| *word)).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
                format!("\"{text}\" is not one of {known}{hint}")
            })
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)?.kind {
            ValueKind::Boolean(flag) => Some(flag),
            kind => self.wrong_type(key, "true or false", &kind),
        }
    }

    /// A whole number of `min` to `max`.
    pub fn whole(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        match self.take(key)?.kind {
            ValueKind::I64(number) => match u64::try_from(number) {
                Ok(number) if (min..=max).contains(&number) => Some(number),
                _ => self.wrong(key, format!("{number} is out of range; write a whole number from {min} to {max}")),
            },
            kind => self.wrong_type(key, "a whole number", &kind),
        }
    }

    /// A finite number, with or without decimals.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        match self.take(key)?.kind {
            ValueKind::Float(number) if number.is_finite() => Some(number),
            ValueKind::Float(number) => self.wrong(key, format!("{number} is no finite number")),
            #[expect(clippy::cast_precision_loss, reason = "a limit beyond 2^53 is as good as its nearest double")]
            ValueKind::I64(number) => Some(number as f64),
            kind => self.wrong_type(key, "a number", &kind),
        }
    }

    /// A duration of `min` to `max` milliseconds, in milliseconds.
    pub fn duration(&mut self, key: &'static str, min: i64, max: i64) -> Option<i64> {
        if let Some(number) = self.bare_number(key) {
            return self.wrong(key, format!("{number} has no unit; write a duration in quotes, such as \"{number}s\" or \"{number}ms\""));
        }
        self.text(key, |text| duration_within(text, min, max))
    }

    /// A list of durations of `min` to `max` milliseconds, in milliseconds.
    pub fn durations(&mut self, key: &'static str, min: i64, max: i64) -> Option<Vec<i64>> {
        let kind = self.take(key)?.kind;
        let ValueKind::Array(items) = kind else {
            return self.wrong_type(key, "a list of durations, such as [\"10s\", \"1m\"]", &kind);
        };
        let mut out = Vec::with_capacity(items.len());
        let mut sound = true;
        for (index, item) in items.into_iter().enumerate() {
            let read = match item.kind {
                ValueKind::String(text) => duration_within(&text, min, max),
                kind => Err(format!("{} is no duration; write one in quotes, such as \"10s\"", describe(&kind))),
            };
            match read {
                Ok(ms) => out.push(ms),
                Err(message) => {
                    sound = false;
                    self.note(format!("{}[{index}]", self.path_of(key)), message);
                }
            }
        }
        sound.then_some(out)
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let kind = self.take(key)?.kind;
        let ValueKind::Array(items) = kind else {
            return self.wrong_type(key, "a list of texts, such as [\"a\", \"b\"]", &kind);
        };
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item.kind {
                ValueKind::String(text) => out.push(text),
                kind => {
                    self.note(format!("{}[{index}]", self.path_of(key)), format!("{} is no text; write it in quotes", describe(&kind)));
                    return None;
                }
            }
        }
        Some(out)
    }

    /// A size of `min` to `max` bytes, in bytes.
    pub fn size(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        if let Some(number) = self.bare_number(key) {
            return self.wrong(key, format!("{number} has no unit; write a size in quotes, such as \"{number}KiB\""));
        }
        self.text(key, |text| {
            let bytes = unit::size_bytes(text)?;
            match (min..=max).contains(&bytes) {
                true => Ok(bytes),
                false => Err(format!("\"{text}\" is out of range; write a size from {} to {}", unit::size_text(min), unit::size_text(max))),
            }
        })
    }

    /// A size of `min` to `max` bytes for each `per`: `s` or `day`.
    pub fn rate(&mut self, key: &'static str, per: &'static str, min: u64, max: u64) -> Option<u64> {
        if let Some(number) = self.bare_number(key) {
            return self.wrong(key, format!("{number} has no unit; write a rate in quotes, such as \"{number}KiB/{per}\""));
        }
        self.text(key, |text| {
            let bytes = unit::rate_bytes(text, per)?;
            match (min..=max).contains(&bytes) {
                true => Ok(bytes),
                false => Err(format!(
                    "\"{text}\" is out of range; write a rate from {}/{per} to {}/{per}",
                    unit::size_text(min),
                    unit::size_text(max)
                )),
            }
        })
    }

    /// A section, `[key]`.
    pub fn table(&mut self, key: &'static str) -> Option<Table> {
        let path = self.path_of(key);
        match self.take(key)?.kind {
            ValueKind::Table(values) => Some(self.below(path, values)),
            kind => self.wrong_type(key, &format!("a section, [{path}]"), &kind),
        }
    }

    /// A section, `[key]`, read as empty where it is absent, so that all its defaults apply.
    pub fn section(&mut self, key: &'static str) -> Table {
        let path = self.path_of(key);
        self.table(key).unwrap_or_else(|| self.below(path, Map::new()))
    }

    /// All sections `[[key]]`, in their order.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table> {
        let path = self.path_of(key);
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let ValueKind::Array(items) = value.kind else {
            self.wrong_type::<()>(key, &format!("a list of sections, [[{path}]]"), &value.kind);
            return Vec::new();
        };
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item.kind {
                ValueKind::Table(values) => out.push(self.below(path, values)),
                // An override's index leaves a gap behind the file's last: one word for all of it.
                ValueKind::Nil => {
                    self.note(path, format!("there is no such section; the next that can be added is [{index}]"));
                    break;
                }
                kind => self.note(path, format!("expected a section, found {}", describe(&kind))),
            }
        }
        out
    }

    /// Notes that a key which has no default is absent, unless it is there and was wrong already.
    pub fn required<T>(&self, key: &'static str, value: Option<T>, example: &str) -> Option<T> {
        let path = self.path_of(key);
        if value.is_none() && !self.shared.problems.borrow().iter().any(|problem| problem.key == path) {
            self.problem(key, format!("this key is required; write {key} = {example}"));
        }
        value
    }

    /// Notes a problem with a key of this section.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.note(self.path_of(key), message.into());
    }

    /// Notes every key that was never asked for, with the name it was probably meant to be.
    pub fn finish(&self) {
        for name in self.values.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let message = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.problem(name, message);
        }
    }

    /// Ends reading the whole config; call it on the outermost table after every [`Table::finish`].
    ///
    /// # Errors
    /// All problems noted, in the order of the file.
    pub fn end(self) -> Result<(), ConfigErrors> {
        let problems = self.shared.problems.take();
        if problems.is_empty() { Ok(()) } else { Err(ConfigErrors::new(problems)) }
    }

    fn below(&self, path: String, values: Map<String, Value>) -> Table {
        Table { path, values, known: Vec::new(), shared: Rc::clone(&self.shared) }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.values.remove(key)
    }

    /// A number where a quantity with a unit belongs: the commonest slip, worth its own message.
    fn bare_number(&mut self, key: &'static str) -> Option<i64> {
        match self.values.get(key)?.kind {
            ValueKind::I64(number) => {
                self.take(key);
                Some(number)
            }
            _ => None,
        }
    }

    fn note(&self, key: String, message: String) {
        let place = self.shared.places.of_key(&key);
        self.shared.problems.borrow_mut().push(Problem { place, key, message });
    }

    fn wrong<T>(&self, key: &str, message: String) -> Option<T> {
        self.problem(key, message);
        None
    }

    fn wrong_type<T>(&self, key: &str, expected: &str, found: &ValueKind) -> Option<T> {
        self.wrong(key, format!("expected {expected}, found {}", describe(found)))
    }
}

fn duration_within(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let ms = unit::duration_ms(text)?;
    match (min..=max).contains(&ms) {
        true => Ok(ms),
        false => {
            Err(format!("\"{text}\" is out of range; write a duration from {} to {}", unit::duration_text(min), unit::duration_text(max)))
        }
    }
}

fn describe(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Boolean(flag) => flag.to_string(),
        ValueKind::I64(number) => number.to_string(),
        ValueKind::Float(number) => number.to_string(),
        ValueKind::String(text) => format!("\"{}\"", text.escape_debug()),
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        _ => "a number beyond 64 bits".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "gateway = \"a\"\n\n[mqtt]\nlisten = \"x\"\nlisen = 1\n\n[[limit]]\nhigh = 1\n\n[[limit]]\nhigh = \"two\"\n";

    fn read(text: &str, environment: &[(&str, &str)], sets: &[&str]) -> Table {
        let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let sets = sets.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Table::parse("edge.toml", text, &environment, &sets).unwrap()
    }

    #[test]
    fn every_problem_comes_with_file_line_and_key() {
        let mut root = read(FILE, &[], &[]);
        root.string("gateway");
        let mut mqtt = root.section("mqtt");
        assert_eq!(mqtt.text("listen", crate::address::listen), None);
        mqtt.finish();
        for mut limit in root.tables("limit") {
            limit.number("high");
            limit.finish();
        }
        let data_dir = root.string("data_dir");
        assert_eq!(root.required("data_dir", data_dir, "\"var/a\""), None);
        root.finish();
        let text = root.end().unwrap_err().to_string();
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("edge.toml:1: data_dir: this key is required"), "{text}");
        assert!(lines[1].starts_with("edge.toml:4: mqtt.listen: \"x\" is no address"), "{text}");
        assert_eq!(lines[2], "edge.toml:5: mqtt.lisen: unknown key; did you mean listen?");
        assert_eq!(lines[3], "edge.toml:11: limit[1].high: expected a number, found \"two\"");
    }

    #[test]
    fn the_environment_overrides_the_file_and_set_overrides_both() {
        let environment =
            [("TIDEGATE__MQTT__LISTEN", "e"), ("TIDEGATE__GATEWAY", "7"), ("TIDEGATE__LIMIT__1__HIGH", "2.5"), ("TIDEGATE_SEEDS", "9")];
        let mut root = read(FILE, &environment, &["mqtt.listen=s", "windows.sizes=[\"1m\", \"5m\"]", "mqtt.extra=true"]);
        assert_eq!(root.string("gateway").as_deref(), Some("7"));
        let mut mqtt = root.section("mqtt");
        assert_eq!(mqtt.string("listen").as_deref(), Some("s"));
        assert_eq!(mqtt.string("lisen"), None);
        mqtt.finish();
        assert_eq!(root.tables("limit")[1].number("high"), Some(2.5));
        assert_eq!(root.section("windows").durations("sizes", 1, i64::MAX), Some(vec![60_000, 300_000]));
        root.finish();
        let text = root.end().unwrap_err().to_string();
        assert!(text.contains("edge.toml:5: mqtt.lisen: expected a string in quotes, found 1"), "{text}");
        assert!(text.contains("--set mqtt.extra=true: mqtt.extra: unknown key"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn an_override_that_is_no_key_is_refused() {
        for bad in ["novalue", "=1", "a..b=1", "limit[99999999].high=1", "limit[-1].high=1", "limit[x]=1", "a b=1"] {
            assert!(read("", &[], &[bad]).end().is_err(), "{bad}");
        }
        let error = read("", &[("TIDEGATE__A____B", "1")], &[]).end().unwrap_err();
        assert!(error.to_string().starts_with("environment variable TIDEGATE__A____B"), "{error}");
    }

    #[test]
    fn what_an_override_brought_about_is_reported_at_it() {
        for (text, set, key) in [
            ("gateway = \"a\"\n", "limit[3].high=1", "limit[0]"),
            (FILE, "limit[5].high=1", "limit[4]"),
            ("gateway = \"a\"\n", "cloud.every=5s", "cloud.url"),
        ] {
            let root = read(text, &[], &[set]);
            root.problem(key, "wrong");
            let told = root.end().unwrap_err().to_string();
            assert_eq!(told, format!("--set {set}: {key}: wrong"));
        }
        let root = read(FILE, &[], &["limit[0].high=1"]);
        root.problem("limit[1].low", "wrong");
        root.problem("mqtt.user", "wrong");
        assert_eq!(root.end().unwrap_err().to_string(), "edge.toml:3: mqtt.user: wrong\nedge.toml:10: limit[1].low: wrong");
    }

    #[test]
    fn an_override_beyond_the_last_section_is_one_problem() {
        let mut root = read(FILE, &[], &["limit[9].high=1"]);
        root.section("mqtt");
        assert_eq!(root.tables("limit").len(), 2);
        let told = root.end().unwrap_err().to_string();
        assert_eq!(told, "--set limit[9].high=1: limit[2]: there is no such section; the next that can be added is [2]");
    }

    #[test]
    fn a_quantity_without_its_unit_is_told_how_to_write_it() {
        let mut root = read("every = 5\nlimit = 1000\nretain = \"5KiB\"\nsizes = [\"10s\", 3]", &[], &[]);
        assert_eq!((root.duration("every", 0, 9), root.size("limit", 0, 9), root.duration("retain", 0, 9)), (None, None, None));
        assert_eq!(root.durations("sizes", 0, 99_999), None);
        let text = root.end().unwrap_err().to_string();
        assert!(text.contains("edge.toml:1: every: 5 has no unit; write a duration in quotes, such as \"5s\""), "{text}");
        assert!(text.contains("edge.toml:2: limit: 1000 has no unit; write a size"), "{text}");
        assert!(text.contains("edge.toml:4: sizes[1]: 3 is no duration"), "{text}");
    }

    #[test]
    fn toml_errors_name_their_line() {
        let error = Table::parse("edge.toml", "a = 1\nb = \n", &[], &[]).unwrap_err();
        assert!(error.to_string().starts_with("edge.toml:2: "), "{error}");
        assert!(Table::parse("edge.toml", "\"a.b\" = 1\n", &[], &[]).is_err());
        let error = Table::parse("edge.toml", "a = inf\n[b]\nc = 99999999999999999999\nd = [-9223372036854775808, 1e400]\n", &[], &[]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "edge.toml:3: b.c: 99999999999999999999 does not fit 64 bits\nedge.toml:4: b.d[1]: 1e400 does not fit 64 bits"
        );
        assert!(Table::load(Path::new("does/not/exist.toml"), &[]).unwrap_err().to_string().contains("cannot be opened"));
    }

    proptest! {
        #[test]
        fn no_override_panics(path in "[a-z\\[\\]\\.0-9_=-]{0,12}", value in "\\PC{0,12}") {
            let mut root = read("a = 1\n[mqtt]\nlisten = 2\n", &[("TIDEGATE__A", &value)], &[]);
            let _ = (root.string("a"), root.table("mqtt"));
            let set = format!("{path}={value}");
            if let Ok(mut root) = Table::parse("f", "a = 1\n", &[], &[set]) {
                let _ = (root.number("a"), root.tables("mqtt"));
                root.finish();
                let _ = root.end();
            }
        }
    }
}
