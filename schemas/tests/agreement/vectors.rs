//! The bytes in `vectors/` stay readable for good, and those of the present format are what
//! this version writes. A file is hexadecimal; a line that begins with '#' is a comment.

use crate::sample;
use schemas::message::{Ack, AlertUp, Beat, Bye, Command, CommandUp, CrossAck, CrossDone, CrossDown, CrossUp, Delta, Hello, Receipt};
use schemas::{DecodeError, pack};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/v1")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name).with_extension("hex");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: String = lines.flat_map(|line| line.split_whitespace()).collect();
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2), "{name}: not whole bytes");
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..][..2], 16).expect("two digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").expect("memory"));
        text + "\n"
    })
}

/// Both ways: the file decodes to the sample, and the sample encodes to the file.
macro_rules! same {
    ($name:literal, $sample:expr, $kind:ty) => {
        let written = $sample.encode();
        assert_eq!(hex(&read($name)), hex(&written), "{}: this version writes\n{}", $name, hex(&written));
        assert_eq!(<$kind>::decode(&written), Ok($sample), "{}", $name);
    };
}

#[test]
fn every_message_is_written_as_it_was() {
    same!("hello", sample::hello(), Hello);
    same!("hello-first", sample::hello_first(), Hello);
    same!("delta", sample::delta(), Delta);
    same!("delta-idle", sample::delta_idle(), Delta);
    same!("hello-of-group", sample::hello_of_group(), Hello);
    same!("delta-of-group", sample::delta_of_group(), Delta);
    same!("hello-wanting", sample::hello_wanting(), Hello);
    same!("cross-up", sample::cross_up(), CrossUp);
    same!("cross-ack", sample::cross_ack(), CrossAck);
    same!("cross-down", sample::cross_down(), CrossDown);
    same!("cross-done", sample::cross_done(), CrossDone);
    same!("ack-timed", sample::ack_timed(), Ack);
    same!("delta-timed", sample::delta_timed(), Delta);
    same!("delta-lost", sample::delta_lost(), Delta);
    same!("delta-past", sample::delta_past(), Delta);
    same!("alert", sample::alert_up(), AlertUp);
    same!("receipt", sample::receipt(), Receipt);
    same!("bye", sample::bye(), Bye);
    same!("ack", sample::ack(), Ack);
    same!("ack-busy", sample::ack_busy(), Ack);
    same!("ack-reads", sample::ack_reads(), Ack);
    same!("ack-hashed", sample::ack_hashed(), Ack);
    same!("delta-hashed", sample::delta_hashed(), Delta);
    same!("delta-holed", sample::delta_holed(), Delta);
    same!("delta-again", sample::delta_again(), Delta);
    same!("beat", Beat { format: 1, living: None }, Beat);
    same!("beat-living", Beat { format: 1, living: Some(0x4e58) }, Beat);
    same!("alert-noted", AlertUp { alert: sample::alert_noted(), ..sample::alert_up() }, AlertUp);
    same!("delta-tally", sample::delta_tally(), Delta);
    same!("alert-of-machine", AlertUp { alert: sample::alert_of_machine(), ..sample::alert_up() }, AlertUp);
    same!("delta-acts", sample::delta_acts(), Delta);
    same!("command", sample::command(), Command);
    same!("command-timed", sample::command_timed(), Command);
    same!("command-up", sample::command_up(), CommandUp);
}

/// A writer that did not yet know the field `readings`.
#[test]
fn a_field_that_is_missing_reads_as_its_default() {
    let ack = Ack::decode(&read("ack-without-readings"));
    assert_eq!(ack, Ok(Ack { readings: 0, ..sample::ack() }));
}

/// A writer that knows more fields than we do, in the same format.
#[test]
fn fields_of_the_future_are_skipped() {
    assert_eq!(Ack::decode(&read("ack-with-more")), Ok(sample::ack()));
    assert_eq!(Hello::decode(&read("hello-with-more")), Ok(sample::hello_wanting()));
    assert_eq!(Delta::decode(&read("delta-with-more")), Ok(sample::delta_acts()));
    assert_eq!(AlertUp::decode(&read("alert-with-more")), Ok(AlertUp { alert: sample::alert_noted(), ..sample::alert_up() }));
}

#[test]
fn a_format_of_the_future_is_refused() {
    assert_eq!(Bye::decode(&read("bye-format-2")), Err(DecodeError::Format(2)));
    assert_eq!(Hello::decode(&read("hello-format-2")), Err(DecodeError::Format(2)));
    assert_eq!(Delta::decode(&read("delta-format-2")), Err(DecodeError::Format(2)));
}

/// Lengths left open and integers longer than needed are as good as what we write.
#[test]
fn other_encoders_are_understood() {
    assert_eq!(Receipt::decode(&read("receipt-indefinite")), Ok(sample::receipt()));
}

/// Only read, not written: another release of zstd may find a shorter frame.
#[test]
fn packed_bytes_unpack() {
    assert_eq!(pack::decompress(&read("pack-zstd"), 1_000), Ok(b"tidegate ".repeat(40)));
    assert_eq!(pack::decompress(&read("pack-stored"), 1_000), Ok(b"tidegate".to_vec()));
    let written = sample::delta_packed().encode();
    assert_eq!(Delta::decode(&written), Ok(sample::delta_packed()));
    assert_eq!(Delta::decode(&read("delta-packed")), Ok(sample::delta_packed()), "this version writes\n{}", hex(&written));
}

#[test]
fn every_file_is_tested() {
    let here = include_str!("vectors.rs");
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .expect("the folder of vectors")
        .map(|file| file.expect("an entry").path().file_stem().expect("a name").display().to_string())
        .collect();
    let dead: Vec<_> = files.iter().filter(|name| !here.contains(&format!("(\"{name}\""))).collect();
    assert!(dead.is_empty() && files.len() >= 18, "{dead:?} of {files:?}");
}
