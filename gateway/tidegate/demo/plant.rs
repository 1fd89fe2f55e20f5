//! The roles as child processes of this very program, their configs, and their end on every path.

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Windows of the demo: short, so that there is something to see within seconds. Ms, and as topics write it.
pub const SIZES: [(i64, &str); 2] = [(2_000, "2s"), (10_000, "10s")];

/// A window goes up so long after its end, in ms.
pub const GRACE_MS: i64 = 500;

/// How long a role may take to be ready: recovery of a log this small takes well below a second.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long a role may take to stop; its own contract says 5 s.
const STOP_MAX: Duration = Duration::from_secs(6);
/// Between two looks at a child.
const LOOK: Duration = Duration::from_millis(20);
/// Where ports of gateways are looked for: below the range that the system gives to outgoing connections, so that
/// nobody takes the port of a gateway while it is dead.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Config of the bridge.
pub fn cloud_config(data_dir: &Path) -> String {
    format!("data_dir = {data_dir:?}\n\n[mqtt]\nlisten = \"127.0.0.1:0\"\n\n[http]\nlisten = \"127.0.0.1:0\"\n")
}

/// Config of a gateway that listens at `port` and delivers to `uplink`.
pub fn edge_config(name: &str, data_dir: &Path, port: u16, uplink: u16) -> String {
    let sizes = SIZES.map(|(_, name)| format!("{name:?}")).join(", ");
    format!(
        r#"gateway  = "{name}"
data_dir = {data_dir:?}

[mqtt]
listen = "127.0.0.1:{port}"

[http]
listen = "127.0.0.1:0"

[cloud]
url   = "mqtt://127.0.0.1:{uplink}"
every = "1s"

[windows]
sizes = [{sizes}]
grace = "{GRACE_MS}ms"

[log]
limit = "256MiB"

[[limit]]
series    = "*/press1/temperature"
high_high = 95.0
deadband  = 1.0
off_delay = "200ms"

[[limit]]
series    = "*/pump2/temperature"
high_high = 80.0
deadband  = 1.0
off_delay = "200ms"

[[limit]]
series    = "*/press1/oil"
low_low   = 1.5
deadband  = 0.2
off_delay = "200ms"
"#
    )
}

/// A port that is free now, and that no outgoing connection will take.
pub fn free_port() -> anyhow::Result<u16> {
    let span = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(97) % span;
    // Several are asked for in a row: each search goes on where the one before ended.
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    for _ in 0..span {
        let step = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = PORTS.start + u16::try_from((first + step) % span).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free on 127.0.0.1")
}

/// A role that runs. Whatever happens to the demo, it ends: by [`Role::stop`], by [`Role::kill`], or with its owner.
#[derive(Debug)]
pub struct Role {
    name: String,
    child: Child,
    ended: bool,
    /// Port of its broker.
    pub mqtt: u16,
    /// `host:port` of its HTTP.
    pub http: String,
}

/// What is needed to start a role, and to start it again.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Name for a person.
    pub name: String,
    /// `edge` or `cloud`.
    pub role: &'static str,
    /// Its folder: config, log output, data dir.
    pub dir: PathBuf,
}

impl Recipe {
    /// Where its data is.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Writes its config.
    pub fn write(&self, config: &str) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let path = self.dir.join("config.toml");
        fs::write(&path, config).with_context(|| path.display().to_string())
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> anyhow::Result<Role> {
        let child = self.spawn().with_context(|| format!("{} cannot be started", self.name))?;
        let mut role = Role { name: self.name.clone(), child, ended: false, mqtt: 0, http: String::new() };
        let pid = u64::from(role.child.id());
        let run_json = self.data_dir().join("run.json");
        let deadline = Instant::now() + READY_MAX;
        loop {
            if let Some(status) = role.ended()? {
                bail!("{} ended at once with {status}; {} says why", self.name, self.dir.join("stderr.log").display());
            }
            // A killed role leaves its own behind; the pid tells whose it is.
            let found = fs::read(&run_json).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            if let Some(run) = found.filter(|run| run["pid"] == pid) {
                let address = |key: &str| run[key].as_str().map(str::to_owned).ok_or_else(|| anyhow!("run.json has no {key}"));
                role.http = address("http")?;
                let mqtt = address("mqtt")?;
                role.mqtt = mqtt.rsplit(':').next().and_then(|port| port.parse().ok()).with_context(|| format!("{mqtt:?} has no port"))?;
                return Ok(role);
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {} s", self.name, READY_MAX.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        use std::os::unix::process::CommandExt as _;
        let log = File::options().create(true).append(true).open(self.dir.join("stderr.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(self.role).arg("--config").arg(self.dir.join("config.toml"));
        // What is meant for the user's own roles would change these.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("TIDEGATE__")) {
            command.env_remove(key);
        }
        // A group of its own: Ctrl-C at the terminal reaches the demo alone, which then stops its children in order.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let parent = std::process::id();
        // SAFETY: prctl, getppid and _exit are async-signal-safe, and nothing else happens between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // No guard runs when the demo itself is killed with -9; then the kernel ends its children.
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                if u32::try_from(libc::getppid()) != Ok(parent) {
                    libc::_exit(1);
                }
                Ok(())
            });
        }
        Ok(command.spawn()?)
    }
}

impl Role {
    /// Its name for a person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.ended = true;
        Ok(())
    }

    /// SIGTERM, and waits; complains about an end that is not clean.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} had ended before it was stopped, with {status}", self.name);
        }
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} was stopped and ended with {status}", self.name),
                None => tokio::time::sleep(LOOK).await,
            }
        }
        bail!("{} does not stop within {} s", self.name, STOP_MAX.as_secs())
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.ended |= status.is_some();
        Ok(status)
    }

    fn signal(&self, signal: libc::c_int) {
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: a child that has not been waited for keeps its id.
            unsafe { libc::kill(pid, signal) };
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if !self.ended {
            // It may end by itself at this moment; then there is nothing left to do.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configs_are_what_the_roles_take() {
        let dir = Path::new("/tmp/a \"quoted\" folder");
        let edge = settings::Table::parse("edge.toml", &edge_config("plant-a", dir, 20_001, 40_000), &[], &[]).unwrap();
        let edge = edge::config::read(edge).unwrap();
        assert_eq!((edge.data_dir.as_path(), edge.mqtt.listen.port(), edge.limits.limits.len()), (dir, 20_001, 3));
        assert_eq!(edge.windows.sizes_ms, SIZES.map(|(ms, _)| ms));
        let cloud = settings::Table::parse("cloud.toml", &cloud_config(dir), &[], &[]).unwrap();
        assert_eq!(cloud::config::read(cloud).unwrap().data_dir, dir);
    }

    #[test]
    fn ports_are_free_and_no_two_are_alike() {
        let (one, two) = (free_port().unwrap(), free_port().unwrap());
        assert_ne!(one, two);
        assert!(PORTS.contains(&one) && PORTS.contains(&two));
    }
}
