//! Bounds of this crate, each with its reason and what happens there.

/// Messages remembered per session for telling redeliveries (contract §3), eight bytes each, where there are few sessions:
/// MQTT 3.1.1 knows no receive maximum, so all packet identifiers may be in flight, as acknowledgements that lie unread
/// in a client's socket are lost with it.
pub const REDELIVERY_MESSAGES_MAX: usize = 65_535;

/// The same where there are many: more than the front door lets wait for their commit, some 2,000, and four times the
/// receive maximum that it announces in MQTT 5.
pub const REDELIVERY_MESSAGES_SHARE_LEAST: usize = 4_096;

/// Messages that all sessions share, beyond which each has [`REDELIVERY_MESSAGES_SHARE_LEAST`]: two MiB.
pub const REDELIVERY_MESSAGES_ALL: usize = 1 << 18;

/// Messages that are remembered however old they are (protocol §1: at least 1,024 readings).
pub const REDELIVERY_MESSAGES_LEAST: usize = 1_024;

/// Beyond the least, messages are remembered for this time in which the session sends, in ms, and at
/// most twice as long: longer than an answer takes before the connection is given up. So only a
/// session with more than some eight messages a second takes more than ten kilobytes.
pub const REDELIVERY_MS: i64 = 120_000;

/// Readings of messages with several that are remembered by themselves per session, so that some
/// of them in another message are known too; the message as a whole is anyway.
pub const REDELIVERY_READINGS_MAX: usize = 1_024;

const _: () = assert!(REDELIVERY_MESSAGES_LEAST < REDELIVERY_MESSAGES_SHARE_LEAST);

/// Uncompressed bytes that an interval aims at (protocol §4); `to` is cut below the next entry.
pub const INTERVAL_BYTES_AIM: usize = 256 * 1024;

/// An entry's share of [`INTERVAL_BYTES_AIM`] when it is planned, before columns shrink it.
pub const ENTRY_BYTES_GUESS: usize = 48;

/// How far ahead of the gateway's clock an event time may lie, in ms (contract §3); beyond, it is the arrival.
pub const FUTURE_MS_MAX: i64 = 5 * 60 * 1_000;

/// The latest event time that is believed where the gateway's clock was never set: 2100-01-01.
pub const UNSET_FUTURE_MS_MAX: i64 = 4_102_444_800_000;

/// Readings that wait for the clock to be set, some 60 bytes each: 500 a second for four minutes,
/// in which a device that has a network has the time. Those beyond keep the date of the log.
pub const UNDATED_READINGS_MAX: usize = 1 << 17;

/// Windows of one size that a series has open, some 350 bytes each; for one more, the one that
/// changed least lately is sealed before its time. A live series has two; a recording that is
/// sent as fast as it goes, or a sensor with a mad clock, would have thousands.
pub const OPEN_WINDOWS_MAX: usize = 64;

/// Sealed entries of one page, some 15 bytes each; twice as many are in memory as they are, some
/// 500 bytes each.
pub const PAGE_ENTRIES: usize = 2_048;

/// Marks of entries given up in one page, some 10 bytes each: pages go whole, and the least of an
/// interval must pass a narrow line.
pub const PAGE_MARKS: usize = 256;

/// Alerts of one page, some 50 bytes each; twice as many are in memory as they are, some 500 bytes
/// each. A page is read for each interval that carries some of it, so it is no longer than one interval's.
pub const PAGE_ALERTS: usize = 512;

/// Alerts without a receipt that the urgent lane knows, some 100 bytes each: the least severe and
/// oldest of more are left to their intervals. As many as the cloud takes ahead of those.
pub const ALERTS_WAITING_MAX: usize = ALERTS_AHEAD_MAX;

/// Intervals whose answers came too late, or are still to come, that are remembered: each of them
/// saves what it carried from going again.
pub const LATE_FLIGHTS_MAX: usize = 64;

/// Records that are offered to the cloud beyond the log's end: so many go by before the next
/// offer is logged, and what an outage adds beyond them can lose its names.
pub const OFFER_RECORDS: u64 = 64;

