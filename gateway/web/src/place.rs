//! Where a running role is found: its sockets, and `DATA_DIR/run.json`, which names them (contract §1).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};
use tokio::net::TcpListener;
use tracing::warn;

/// Listens, and says where: port 0 asks for a free one.
///
/// # Errors
/// The system's.
pub async fn listen(at: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(at).await?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

/// `run.json` of a role that owns its data dir.
#[derive(Debug)]
pub struct RunJson(PathBuf);

impl RunJson {
    /// Removes what an earlier process left: nobody is ready yet.
    ///
    /// # Errors
    /// The system's, with the path; none where the disk cannot be written now.
    pub fn claim(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join("run.json");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => pass_over(&path, &error).map(|()| Self(path)),
            _ => Ok(Self(path)),
        }
    }

    /// The role is ready. Written beside and renamed: who finds it finds it whole. A role that
    /// starts on a full or read-only disk goes without.
    ///
    /// # Errors
    /// The system's, with the path; none where the disk cannot be written now.
    pub fn write(&self, role: &str, mqtt: &str, http: SocketAddr, gateway: Option<&str>) -> io::Result<()> {
        let gateway = gateway.map(|name| format!(",\"gateway\":\"{name}\"")).unwrap_or_default();
        let pid = std::process::id();
        let text = format!("{{\"role\":\"{role}\",\"pid\":{pid},\"mqtt\":\"{mqtt}\",\"http\":\"{http}\"{gateway}}}\n");
        let temporary = self.0.with_extension("tmp");
        let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &self.0));
        written.or_else(|error| pass_over(&self.0, &error))
    }

    /// The role has stopped.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => pass_over(&self.0, &error),
            _ => Ok(()),
        }
    }
}

/// A disk that cannot be written now stops nobody: what a role has on it can still be read, and
/// it says itself that it takes nothing.
fn pass_over(path: &Path, error: &io::Error) -> io::Result<()> {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    if !matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) {
        return Err(told(path, error));
    }
    warn!(%error, path = %path.display(), "where this role is found cannot be written");
    Ok(())
}

fn told(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
