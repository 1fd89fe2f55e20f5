//! The tree checks itself: which way crates depend, what stands at the top, what no `mod` reaches, what is left undone.
//!
//! Everything is read from the manifests and sources as text, so that this file needs no dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate and the crates of ours that it may use, tests aside. Arrows go one way only.
const DIRECTION: [(&str, &str, &[&str]); 12] = [
    ("settings", "gateway/settings", &[]),
    ("schemas", "schemas", &[]),
    ("journal", "gateway/journal", &[]),
    ("broker", "gateway/broker", &[]),
    ("web", "gateway/web", &[]),
    ("telemetry", "gateway/telemetry", &["schemas"]),
    ("detect", "gateway/detect", &["telemetry", "schemas"]),
    ("replica", "gateway/replica", &["detect", "telemetry", "schemas"]),
    ("role", "gateway/role", &["replica", "broker", "web", "settings"]),
    ("edge", "gateway/edge", &["role", "replica", "detect", "telemetry", "schemas", "journal", "broker", "web", "settings"]),
    ("cloud", "gateway/cloud", &["role", "replica", "telemetry", "schemas", "journal", "broker", "web", "settings"]),
    // The binary reads logs and configs and scores detectors beside starting the roles.
    ("tidegate", ".", &["edge", "cloud", "replica", "detect", "journal", "settings"]),
];

/// Crates that think and never wait.
const PURE: [&str; 4] = ["schemas", "gateway/telemetry", "gateway/detect", "gateway/replica"];

/// What a pure crate must not use: runtimes, sockets, files, clocks, chance.
const IMPURE_CRATES: [&str; 10] =
    ["tokio", "axum", "rumqttc", "rumqttd", "sled", "libc", "rand", "config", "metrics", "tracing-subscriber"];
const IMPURE_CODE: [&str; 7] = ["::now(", "std::fs", "std::net", "std::io::Read", "std::thread", "std::env", "tokio::"];

/// What may stand at the top, beside dotfiles; `target` and `var` are ignored by git.
const TOP: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "gateway",
    "broker-config",
    "schemas",
    "tests",
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "SECURITY.md",
    "deny.toml",
    "target",
    "var",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below the top-level entries that are the project's, build output aside.
fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.expect("a directory entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // `corpus` and `artifacts` are what fuzzing leaves behind.
            if ["target", "var", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() { walk(&path, out) } else { out.push(path) }
        }
    }
    let mut out = Vec::new();
    walk(&root(), &mut out);
    out.sort();
    out
}

/// The crates that a manifest's section names, as written before `.` or `=`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut out = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            inside = section == "dependencies" || section.ends_with(".dependencies") && !section.starts_with("workspace");
            if let Some(name) = section.strip_prefix("dependencies.") {
                out.insert(name.to_owned());
            }
        } else if inside && !line.starts_with('#') && !line.is_empty() {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            out.insert(name.trim_matches('"').trim_start_matches("tidegate-").to_owned());
        }
    }
    out
}

#[test]
fn crates_depend_one_way_only() {
    let ours = DIRECTION.iter().map(|(name, ..)| *name).collect::<BTreeSet<_>>();
    let members = files().into_iter().filter(|path| path.ends_with("Cargo.toml")).collect::<Vec<_>>();
    for manifest in members {
        let dir = manifest.parent().unwrap_or(Path::new("")).strip_prefix(root()).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        let dir = if dir.is_empty() { ".".to_owned() } else { dir };
        if dir.starts_with("tests/fuzz") {
            continue;
        }
        let Some((name, _, allowed)) = DIRECTION.iter().find(|(_, known, _)| *known == dir) else {
            panic!("{dir} is a crate whose place in the order is not written down in tests/tree.rs");
        };
        for used in dependencies(&read(&manifest)).iter().filter(|used| ours.contains(used.as_str())) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}: it may use {allowed:?}");
        }
    }
}

