//! Whose data a data dir holds, for its life: said once in a file, and held against everyone who
//! comes with another name. Records of one would mean something else under another's name.

use crate::disk::{RealDisk, put};
use crate::error::{Error, at};
use std::fs;
use std::io;
use std::path::Path;

const NAME: &str = "owner";
const TEMPORARY: &str = "owner.tmp";
/// Longest text that is believed, in bytes.
const BYTES_MAX: u64 = 1_024;

/// Who owns the data dir, as [`claim`] said it; none where nobody did.
///
/// # Errors
/// The system's.
pub fn of(data_dir: &Path) -> io::Result<Option<String>> {
    let path = data_dir.join(NAME);
    match fs::metadata(&path) {
        // Cut off before its text was there: nobody's.
        Ok(found) if found.len() == 0 => Ok(None),
        Ok(found) => {
            let text = if found.len() <= BYTES_MAX { fs::read(&path)? } else { Vec::new() };
            let name = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
            name.filter(|name| !name.is_empty() && !name.contains(char::is_control)).map(|name| Some(name.to_owned())).ok_or_else(damaged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn damaged() -> io::Error {
    let advice = "the file is damaged; remove it once it is sure whose data dir this is, and it is written anew";
    io::Error::new(io::ErrorKind::InvalidData, advice)
}

/// Takes the data dir for `owner`, such as `gateway plant-a`, if nobody has it. Call it behind
/// [`crate::open`], which locks the data dir. On a disk without room it is only looked at.
///
/// # Errors
/// [`Error::Owned`] when it is another's, and the system's.
pub fn claim(data_dir: &Path, owner: &str) -> Result<(), Error> {
    let path = data_dir.join(NAME);
    match of(data_dir).map_err(at(&path))? {
        Some(found) if found == owner => Ok(()),
        Some(found) => Err(Error::Owned { data_dir: data_dir.to_owned(), found, owner: owner.to_owned() }),
        None => match put(&RealDisk, data_dir, TEMPORARY, &path, &[format!("{owner}\n").as_bytes()]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) => Ok(()),
            written => written.map_err(at(&path)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_it_for_good() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(dir.path()).unwrap(), None);
        claim(dir.path(), "gateway one").unwrap();
        claim(dir.path(), "gateway one").unwrap();
        assert_eq!(of(dir.path()).unwrap().as_deref(), Some("gateway one"));
        for other in ["gateway two", "cloud bridge"] {
            let refused = claim(dir.path(), other).unwrap_err().to_string();
            assert!(refused.contains("gateway one") && refused.contains(other), "{refused}");
        }
        for damaged in ["gateway on", "gateway one\u{1}", "gatew\0y one\n", "\n"] {
            fs::write(dir.path().join(NAME), damaged).unwrap();
            let refused = claim(dir.path(), "gateway one").unwrap_err().to_string();
            assert!(refused.contains("damaged"), "{refused}");
        }
        // Cut off before its text was there: nobody's.
        fs::write(dir.path().join(NAME), "").unwrap();
        claim(dir.path(), "gateway two").unwrap();
        assert_eq!(of(dir.path()).unwrap().as_deref(), Some("gateway two"));
    }
}
