//! The hot path does not allocate: a reading that raises nothing costs no heap.

use detect::{LimitRule, Pattern, Settings};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_reading_that_raises_nothing_allocates_nothing() {
    let rule = LimitRule {
        series: Pattern::new("**"),
        high_high: Some(95.0),
        high: Some(85.0),
        low: Some(5.0),
        deadband: 1.0,
        on_delay_ms: 1_000,
        off_delay_ms: 1_000,
        ..LimitRule::default()
    };
    let settings = Settings { limits: vec![rule], ..Settings::default() };
    let mut watch = settings.watch("line1/press3/temperature", Some("°C"));
    let mut out = Vec::new();
    let before = ALLOCATIONS.with(Cell::get);
    for i in 0..10_000_i64 {
        let value = 20.0 + f64::from((i * 7_919 % 13) as i32) / 10.0;
        watch.observe(i * 1_000, i * 1_000, value, &mut out);
        watch.due();
    }
    assert_eq!(out, []);
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
}
