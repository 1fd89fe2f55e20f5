//! Records per second in group commits, and the latency of a single one, beside that of a bare
//! `fdatasync`: `cargo bench -p tidegate-journal`. Writes to the temporary dir, which should be
//! on the disk that is asked about (`TMPDIR`).

use journal::{Journal, Options, Refused, open};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const RECORDS: u64 = 4_000_000;
const PAYLOAD: [u8; 24] = [7; 24];
const SINGLES: usize = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let dir = tempfile::tempdir()?;
    let options = Options { retain: Duration::from_secs(3600), limit_bytes: 2 << 30 };
    let journal = open(dir.path(), options)?.start(Box::new(drop))?;

    let begun = Instant::now();
    let mut last = 0;
    while last < RECORDS {
        match journal.append() {
            // As many as a socket's read brings.
            Ok(mut append) => (0..64).for_each(|_| last = append.push(1, |out| out.extend(PAYLOAD))),
            Err(Refused::Full) => std::thread::sleep(Duration::from_micros(50)),
            Err(refused) => return Err(refused.into()),
        }
    }
    wait(&journal, last);
    let rate = last as f64 / begun.elapsed().as_secs_f64();
    let stats = journal.stats();
    writeln!(
        out,
        "group commit: {rate:.0} records/s, {} records and {} bytes a sync",
        last / stats.syncs,
        stats.bytes_written / stats.syncs
    )?;

    let mut times = Vec::with_capacity(SINGLES);
    for _ in 0..SINGLES {
        let begun = Instant::now();
        let lsn = journal.append()?.push(1, |out| out.extend(PAYLOAD));
        wait(&journal, lsn);
        times.push(begun.elapsed());
    }
    writeln!(out, "single append: {}", percentiles(times))?;
    journal.stop();

    let file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.path().join("bare"))?;
    file.write_all_at(&vec![1; 1 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(SINGLES);
    for i in 0..SINGLES {
        let begun = Instant::now();
        file.write_all_at(&[2; 90], i as u64 * 90)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    writeln!(out, "bare pwrite and fdatasync: {}", percentiles(times))?;
    Ok(())
}

fn wait(journal: &Journal, lsn: u64) {
    let mut horizon = journal.horizon();
    let reached = async { horizon.wait_for(|horizon| horizon.durable >= lsn).await.is_ok() };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    assert!(runtime.is_ok_and(|runtime| runtime.block_on(reached)), "the log failed");
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_micros();
    format!("p50 {} µs, p99 {} µs", at(0.5), at(0.99))
}