/// What the cloud counted and the log was not told of is told to it again after so long, in ms.
pub const RETELL_MS: i64 = 10_000;

/// Entries of a boot that the cloud is remembered to hold ahead of `applied`, some 50 bytes
/// each. Those beyond are sent once more.
pub const HELD_NAMES_MAX: usize = 1 << 16;

/// Entries and alerts that a second fold has ready for a cloud that lost them, some 15 and 50 bytes each in a page:
/// beyond, it waits until they are taken. More than one interval carries, so that none waits for it.
pub const HEALING_ENTRIES_MAX: u64 = 1 << 16;

/// While a cloud heals, the next interval is looked for after this time, in ms: what was sent
/// may have let the second fold go on.
pub const HEALING_PAUSE_MS: i64 = 50;

/// Entries in one block of an interval: so many read back whatever they hold
/// ([`telemetry::block::encode`]).
pub const INTERVAL_ENTRIES_MAX: usize = 4_096;

/// Bytes of an interval on the line, about: half of what a receiver takes, as alerts are weighed
/// by their bounds and columns do not tell their length before they are made.
pub const INTERVAL_BYTES_MAX: usize = schemas::limits::MESSAGE_BYTES_MAX / 2;

/// Alerts in one interval, bounded by its bytes first; the rest follows with the next.
pub const INTERVAL_ALERTS_MAX: usize = 4_096;

/// Acts on alarms in one interval, and on the urgent lane at once; the rest follows.
pub const INTERVAL_ACTS_MAX: usize = 512;

const _: () = assert!(INTERVAL_ALERTS_MAX <= schemas::limits::ALERTS_MAX && INTERVAL_ACTS_MAX <= schemas::limits::ACTS_MAX);
const _: () = assert!(INTERVAL_ENTRIES_MAX <= BLOCK_ENTRIES_MAX);

/// Acts on alarms that the cloud does not have; people do not do so much in an outage. More
/// are refused until the link is back.
pub const ACTS_HELD_MAX: usize = 4_096;

/// A command that the gateway does not answer is sent again after this time, in ms.
pub const COMMAND_WAIT_MS: i64 = 3_000;

/// Bytes of a string inside a record (a topic is at most 65,535).
pub const TEXT_BYTES_MAX: usize = 65_535;

/// Bytes of a stored configuration, a quarantined payload or a message from the wire.
pub const BLOB_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a snapshot: 100,000 series with their detectors stay well below.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// Bytes of the bridge's state without its windows: more is neither written nor read. A million boots
/// and series, and messages up to [`CROSS_DOWN_ALL_BYTES_MAX`], stay well below.
pub const STATE_BYTES_MAX: usize = 1 << 31;

/// Uncompressed bytes of the first interval on a connection, and the least that one aims at: on
/// a line of 50 bytes a second it is through before the connection is given up.
pub const INTERVAL_BYTES_FIRST: usize = 16 * 1024;
/// See [`INTERVAL_BYTES_FIRST`].
pub const INTERVAL_BYTES_LEAST: usize = 2 * 1024;

/// Intervals under way; beyond, the next waits for an answer. Eight hide a round trip ten times
/// as long as it takes to send one.
pub const FLIGHTS_MAX: usize = 8;

/// Bytes under way on the line; beyond, the next interval waits for an answer.
pub const FLIGHT_BYTES_MAX: usize = 1024 * 1024;

/// What an entry takes on the line before any was sent, in bytes.
pub const ENTRY_WIRE_BYTES_GUESS: usize = 24;

/// Round trips up to so much longer than the shortest, in ms, say that nothing queues: more may
/// be under way. Beyond [`QUEUE_MS`].1 less may, so that what is new does not wait behind what is old.
pub const QUEUE_MS: (i64, i64) = (250, 1_500);

/// How long to wait for an answer before any was measured, and the bounds afterwards, in ms (RFC 6298).
pub const ANSWER_MS: (i64, i64, i64) = (3_000, 1_000, 60_000);

/// A connection on which an answer is owed and nothing is heard is given up after so long, at
/// least and at most, in ms; the longer, the longer answers took before. Doubled each time that
/// it did not help, up to [`DEAF_MS_MAX`].
pub const DEAF_MS: (i64, i64) = (10_000, 60_000);
/// See [`DEAF_MS`].
pub const DEAF_MS_MAX: i64 = 240_000;

