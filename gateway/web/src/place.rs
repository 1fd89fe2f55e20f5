//! Where a running role is found: its sockets, and `DATA_DIR/run.json`, which names them (contract §1).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
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

/// Between two attempts to write `run.json` on a disk that has no room for it.
const RETRY: Duration = Duration::from_secs(1);

/// `run.json` of a role that owns its data dir.
///
/// It is no truth, only a hint where to look: a disk that is full or cannot be written does not
/// keep a role from running, and the file comes as soon as it can.
#[derive(Debug)]
pub struct RunJson {
    path: PathBuf,
    /// The role has stopped: nothing is written any more.
    over: Arc<Mutex<bool>>,
}

impl RunJson {
    /// Removes what an earlier process left: nobody is ready yet.
    ///
    /// # Errors
    /// The system's, with the path; none where the disk cannot be written now.
    pub fn claim(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join("run.json");
        match fs::remove_file(&path) {
            Err(error) if is_of_the_disk(&error) => warn!(path = %path.display(), %error, "what an earlier process left stays"),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(told(&path, &error)),
            _ => {}
        }
        Ok(Self { path, over: Arc::default() })
    }

    /// The role is ready. Written beside and renamed: who finds it finds it whole. Where the disk
    /// has no room for it, it is written as soon as it has; called within a tokio runtime.
    ///
    /// # Errors
    /// The system's, with the path; none where the disk cannot be written now.
    pub fn write(&self, role: &str, mqtt: &str, http: SocketAddr, gateway: Option<&str>) -> io::Result<()> {
        let gateway = gateway.map(|name| format!(",\"gateway\":\"{name}\"")).unwrap_or_default();
        let pid = std::process::id();
        let text = format!("{{\"role\":\"{role}\",\"pid\":{pid},\"mqtt\":\"{mqtt}\",\"http\":\"{http}\"{gateway}}}\n");
        match put(&self.path, &text) {
            Err(error) if is_of_the_disk(&error) => {
                warn!(path = %self.path.display(), %error, "not written; it is tried again");
                let (path, over) = (self.path.clone(), self.over.clone());
                tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(RETRY).await;
                        // Held while it is written, so that nothing appears behind the removal.
                        let over = over.lock().unwrap_or_else(PoisonError::into_inner);
                        if *over || put(&path, &text).is_ok() {
                            return;
                        }
                    }
                });
                Ok(())
            }
            written => written.map_err(|error| told(&self.path, &error)),
        }
    }

    /// The role has stopped.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn remove(self) -> io::Result<()> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        *over = true;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && !is_of_the_disk(&error) => Err(told(&self.path, &error)),
            _ => Ok(()),
        }
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path))
}

/// Whether the disk as a whole takes nothing now.
fn is_of_the_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem)
}

fn told(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
