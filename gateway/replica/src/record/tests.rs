use super::readings::SCALES;
use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_reading_reads_back_bit_for_bit(series: u32, time in -1i64<<50..1<<50, clock in 0i64..1<<50, bits: u64) {
        let value = f64::from_bits(bits);
        let mut out = Vec::new();
        put_reading(&mut out, series, time, clock, value);
        let mut back = Vec::new();
        Readings { bytes: &out }.for_each(clock, |s, t, v| back.push((s, t, v.to_bits()))).unwrap();
        prop_assert_eq!(back, vec![(series, time, value.to_bits())]);
    }

    #[test]
    fn a_decimal_is_short(m in -100_000i64..100_000, scale in 0usize..4) {
        let value = m as f64 / SCALES[scale];
        let mut out = Vec::new();
        put_reading(&mut out, 3, 0, 0, value);
        prop_assert!(out.len() <= 5);
    }

    #[test]
    fn whatever_is_kept_of_a_message_that_is_no_reading_reads_back(reason in 65_500usize..65_600, topic in 65_500usize..65_600) {
        let (reason, topic) = (format!("{}é", "r".repeat(reason)), format!("{}é", "t".repeat(topic)));
        let mut out = Vec::new();
        Record::Quarantined { refusal: Refusal::Payload, reason: &reason, topic: &topic, payload: b"x", session: 1, packet_id: 2 }.encode(5, &mut out);
        let (_, read) = Record::decode(8, &out).unwrap();
        let Record::Quarantined { reason: r, topic: t, payload: b"x", session: 1, packet_id: 2, .. } = read else { panic!("{read:?}") };
        prop_assert!(reason.starts_with(r) && topic.starts_with(t) && r.len().min(t.len()) > 65_490);
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind: u8, bytes: Vec<u8>) {
        if let Ok((_, Record::Message { readings, .. })) = Record::decode(kind, &bytes) {
            let _ = readings.for_each(0, |_, _, _| ());
        }
    }
}

const PLAIN: Plain<'static> = Plain { topic: "t/x", payload: b"p", qos: 2, retain: true };

#[test]
fn every_kind_reads_back() {
    let request =
        Request { id: 7, verb: detect::alarm::Verb::Shelve, series: "a/b", kind: "high", by: "jo", reason: "why", for_ms: 60_000 };
    let records = [
        Record::Boot { boot: 7, parent: Some((6, 99)), config: b"c" },
        Record::Tick,
        Record::Away { leapt_ms: 0 },
        Record::Away { leapt_ms: 7_200_000 },
        Record::ClockSet { behind_ms: -7 },
        Record::Series { number: 1, name: "a/b", unit: Some("°C") },
        Record::Unit { number: 1, unit: "bar" },
        Record::Message { flags: FLAG_PACKET_ID | FLAG_LEAVES, session: 4, packet_id: 9, readings: Readings { bytes: &[16, 0, 2] } },
        Record::Duplicate { session: 1, count: 2, packet_id: 3 },
        Record::Refused { reason: Refusal::Series, count: 5 },
        Record::Quarantined { refusal: Refusal::Series, reason: "r", topic: "t", payload: b"x", session: 1, packet_id: 0 },
        Record::Session { number: 2, event: SessionEvent::Subscribed { filter: "a/#", options: 1, identifier: Some(3) } },
        Record::Acked { boot: 1, applied: 2, cloud_boot: 3, shed: 4, readings: 5, hash: 6 },
        Record::Forked { boot: 1, at: 2, readings: 3 },
        Record::Receipt { boot: 1, seq: 2, ordinal: 3 },
        Record::Unheard { count: 4, oldest: (1, 2, 3) },
        Record::Shown { lsn: 8, unheld: 0, behind: Behind::default() },
        Record::Shown { lsn: 8, unheld: 300, behind: Behind::default() },
        Record::Shown { lsn: 8, unheld: 0, behind: Behind { numbers: Numbers { bytes: &[3, 5] } } },
        Record::Shed { boot: 4, version: 5 },
        Record::Told { boot: 4, cloud_boot: 5, pages: Numbers { bytes: &[1, 2] } },
        Record::Lost { page: 6 },
        Record::Interval { gateway: "g", bytes: b"b" },
        Record::Crossed { lane: 1, ttl_ms: 60_000, message: PLAIN, session: 3, packet_id: 9 },
        Record::CrossAcked { boot: 7, lane: 2, applied: 300 },
        Record::CrossReceived { boot: 7, seq: 8, message: PLAIN },
        Record::Session {
            number: 2,
            event: SessionEvent::Will(LastWill { message: PLAIN, delay_s: 60, expiry_s: Some(0), properties: b"p" }),
        },
        Record::Session { number: 2, event: SessionEvent::Will(LastWill { message: PLAIN, delay_s: 0, expiry_s: None, properties: b"" }) },
        Record::Session { number: 2, event: SessionEvent::WillOver { lsn: 300 } },
        Record::CrossShown { lsn: 4, unheld: 0 },
        Record::CrossShown { lsn: 4, unheld: 300 },
        Record::CrossUp { gateway: "g", bytes: b"b" },
        Record::CrossIn { message: PLAIN, session: 0, packet_id: 0 },
        Record::CrossDone { gateway: "g", boot: 7, seq: 8 },
        Record::Round,
        Record::Cursor { lsn: 3 },
        Record::Asked { request },
        Record::Commanded { bytes: b"c" },
        Record::AskedAt { gateway: "g", request },
        Record::CommandUp { gateway: "g", bytes: b"b" },
    ];
    for record in records {
        let mut out = Vec::new();
        record.encode(5, &mut out);
        assert_eq!(Record::decode(record.kind(), &out).unwrap(), (5, record));
    }
}

#[test]
fn a_reason_that_was_written_beyond_its_bound_reads_back_shortened() {
    let mut out = vec![5];
    wire::put_str(&mut out, &"r".repeat(70_000));
    wire::put_str(&mut out, "t");
    wire::put_bytes(&mut out, b"x");
    out.extend([1, 2]);
    let (_, Record::Quarantined { refusal, reason, topic: "t", payload: b"x", session: 1, packet_id: 2 }) =
        Record::decode(8, &out).unwrap()
    else {
        panic!("another record")
    };
    assert_eq!((refusal, reason.len()), (Refusal::Payload, 65_535), "as the first programs wrote it");
}