/// A gateway's intervals that the cloud turned down in a row, before the next waits for its turn:
/// two are a loss and what built on it.
pub const REFUSALS_MAX: u32 = 3;

/// Longest pause that a cloud may ask for, in ms.
pub const RETRY_AFTER_MS_MAX: i64 = 300_000;

/// Reconnecting waits at least and at most this long, in ms, with full jitter (protocol §4).
pub const BACKOFF_MS: (i64, i64) = (1_000, 30_000);

/// Attempts in a row that need not wait because something is urgent; one comes back each [`HURRY_MS`].
pub const HURRIES_MAX: i64 = 3;
/// See [`HURRIES_MAX`].
pub const HURRY_MS: i64 = 5_000;

/// What a byte budget saves up while nothing goes, as time of its rate in ms.
pub const BUDGET_DEPTH_MS: i64 = 100;
/// What one interval may take of it: over any ten seconds the rate is kept within 4 %.
pub const BUDGET_SLICE_MS: i64 = 250;
/// What critical alerts may overdraw, so that all else is back after so long.
pub const BUDGET_DEBT_MS: i64 = 10_000;

/// Entries of newest windows that go for each one of the backlog, while both wait.
pub const LIVE_PER_BACKLOG: u64 = 3;
/// Windows of each size of a series that are its newest: the last, and one whose end is near.
pub const LIVE_WINDOWS: usize = 2;

/// Alerts on their way without a receipt; the next wait.
pub const ALERTS_FLYING_MAX: usize = 128;

/// An alert without a receipt after so long is told at the plant, in ms.
pub const UNHEARD_MS: i64 = 10_000;

/// How long after the log refused that word it is tried again.
pub const UNHEARD_RETRY_MS: i64 = 1_000;

/// An idle gateway tells its clock this often, in ms, so that windows of series that it
/// shares with others become complete.
pub const IDLE_FRONTIER_MS: i64 = 30_000;

/// Clocks of gateway and cloud that are so near each other, in ms, are the same: what a message takes on its way is
/// not told from a difference.
pub const SKEW_MS: i64 = 2_000;

/// For so long, in ms, a message that shows a gateway's clock further behind than another did was long on its way.
pub const SKEW_STANDS_MS: i64 = 60_000;

/// Gateways of one bridge; a message of one more is ignored with a warning. Strangers can invent names.
pub const GATEWAYS_MAX: usize = 100_000;

/// Boots of all gateways; kept for good, some 300 bytes each. An interval of one more is not taken.
pub const SOURCES_MAX: usize = 1 << 22;

/// Marks of one boot of versions beyond `applied`, some 100 bytes each. `applied` follows the marks
/// of a gateway that keeps the protocol; of one that does not, no more are taken for so long, in ms.
pub const MARKS_HELD_MAX: usize = 1 << 18;
/// See [`MARKS_HELD_MAX`].
pub const MARKS_WAIT_MS: u64 = 60_000;

/// Series of one gateway, which is configured to define no more. Of one that does, intervals are not taken.
pub const GATEWAY_SERIES_MAX: usize = 1 << 20;

/// Alerts of one boot beyond `applied` that the urgent lane brought. One more gets no receipt;
/// the interval that covers it brings it.
pub const ALERTS_AHEAD_MAX: usize = 1 << 16;

/// Entries of one window: a late reading each opens one. More are counted, not merged.
pub const WINDOW_ENTRIES_MAX: usize = 1 << 15;

/// Entries in one block of an interval; a gateway aims at far fewer.
pub const BLOCK_ENTRIES_MAX: usize = 1 << 16;

/// Windows in one round of publishing; the rest follows with the next.
pub const ROUND_WINDOWS_MAX: usize = 4_096;

/// Windows that the short ones of one round are added up from, a microsecond each in memory and ten from
/// the store: whoever is heard meanwhile waits.
pub const ROUND_PARTS_MAX: i64 = 1 << 16;

/// A window that may be added up from so many others is published when there is time for it.
pub const LONG_PARTS: i64 = 256;

