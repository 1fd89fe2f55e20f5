//! `tidegate demo`: a whole plant with faults, an outage and a `kill -9`, in the shortest run that has it all.

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["demo", "--for", "8s", "--json"]).env("TMPDIR", folder).env("RUST_LOG", "info").stdin(Stdio::null());
    command
}

/// Processes whose command line names a folder.
fn processes_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let text = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    text.filter(|line| line.contains(folder.to_str().unwrap())).collect()
}

#[test]
fn the_demo_agrees_finds_every_fault_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    // A user's own settings for roles must not reach those of the demo.
    let done = demo(folder.path()).env("TIDEGATE__WINDOWS__GRACE", "1h").output().unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let result = lines.last().expect("a result");
    assert_eq!((done.status.code(), &result["event"]), (Some(0), &"result".into()), "{result:#}");
    assert_eq!((&result["agrees"], &result["problems"]), (&true.into(), &Value::Array(vec![])));
    assert!(lines.iter().all(|line| line["event"].is_string()));
    for event in ["start", "fault", "alert", "link_cut", "link_restored", "drained", "kill", "restart", "merged", "machines_end"] {
        assert!(lines.iter().any(|line| line["event"] == event), "{event} is told: {out}");
    }

    let number = |path: &str| result.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {result:#}"));
    assert!(number("/windows/equal") > 50 && number("/windows/different") == 0);
    assert!(number("/readings/sent") > 2_000 && number("/readings/sent") == number("/readings/acknowledged"));
    let faults = result["faults"].as_array().unwrap();
    let kinds = faults.iter().map(|fault| fault["kind"].as_str().unwrap()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["flatline", "high-high", "low-low", "rate", "silence", "spike"]);
    assert!(
        faults.iter().all(|fault| fault["found"] == true && fault["consumer_after_ms"].as_i64() >= fault["detected_after_ms"].as_i64())
    );
    assert!(number("/uplink/bytes") > 0 && number("/uplink/bytes") < number("/uplink/raw_bytes"));

    assert_eq!(processes_in(folder.path()), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is removed");
}

#[test]
fn an_interrupted_demo_ends_its_processes_and_says_that_nothing_was_compared() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    // Once machines publish, all roles run.
    assert!(out.by_ref().any(|line| line.unwrap().contains("\"event\":\"machines\"")));
    assert!(processes_in(folder.path()).len() >= 3);
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let last = out.last().expect("a result").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let result = serde_json::from_str::<Value>(&last).unwrap();
    assert_eq!((&result["event"], &result["agrees"]), (&"result".into(), &false.into()));
    assert_eq!(processes_in(folder.path()), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is removed");
}

#[test]
fn a_demo_that_is_too_short_or_too_large_is_refused() {
    for wrong in [["--for", "2s"], ["--for", "10"], ["--gateways", "0"], ["--gateways", "99"]] {
        let done = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("demo").args(wrong).output().unwrap();
        assert_eq!((done.status.code(), done.stdout.len()), (Some(2), 0), "{wrong:?}");
    }
}