#[test]
fn pure_crates_know_no_clock_file_or_socket() {
    for dir in PURE {
        let used = dependencies(&read(&root().join(dir).join("Cargo.toml")));
        for banned in IMPURE_CRATES {
            assert!(!used.contains(banned), "{dir} is pure and must not depend on {banned}");
        }
        let sources = root().join(dir).join("src");
        for path in files().iter().filter(|path| path.starts_with(&sources) && path.extension().is_some_and(|e| e == "rs")) {
            for (number, line) in read(path).lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                for banned in IMPURE_CODE {
                    assert!(!line.contains(banned), "{}:{}: a pure crate uses {banned}", path.display(), number + 1);
                }
            }
        }
    }
}

#[test]
fn the_top_level_is_complete_and_nothing_more() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root()).expect("the repository") {
        let name = entry.expect("a directory entry").file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || TOP.contains(&name.as_str()), "{name} has no place at the top level");
        found.insert(name);
    }
    for needed in TOP.iter().filter(|name| !["target", "var"].contains(name)) {
        assert!(found.contains(*needed), "{needed} is missing at the top level");
    }
    assert!(root().join(".ci/run").is_file(), ".ci/run is missing");
}

/// The files that a source file's `mod name;` lines include.
fn modules(path: &Path) -> Vec<PathBuf> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let base = if ["lib", "main", "mod"].contains(&stem.as_str()) || is_root(path) { dir.to_owned() } else { dir.join(&stem) };
    let mut out = Vec::new();
    for line in read(path).lines().map(str::trim) {
        let line = line
            .strip_prefix("pub(crate) ")
            .or_else(|| line.strip_prefix("pub(super) "))
            .or_else(|| line.strip_prefix("pub "))
            .unwrap_or(line);
        let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.split_once(';')).map(|(name, _)| name.trim()) else {
            continue;
        };
        let (flat, nested) = (base.join(format!("{name}.rs")), base.join(name).join("mod.rs"));
        out.push(if nested.is_file() { nested } else { flat });
    }
    out
}

/// Whether cargo builds a file by itself: libraries, binaries, tests, benches, examples, build scripts.
fn is_root(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if dir.join("Cargo.toml").is_file() {
        return name == "build.rs";
    }
    let parent = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let in_crate = dir.parent().is_some_and(|up| up.join("Cargo.toml").is_file());
    let grandparent = dir.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    (parent == "src" && in_crate && (name == "lib.rs" || name == "main.rs"))
        || (["tests", "benches", "examples", "fuzz_targets"].contains(&parent.as_str()) && in_crate)
        || (["tests", "benches", "examples"].contains(&grandparent.as_str()) && name == "main.rs")
        || path == root().join("gateway/tidegate/main.rs")
}

#[test]
fn every_source_file_is_reached() {
    let sources = files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).collect::<BTreeSet<_>>();
    let mut reached = BTreeSet::new();
    let mut open = sources.iter().filter(|path| is_root(path)).cloned().collect::<Vec<_>>();
    while let Some(path) = open.pop() {
        if path.is_file() && reached.insert(path.clone()) {
            open.extend(modules(&path));
        }
    }
    let orphans = sources.difference(&reached).collect::<Vec<_>>();
    assert!(orphans.is_empty(), "no mod reaches {orphans:?}");
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not find itself.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["to", "do!("].concat(), ["unimple", "mented!("].concat()];
    let mut found = BTreeMap::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if path.ends_with("Cargo.lock") || path.ends_with("LICENSE-APACHE") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                found.insert(format!("{}:{}", path.display(), number + 1), word.clone());
            }
        }
    }
    assert!(found.is_empty(), "left undone: {found:?}");
}

#[test]
fn examples_are_there_for_both_roles() {
    for name in ["edge.toml", "cloud.toml"] {
        assert!(root().join("broker-config").join(name).is_file(), "broker-config/{name} is missing");
    }
}
