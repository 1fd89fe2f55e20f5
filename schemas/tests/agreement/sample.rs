//! One message of each kind, no two fields of one alike, so that a swap shows.

use schemas::message::{
    Ack, Act, AlarmNote, AlertBody, AlertKey, AlertUp, Answer, Bye, Command, CommandUp, Contributor, CrossAck, CrossDone, CrossDown,
    CrossUp, Crossed, Definition, Delta, FORMAT, Hello, Receipt, ShedMark, Tally, Wanted,
};

pub const BOOT: u64 = 0x9f3c_2b7a_11d0_4e58;
pub const CLOUD: u64 = 0x0102_0304_0506_0708;

pub fn hello() -> Hello {
    Hello {
        format: FORMAT,
        gateway: "plant-a".into(),
        boot: BOOT,
        parent: Some((0x1122_3344_5566_7788, 90_210)),
        sizes: vec![10_000, 60_000],
        grace_ms: 2_000,
        every_ms: 5_000,
        clock_ms: 1_700_000_000_123,
        version: "0.1.0".into(),
        group: None,
        wanted: vec![],
    }
}

/// The first boot of a gateway has no parent.
pub fn hello_first() -> Hello {
    Hello { parent: None, sizes: vec![250], ..hello() }
}

pub fn definition() -> Definition {
    Definition { number: 7, name: "line1/press3/temperature".into(), unit: Some("°C".into()) }
}

pub fn shed_mark() -> ShedMark {
    ShedMark { series: 7, size_ms: 10_000, start_ms: 1_699_990_000_000, born: 1_201, shed_seq: 4_650, version: 1_260, count: 60 }
}

pub fn alert() -> AlertBody {
    AlertBody {
        boot: BOOT,
        seq: 4_711,
        ordinal: 3,
        series: "line1/press3/temperature".into(),
        severity: 2,
        kind: "spike".into(),
        state: 1,
        time_ms: 1_700_000_003_000,
        value: 97.2,
        limit: Some(95.0),
        unit: Some("°C".into()),
        message: "97.2 °C is 9.1 deviations from 21.5 °C".into(),
        score: Some(9.1),
        baseline: Some(21.5),
        alarm: None,
        contributors: Vec::new(),
    }
}

pub fn note() -> AlarmNote {
    AlarmNote { at_ms: 1_700_000_003_250, held: 1, count: 9, flags: 6, group: Some((BOOT, 4_705, 1)) }
}

/// As written by a gateway with an alarm list.
pub fn alert_noted() -> AlertBody {
    AlertBody { alarm: Some(note()), ..alert() }
}

pub fn contributor() -> Contributor {
    Contributor { series: "line1/press3/temperature".into(), value: 97.2, usual: 21.5, sigma: 0.3 }
}

/// An alert of a machine, with who contributes.
pub fn alert_of_machine() -> AlertBody {
    AlertBody { series: "line1/press3".into(), kind: "group".into(), unit: None, limit: None, contributors: vec![contributor()], ..alert() }
}

pub fn alert_key() -> AlertKey {
    AlertKey { at_ms: 1_700_000_003_250, boot: BOOT, seq: 4_711, ordinal: 3 }
}

pub fn act() -> Act {
    Act {
        id: 0xfeed_0000_0000_0001,
        verb: 1,
        series: "line1/press3/temperature".into(),
        kind: "high-high".into(),
        time_ms: 1_700_000_060_000,
        by: "jo".into(),
        reason: "being repaired".into(),
        until_ms: 1_700_001_860_000,
        seen: alert_key(),
    }
}

pub fn command() -> Command {
    Command { format: FORMAT, not_after_ms: 1_700_604_860_000, act: act(), sent_ms: 0 }
}

pub fn command_timed() -> Command {
    Command { sent_ms: 1_700_000_060_123, ..command() }
}

pub fn answer() -> Answer {
    Answer { id: 0xfeed_0000_0000_0002, outcome: 1 }
}

pub fn command_up() -> CommandUp {
    CommandUp { format: FORMAT, boot: BOOT, acts: vec![act()], answers: vec![answer()] }
}

/// An interval with what people did in it.
pub fn delta_acts() -> Delta {
    Delta { alerts: vec![alert_noted()], acts: vec![act()], ..delta() }
}

pub fn delta() -> Delta {
    let plain = AlertBody {
        ordinal: 4,
        severity: 0,
        state: 0,
        kind: "high-high".into(),
        limit: None,
        unit: None,
        message: "97.2 is above the limit".into(),
        score: None,
        baseline: None,
        ..alert()
    };
    Delta {
        format: FORMAT,
        boot: BOOT,
        from: 4_600,
        to: 4_800,
        cloud_boot: CLOUD,
        number: 12,
        frontier_ms: 1_700_000_010_500,
        ended: true,
        readings_to: 4_500,
        accepted: 5_000,
        local: 30,
        complete_from: 1_000,
        defs: vec![definition(), Definition { number: 8, name: "größe".into(), unit: None }],
        entries: vec![0, 1, 2, 3],
        ahead: vec![0, 9],
        alerts: vec![alert(), plain],
        marks: vec![shed_mark()],
        sizes: vec![10_000, 60_000],
        grace_ms: 2_000,
        ..Delta::default()
    }
}

