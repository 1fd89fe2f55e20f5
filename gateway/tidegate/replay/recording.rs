//! The CSV: its delimiter, its columns, its rows.

use super::moment;
use crate::outcome::Failure;
use anyhow::{Context as _, anyhow};
use settings::nearest::nearest;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

/// Names of a time column, where none is given; case does not count.
const TIME_NAMES: [&str; 6] = ["datetime", "timestamp", "time", "ts", "date", "date_time"];

/// Bytes of a header line that are looked at for the delimiter.
const HEADER_BYTES_MAX: u64 = 1024 * 1024;

/// What of a recording is wanted.
#[derive(Debug)]
pub struct Choice<'a> {
    /// What separates the columns; none: told by the header.
    pub delimiter: Option<u8>,
    /// The time column; none: told by its name.
    pub time_column: Option<&'a str>,
    /// The columns to publish; none: all others.
    pub columns: &'a [String],
}

/// A CSV being read.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    reader: csv::Reader<File>,
    bytes: u64,
    time: Option<usize>,
    columns: Vec<String>,
    indices: Vec<usize>,
    record: csv::StringRecord,
}

/// One row of it.
#[derive(Debug, Default)]
pub struct Row {
    /// Its time, in ms since the Unix epoch.
    pub time_ms: Option<i64>,
    /// Index into [`Recording::columns`] and the value as JSON writes it.
    pub values: Vec<(usize, String)>,
    /// Cells that were no number.
    pub skipped: u64,
}

impl Recording {
    /// Reads the header and finds the columns.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the file or a column is not there.
    pub fn open(path: &Path, choice: &Choice<'_>) -> Result<Self, Failure> {
        let usage = |message: String| Failure::Usage(anyhow!("{}: {message}", path.display()));
        let mut file = File::open(path).map_err(|error| usage(format!("the recording cannot be opened: {error}")))?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let delimiter = match choice.delimiter {
            Some(delimiter) => delimiter,
            None => commonest_delimiter(&mut file).map_err(|error| usage(format!("the recording cannot be read: {error}")))?,
        };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
        let header = reader.headers().map_err(|error| usage(format!("the header cannot be read: {error}")))?;
        let names = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect::<Vec<_>>();
        let find = |name: &str| {
            names.iter().position(|known| known == name).ok_or_else(|| {
                let hint = match nearest(name, names.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("it has {}", names.join(", ")),
                };
                usage(format!("there is no column {name:?}; {hint}"))
            })
        };
        let time = match choice.time_column {
            Some(name) => Some(find(name)?),
            None => names.iter().position(|name| TIME_NAMES.iter().any(|time| name.eq_ignore_ascii_case(time))),
        };
        let indices = match choice.columns {
            [] => (0..names.len()).filter(|index| Some(*index) != time && !names[*index].is_empty()).collect(),
            wanted => wanted.iter().map(|name| find(name.trim())).collect::<Result<Vec<_>, _>>()?,
        };
        if indices.is_empty() {
            return Err(usage("there is no column to publish".to_owned()));
        }
        let columns = indices.iter().map(|index| names[*index].clone()).collect();
        Ok(Self { path: path.to_owned(), reader, bytes, time, columns, indices, record: csv::StringRecord::new() })
    }

    /// The columns to publish, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether rows have times.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of it that were read.
    pub fn position(&self) -> u64 {
        self.reader.position().byte()
    }

    /// Reads the next row; false at the end.
    ///
    /// # Errors
    /// When the row is no CSV, or its time cannot be read: a wrong time would be a wrong reading.
    pub fn next(&mut self, row: &mut Row) -> anyhow::Result<bool> {
        let path = &self.path;
        if !self.reader.read_record(&mut self.record).with_context(|| format!("{} cannot be read", path.display()))? {
            return Ok(false);
        }
        row.values.clear();
        row.skipped = 0;
        row.time_ms = match self.time {
            None => None,
            Some(index) => {
                let text = self.record.get(index).unwrap_or_default();
                let line = self.record.position().map_or(0, csv::Position::line);
                let read = moment::parse(text);
                Some(read.with_context(|| format!("{}:{line}: {text:?} is no time; write it as 2024-05-01T12:00:00Z", path.display()))?)
            }
        };
        for (column, index) in self.indices.iter().enumerate() {
            match self.record.get(*index).and_then(json_value) {
                Some(value) => row.values.push((column, value)),
                None => row.skipped += 1,
            }
        }
        Ok(true)
    }
}

/// A cell as JSON writes it: the shortest text that reads back as the same double, or a boolean.
fn json_value(cell: &str) -> Option<String> {
    let cell = cell.trim();
    if cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false") {
        return Some(cell.to_ascii_lowercase());
    }
    let value = cell.parse::<f64>().ok().filter(|value| value.is_finite())?;
    serde_json::to_string(&value).ok()
}

fn commonest_delimiter(file: &mut File) -> std::io::Result<u8> {
    let mut header = Vec::new();
    BufReader::new((&mut *file).take(HEADER_BYTES_MAX)).read_until(b'\n', &mut header)?;
    file.rewind()?;
    let count = |delimiter: &u8| header.iter().filter(|byte| *byte == delimiter).count();
    // The first of equals: without any, a file of one column.
    Ok([b',', b';', b'\t'].into_iter().rev().max_by_key(count).unwrap_or(b','))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn recording(text: &str, choice: &Choice<'_>) -> Result<Recording, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Recording::open(file.path(), choice)
    }

    const ALL: Choice<'_> = Choice { delimiter: None, time_column: None, columns: &[] };

    #[test]
    fn delimiter_time_and_columns_are_found() {
        let mut skab =
            recording("\u{feff}datetime;Temp;Volume Flow;note\n2020-03-09 10:14:33;1.50;-2e3;x\n2020-03-09 10:14:34;NaN;;\n", &ALL)
                .unwrap();
        assert_eq!(skab.columns(), ["Temp", "Volume Flow", "note"]);
        let mut row = Row::default();
        assert!(skab.next(&mut row).unwrap());
        assert_eq!((row.time_ms, row.skipped), (Some(1_583_748_873_000), 1));
        assert_eq!(row.values, [(0, "1.5".to_owned()), (1, "-2000.0".to_owned())]);
        assert!(skab.next(&mut row).unwrap());
        assert_eq!((row.values.len(), row.skipped), (0, 3));
        assert!(!skab.next(&mut row).unwrap());
    }

    #[test]
    fn a_column_that_is_not_there_is_told_its_near_name() {
        let Err(Failure::Usage(error)) = recording("time,value\n", &Choice { columns: &["valeu".to_owned()], ..ALL }) else {
            panic!("accepted")
        };
        assert!(error.to_string().contains("did you mean \"value\"?"), "{error}");
        assert!(recording("time\n", &ALL).is_err(), "nothing to publish");
        assert!(!recording("a,b\n1,2\n", &ALL).unwrap().has_time());
    }

    #[test]
    fn a_wrong_time_is_an_error_with_its_line() {
        let mut bad = recording("time,value\n2020-01-01,1\nsoon,2\n", &ALL).unwrap();
        let mut row = Row::default();
        assert!(bad.next(&mut row).unwrap());
        assert!(bad.next(&mut row).unwrap_err().to_string().contains(":3: \"soon\" is no time"));
    }
}
