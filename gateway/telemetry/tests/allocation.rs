//! The promise of the hot path: usual payloads are read without allocating.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use telemetry::payload::parse;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no count any more.
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn usual_payloads_do_not_allocate() {
    let payloads: [&[u8]; 6] = [
        b"21.5\n",
        br#"{"value":21.5,"ts":1700000000000}"#,
        br#"{"value":21.5,"ts":1700000000000,"unit":"bar"}"#,
        br#"{"v":0.1234567890123456789,"time":"2023-11-14T22:13:20.5Z"}"#,
        br#"{"temperature":21.5,"humidity":40,"ok":true,"id":"a7","ts":1700000000}"#,
        b"on",
    ];
    let mut out = Vec::with_capacity(payloads.len() * 4);
    for payload in payloads {
        out.clear();
        let before = ALLOCATIONS.get();
        let read = parse(payload, &mut out);
        let after = ALLOCATIONS.get();
        assert!(read.is_ok());
        assert_eq!(after - before, 0, "{}", String::from_utf8_lossy(payload));
    }
}