pub fn tally() -> Tally {
    Tally { duplicates: 3, refused: vec![70, 0, 2] }
}

/// An interval of a gateway that refused some.
pub fn delta_tally() -> Delta {
    Delta { tally: Some(tally()), ..delta_idle() }
}

/// A member of a redundancy group: every field there is.
pub fn hello_of_group() -> Hello {
    Hello { group: Some("cell-4".into()), ..hello() }
}

/// One with bridges inwards.
pub fn hello_wanting() -> Hello {
    Hello { wanted: vec![wanted()], ..hello_of_group() }
}

pub fn wanted() -> Wanted {
    Wanted { filter: "plants/plant-a/orders/#".into(), ttl_ms: 86_400_000 }
}

pub fn crossed() -> Crossed {
    Crossed { boot: BOOT, seq: 4_712, topic: "plants/plant-a/events/door".into(), payload: b"open".to_vec(), qos: 2, retain: true }
}

pub fn cross_up() -> CrossUp {
    let second = Crossed { seq: 4_720, payload: vec![], qos: 0, retain: false, ..crossed() };
    CrossUp { format: FORMAT, lane: 2, messages: vec![crossed(), second], given_up: 5, expired: 7 }
}

pub fn cross_ack() -> CrossAck {
    CrossAck { format: FORMAT, boot: BOOT, lane: 2, applied: 4_720 }
}

pub fn cross_down() -> CrossDown {
    CrossDown { format: FORMAT, messages: vec![Crossed { boot: CLOUD, ..crossed() }] }
}

pub fn cross_done() -> CrossDone {
    CrossDone { format: FORMAT, boot: CLOUD, seq: 4_712 }
}

/// The same of an interval.
pub fn delta_of_group() -> Delta {
    Delta { group: Some("cell-4".into()), ..delta() }
}

/// What an idle gateway says: nothing but its clock.
pub fn delta_idle() -> Delta {
    Delta {
        from: u64::MAX,
        to: u64::MAX,
        cloud_boot: 0,
        ended: false,
        frontier_ms: -1,
        defs: vec![],
        entries: vec![],
        ahead: vec![],
        alerts: vec![],
        marks: vec![],
        sizes: vec![],
        ..delta()
    }
}

pub fn alert_up() -> AlertUp {
    AlertUp { format: FORMAT, alert: alert() }
}

pub fn receipt() -> Receipt {
    Receipt { format: FORMAT, boot: BOOT, seq: 4_711, ordinal: 3, cloud_boot: CLOUD }
}

pub fn bye() -> Bye {
    Bye { format: FORMAT, boot: BOOT }
}

pub fn ack() -> Ack {
    Ack {
        format: FORMAT,
        boot: BOOT,
        number: 12,
        applied: 4_800,
        cloud_boot: CLOUD,
        ahead: true,
        shed: 60,
        need_defs: false,
        readings: 4_500,
        clock_ms: 0,
        retry_after_ms: None,
        reads: 0,
        hash: 0,
        last: 0,
    }
}

/// The same with the clocks told.
pub fn ack_timed() -> Ack {
    Ack { clock_ms: 1_700_000_000_456, ..ack() }
}

/// Of a cloud that has too much to do.
pub fn ack_busy() -> Ack {
    Ack { retry_after_ms: Some(5_000), ..ack_timed() }
}

/// Of a cloud that reads more than the first format.
pub fn ack_reads() -> Ack {
    Ack { reads: 1, ..ack_busy() }
}

/// Of one that knows the hash of what it has.
pub fn ack_hashed() -> Ack {
    Ack { hash: 0x8b7d_1f00_52ac_99e1, last: 12, ..ack_reads() }
}

/// To such a cloud: an alert, marks, and an alert that is only named.
pub fn delta_packed() -> Delta {
    Delta { named: vec![(4_712, 1), (4_715, 0)], packs: true, ..delta() }
}

pub fn delta_timed() -> Delta {
    Delta { sent_ms: 1_700_000_010_789, clock: 2, ..delta_of_group() }
}

/// After damage, and with a log that was cut.
pub fn delta_lost() -> Delta {
    Delta { lost: 17, readings_from: 3_001, ..delta_timed() }
}

/// The same of a boot that is told again to a cloud that lost it.
pub fn delta_past() -> Delta {
    Delta { past: true, ..delta_lost() }
}

/// With the running hashes of its log.
pub fn delta_hashed() -> Delta {
    Delta { hash_from: 0x8b7d_1f00_52ac_99e1, hash_to: 0x0412_c3d0_77aa_0b9e, after: 11, ..delta_past() }
}

/// As written by a gateway whose log is damaged in the middle of the boot.
pub fn delta_holed() -> Delta {
    Delta { holed: true, ..delta_hashed() }
}

/// To a cloud that was restored from a backup.
pub fn delta_again() -> Delta {
    Delta { again: true, ..delta_holed() }
}
