//! Whose data a data dir holds, for its life: said once in a file, and held against everyone who
//! comes with another name. Records of one would mean something else under another's name.

use crate::error::{Error, at};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "owner";
/// Longest text that is believed, in bytes.
const BYTES_MAX: u64 = 1_024;

/// Who owns the data dir, as [`claim`] said it; none where nobody did.
///
/// # Errors
/// The system's.
pub fn of(data_dir: &Path) -> io::Result<Option<String>> {
    let path = data_dir.join(NAME);
    match fs::metadata(&path) {
        Ok(found) if found.len() <= BYTES_MAX => Ok(Some(fs::read_to_string(&path)?.trim_end().to_owned()).filter(|name| !name.is_empty())),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "this is no owner's name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
        None => match write(data_dir, &path, owner) {
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) => Ok(()),
            written => written.map_err(at(&path)),
        },
    }
}

fn write(data_dir: &Path, path: &Path, owner: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(format!("{owner}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(data_dir)?.sync_all()
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
        // Cut off before its text was there: nobody's.
        fs::write(dir.path().join(NAME), "").unwrap();
        claim(dir.path(), "gateway two").unwrap();
        assert_eq!(of(dir.path()).unwrap().as_deref(), Some("gateway two"));
    }
}
