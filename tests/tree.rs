//! The tree checks itself: directions of dependency, the top level, purity, leftovers.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn dependencies_go_one_way() {
    let order = ["schemas", "telemetry", "detect", "replica", "edge", "cloud"];
    for (i, name) in order.iter().enumerate() {
        let dir = if *name == "schemas" { root().join(name) } else { root().join("gateway").join(name) };
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        for later in &order[i + 1..] {
            assert!(!dependencies.contains(&format!("{later}.workspace")), "{name} must not know {later}");
        }
    }
    for apart in ["broker", "journal"] {
        let manifest = fs::read_to_string(root().join("gateway").join(apart).join("Cargo.toml")).unwrap();
        for other in ["telemetry", "detect", "replica", "schemas"] {
            assert!(!manifest.contains(&format!("{other}.workspace")), "{apart} must not know {other}");
        }
    }
}

#[test]
fn pure_crates_ask_nobody_for_time_or_files() {
    for name in ["schemas/src", "gateway/telemetry/src", "gateway/detect/src", "gateway/replica/src"] {
        let mut files = Vec::new();
        sources(&root().join(name), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for impure in ["::now(", "std::fs", "std::net", "tokio::"] {
                assert!(!text.contains(impure), "{} uses {impure}", file.display());
            }
        }
    }
}

#[test]
fn every_source_file_is_reached_and_nothing_is_left_over() {
    let mut files = Vec::new();
    sources(&root().join("gateway"), &mut files);
    sources(&root().join("schemas"), &mut files);
    for file in files.iter().filter(|f| !f.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "benches")) {
        let text = fs::read_to_string(file).unwrap();
        for leftover in ["todo!", "unimplemented!", concat!("FIX", "ME"), "dbg!("] {
            assert!(!text.contains(leftover), "{} holds {leftover}", file.display());
        }
        let stem = file.file_stem().unwrap().to_str().unwrap();
        if ["lib", "main"].contains(&stem) {
            continue;
        }
        let dir = file.parent().unwrap();
        let module = if stem == "mod" { dir.file_name().unwrap().to_str().unwrap() } else { stem };
        let up = if stem == "mod" { dir.parent().unwrap() } else { dir };
        let parents = ["lib.rs", "main.rs", "mod.rs"].map(|p| up.join(p)).into_iter().chain([up.with_extension("rs")]);
        let reached = parents.filter_map(|p| fs::read_to_string(p).ok()).any(|t| t.contains(&format!("mod {module};")));
        assert!(reached, "{} is an orphan", file.display());
    }
}
