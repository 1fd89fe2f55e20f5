//! Bytes from strangers: no panic, and no more memory than their length and our bounds allow.
//! An allocator that counts, per thread, sees what a decoder really asks for.

use proptest::prelude::*;
use schemas::limits::MESSAGE_BYTES_MAX;
use schemas::message::{Ack, AlertUp, Bye, Command, CommandUp, Delta, Hello, Receipt};
use schemas::{DecodeError, cbor, pack, wire};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: isize) {
    // A thread that ends has no counters any more; what it frees then is nobody's peak.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `f` held at its highest, beyond those before.
fn peak(f: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    f();
    (PEAK.get() - before) as usize
}

fn decode_all(bytes: &[u8]) {
    let _ = Hello::decode(bytes);
    let _ = Delta::decode(bytes);
    let _ = AlertUp::decode(bytes);
    let _ = Receipt::decode(bytes);
    let _ = Bye::decode(bytes);
    let _ = Ack::decode(bytes);
    let _ = Command::decode(bytes);
    let _ = CommandUp::decode(bytes);
}

/// Memory that `length` bytes may cost: some for errors and small vectors, and 64 each.
fn allowed(length: usize) -> usize {
    16 * 1024 + 64 * length
}

fn vector(name: &str) -> Vec<u8> {
    let text = match name {
        "hello" => include_str!("../vectors/v1/hello.hex"),
        "delta" => include_str!("../vectors/v1/delta-acts.hex"),
        "command-up" => include_str!("../vectors/v1/command-up.hex"),
        _ => include_str!("../vectors/v1/alert.hex"),
    };
    let digits: String = text.lines().filter(|l| !l.starts_with('#')).collect();
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..][..2], 16).expect("hex")).collect()
}

/// A delta whose field `key` is `list`, and nothing else.
fn only(key: u8, list: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xa1];
    bytes.extend(if key < 24 { vec![key] } else { vec![0x18, key] });
    bytes.extend_from_slice(list);
    bytes
}

#[test]
fn lists_of_small_elements_stay_within_their_bounds() {
    let definition = [0xa2, 0x00, 0x00, 0x01, 0x60];
    let mark = [0xa7, 0, 0, 1, 1, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0];
    let room = MESSAGE_BYTES_MAX - 16;
    for (key, element) in [(12, &definition[..]), (15, &[0xa0]), (16, &mark), (17, &[0x01]), (19, &[0xa0])] {
        for (open, close) in [(vec![0x9f], vec![0xff]), (vec![], vec![])] {
            let count = room / element.len();
            let head = if open.is_empty() { [vec![0x9a], (count as u32).to_be_bytes().to_vec()].concat() } else { open };
            let bytes = only(key, &[head, element.repeat(count), close].concat());
            assert!(bytes.len() <= MESSAGE_BYTES_MAX);
            let peak = peak(|| assert!(matches!(Delta::decode(&bytes), Err(DecodeError::Cbor(_)))));
            assert!(peak < 24 << 20, "field {key}: {peak} bytes");
        }
    }
}

#[test]
fn lengths_that_lie_cost_nothing() {
    for major in [0x40u8, 0x60, 0x80, 0xa0] {
        for (size, argument) in [(0x1a, vec![0x7f; 4]), (0x1b, vec![0x7f; 8]), (0x1b, vec![0xff; 8])] {
            for key in 0..20 {
                let bytes = only(key, &[vec![major | size], argument.clone()].concat());
                let peak = peak(|| decode_all(&bytes));
                assert!(peak < 4_096, "{bytes:02x?}: {peak} bytes");
            }
        }
    }
}

#[test]
fn a_message_beyond_its_bound_is_not_looked_at() {
    let bytes = vec![0x9f; MESSAGE_BYTES_MAX + 1];
    let refused = DecodeError::TooLong { length: bytes.len() as u64, max: MESSAGE_BYTES_MAX };
    let peak = peak(|| assert_eq!(Delta::decode(&bytes), Err(refused)));
    assert_eq!(peak, 0);
}

/// A frame of a few bytes that unpacks to very many is refused by what it claims.
#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = pack::compress(&vec![0; 64 << 20]);
    assert!(bomb.len() < 10_000);
    let peak = peak(|| assert!(matches!(pack::decompress(&bomb, 1 << 20), Err(DecodeError::TooLong { .. }))));
    assert!(peak < 4_096, "{peak} bytes");
}

#[test]
fn many_small_items_are_counted_before_they_are_made() {
    let bytes = [vec![0x9f], [0xa1, 0x00, 0x00].repeat(80_000), vec![0xff]].concat();
    let peak = peak(|| assert!(matches!(cbor::value(&bytes, 1_000), Err(DecodeError::TooLong { .. }))));
    assert_eq!(peak, 0);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let peak = peak(|| decode_all(&bytes));
        prop_assert!(peak <= allowed(bytes.len()), "{} bytes", peak);
    }

    /// Most arbitrary bytes fail at once; damaged messages get far into the decoder.
    #[test]
    fn damaged_messages_are_refused_or_read(
        name in prop::sample::select(vec!["hello", "delta", "alert"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let mut bytes = vector(name);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        let peak = peak(|| decode_all(&bytes));
        prop_assert!(peak <= allowed(bytes.len()), "{} bytes", peak);
    }

    /// What decodes is within the bounds, so it reads back from what we would write.
    #[test]
    fn what_is_accepted_is_written_again(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = vector("delta");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(delta) = Delta::decode(&bytes) {
            let again = delta.encode();
            // Compared as bytes: a damaged double may be NaN, which equals nothing.
            prop_assert_eq!(Delta::decode(&again).map(|d| d.encode()), Ok(again));
        }
    }

    #[test]
    fn readers_never_overrun(bytes in prop::collection::vec(any::<u8>(), 0..100), calls in prop::collection::vec(0u8..8, 0..50)) {
        let mut reader = wire::Reader::new(&bytes);
        let mut peak_of_all = 0;
        for call in calls {
            let before = reader.remaining();
            peak_of_all = peak_of_all.max(peak(|| match call {
                0 => drop(reader.u8()),
                1 => drop(reader.varint()),
                2 => drop(reader.zigzag()),
                3 => drop(reader.f64()),
                4 => drop(reader.u64()),
                5 => drop(reader.bytes(1 << 40)),
                6 => drop(reader.str(16)),
                _ => drop(reader.take(usize::MAX)),
            }));
            prop_assert!(reader.remaining() <= before);
        }
        prop_assert_eq!(peak_of_all, 0);
    }
}
