//! What a process used, read from /proc, and the disk alone.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// CPU, memory and writes of a process.
pub struct Usage {
    pub cpu: Duration,
    pub peak_bytes: u64,
    pub now_bytes: u64,
    pub written_bytes: u64,
}

impl Usage {
    /// Of a running process, since it began.
    pub fn of(pid: u32) -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let field = |text: &str, name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(Self {
            cpu: cpu_of(&read("stat")?),
            peak_bytes: field(&read("status")?, "VmHWM:") * 1024,
            now_bytes: field(&read("status")?, "VmRSS:") * 1024,
            written_bytes: field(&read("io")?, "write_bytes:"),
        })
    }

    /// CPU and writes since an earlier look; the peak over the process's life.
    pub fn since(self, before: &Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            peak_bytes: self.peak_bytes,
            now_bytes: self.now_bytes,
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

/// CPU by a `stat` of /proc: of a process or of a thread.
fn cpu_of(stat: &str) -> Duration {
    let after_name = stat.rsplit(')').next().unwrap_or("");
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    // SAFETY: no pointers; the value is fixed for a system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Duration::from_secs_f64(ticks as f64 / per_second)
}

/// CPU of a process's threads since they began, by what they do: those that serve clients are one.
pub fn cpu_by_work(pid: u32) -> io::Result<BTreeMap<String, Duration>> {
    let mut works = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended meanwhile has nothing to tell.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(name, _)| name);
        let work = if name.starts_with("tokio") || name == "tidegate" { "clients" } else { name };
        *works.entry(work.to_owned()).or_default() += cpu_of(&stat);
    }
    Ok(works)
}

/// The value at quantile `q`, by nearest rank.
pub fn percentile(values: &mut [u32], q: f64) -> u32 {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * q) as usize).copied().unwrap_or(0)
}

/// One small write in place and one sync, over and over.
pub fn fdatasync_alone() -> io::Result<String> {
    let dir = tempfile::tempdir()?;
    let file = std::fs::File::create(dir.path().join("file"))?;
    file.write_all_at(&vec![1; 1 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let at = Instant::now();
        file.write_all_at(&[2; 100], 4_096 * (times.len() as u64 % 256))?;
        file.sync_data()?;
        times.push(at.elapsed().as_micros() as u32);
    }
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    Ok(format!("pwrite + fdatasync alone: p50 {p50} µs, p99 {p99} µs"))
}