/// Windows that such ones are added up from in a second: about a fifth of a core, where they are in memory.
pub const ROUND_PARTS_PER_S: i64 = 200_000;

/// Spans of windows that lack readings, for each gateway, series and size; more are joined.
pub const LACKING_SPANS_MAX: usize = 64;

/// Windows of many parts of which it is remembered which parts came, some 100 bytes each. Of others
/// all are looked for.
pub const SPANS_MAX: usize = 1 << 17;

/// Windows changed in memory before they are written, some 450 bytes each. As many again may be under
/// way to the store, and as many change meanwhile; beyond, records wait.
pub const CHANGED_WINDOWS_MAX: usize = 1 << 14;

/// Windows in memory that the store has as they are, some 450 bytes each: those that were written or
/// asked for last. Beyond, they are read again.
pub const CLEAN_WINDOWS_MAX: usize = 1 << 16;

/// So many of those leave the memory together.
pub const GENERATION_WINDOWS: usize = CLEAN_WINDOWS_MAX / 8;

/// Bytes of ordinary messages in one message of the link; a longer one goes alone.
pub const CROSS_BATCH_BYTES: u64 = 256 * 1024;
/// The first batch on a connection, and the least: a slow line must be through with one before the
/// connection is taken for dead.
pub const CROSS_BATCH_BYTES_FIRST: u64 = 16 * 1024;
/// See [`CROSS_BATCH_BYTES_FIRST`].
pub const CROSS_BATCH_BYTES_LEAST: u64 = 1024;
/// A batch that is answered sooner may be followed by one of twice the size, in ms; one that is
/// answered later than the second figure by one of half the size.
pub const CROSS_ANSWER_MS: (i64, i64) = (1_000, 3_000);
/// How long a batch may stay without an answer before it goes again, in ms, at first and at most:
/// doubled each time, as it may only be under way still.
pub const CROSS_WAIT_MS: (i64, i64) = (5_000, 300_000);

/// The slowest line, in bytes per second, for which the wait for an answer is long enough that nothing goes
/// twice: what has left may still be in buffers on the way.
pub const CROSS_RATE_LEAST: u64 = 8 * 1024;

/// Bytes of ordinary messages that wait at the cloud for one gateway; beyond, the oldest is given up and counted.
pub const CROSS_DOWN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The same of all gateways together, each copy counted: beyond, those for which most waits give up. They
/// are in the bridge's state, which is copied as a whole whenever it is written.
pub const CROSS_DOWN_ALL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Bytes of ordinary messages of gateways that no broker is known to have taken, those in the log included: beyond,
/// the next stay at their gateways. They are in the bridge's state, too. A subscriber that is away
/// holds them up for a minute; so some 2 MB a second come through while there is one.
pub const CROSS_UP_PENDING_BYTES_MAX: u64 = 128 * 1024 * 1024;

const _: () = assert!(CROSS_UP_PENDING_BYTES_MAX + CROSS_DOWN_ALL_BYTES_MAX < STATE_BYTES_MAX as u64 / 4);

/// Boots of the cloud whose last message a gateway remembers. Only a cloud restored from a backup older than so many
/// starts would repeat one.
pub const CROSS_SOURCES_MAX: usize = 64;

/// Messages at a broker alone that may still come back by our own subscription; beyond, the oldest would be taken
/// for another's, and cross once more.
pub const CROSS_ECHOES_MAX: usize = 10_000;

/// A gateway that is connected gives a sign of life this often, in ms, whatever else it says: so
/// the cloud tells a quiet one from one that is gone, within 15 s (contract §4).
pub const HEARTBEAT_MS: i64 = 5_000;

/// Starts of the gateway that it can tell about, for who asks why an alert was raised; more are in the log.
pub const STARTS_MAX: usize = 20;

/// Changes of one start that it names; more are counted.
pub const CHANGES_MAX: usize = 32;

/// Numbers of intervals sent that are remembered, to tell from another's that the cloud took last.
/// Those of hours: an ack that is heard speaks of one sent lately.
pub const SENT_REMEMBERED_MAX: usize = 4_096;
