//! Bounds of the gateway, each with its reason and what happens there.

use std::time::Duration;

/// Topics remembered per connection; at the bound the memory starts anew. A sensor has few.
pub const TOPICS_CACHED_MAX: usize = 4_096;

/// And their bytes: at the bound likewise. A topic of a sensor has some 40.
pub const TOPICS_CACHED_BYTES_MAX: usize = 512 * 1024;

/// Bytes of a topic that is remembered; what a longer one means is found anew each time.
pub const TOPIC_CACHED_BYTES_MAX: usize = 512;

/// Bytes of one payload kept in quarantine: enough to see what it was.
pub const QUARANTINE_PAYLOAD_BYTES_MAX: usize = 4_096;

/// Bytes of payloads kept in quarantine over the life of the log; beyond, they are counted only.
pub const QUARANTINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Events waiting for the fold; a full queue holds the journal, and that the sensors.
pub const EVENTS_MAX: usize = 256;

/// Bytes of frames waiting for the fold: what waits at full load is folded in a tenth of a second
/// or so, and an alert is not later than that.
pub const FRAMES_BYTES_MAX: usize = 2 << 20;

/// How long the fold takes events before it looks at all else that is due.
pub const ROUND_MAX: Duration = Duration::from_millis(20);

/// How long a stop waits for the last snapshot.
pub const SNAPSHOT_WAIT: Duration = Duration::from_millis(1_500);

/// How long a stop waits until it is logged what clients had taken before they left.
pub const LEFT_WAIT: Duration = Duration::from_millis(500);

/// A snapshot is written after this many records, so that a start replays no more, by and large.
pub const SNAPSHOT_RECORDS: u64 = 400_000;

/// Bytes of pages in memory, 15 for each sealed entry: beyond, a snapshot is written before its
/// time, which moves them to the log's parts.
pub const PAGES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A snapshot is written after this part of the log's limit too, so that what lies behind it
/// can go before room runs out.
pub const SNAPSHOT_SHARE: u64 = 16;

/// A snapshot is written after this time too, so that the log of a small plant can be cut by age.
pub const SNAPSHOT_AGE: Duration = Duration::from_secs(3_600);

/// Least time between two snapshots that are written before their time.
pub const SNAPSHOT_PAUSE: Duration = Duration::from_secs(2);

/// The same while the log is near its limit: what a snapshot frees is needed.
pub const SNAPSHOT_PAUSE_PRESSED: Duration = Duration::from_millis(200);

/// How long the log is folded again in one go for a cloud that lost what it had: an alert waits no
/// longer for it.
pub const HEALING_SLICE: Duration = Duration::from_millis(3);

/// Segments for which the log keeps room beside what is held for the cloud: the one that is
/// written, the next, and what comes while a snapshot is made.
pub const ROOM_SEGMENTS: u64 = 4;

/// How long after its start a gateway gives nothing up as long as there is room for two segments: a link that is back
/// connects within a second or two, and drains some tens of thousands of windows in each.
pub const LINK_CHANCE: Duration = Duration::from_secs(30);

/// What is given up at once, as a part of the log's limit: so much that it is rarely needed again.
pub const SHED_SHARE: u64 = 32;

/// What marks of windows given up may take, as a part of the log's limit and in bytes: beyond, the
/// oldest that the cloud can have nothing of lose their names and are counted together.
pub const MARKS_SHARE: u64 = 8;
/// See [`MARKS_SHARE`].
pub const MARKS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Messages waiting for the uplink's sockets.
pub const LINK_REQUESTS_MAX: usize = 1_024;

/// Bytes of one message on the uplink: an interval aims at 256 KiB before compression.
pub const LINK_PACKET_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Reconnecting to a plant's broker waits at least and at most this long, in ms, with full jitter.
pub const BACKOFF_MS: (u64, u64) = (1_000, 30_000);

/// Keep-alive of the connection for ordinary messages to a broker alone: one of them, which goes whole, must pass the
/// line within about twice as long, or the connection is taken for dead. Nobody's presence hangs on it.
pub const CROSS_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The same to a bridge: a message may take as long as one write ([`FLUSH_WAIT_S`]). That a line is dead the uplink
/// finds out in seconds, for both.
pub const CROSS_KEEP_ALIVE_BRIDGE: Duration = Duration::from_secs(FLUSH_WAIT_S / 2);

/// Bytes of messages of a broker alone that wait for a log that takes none now; beyond, the connection is given
/// up, and they come again with the next.
pub const CROSS_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a broker alone may take for the next acknowledgement of what it was sent; then the connection
/// is given up. Longer than the line may take for one message, see [`CROSS_KEEP_ALIVE`].
pub const CROSS_ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Messages from the cloud that our subscribers may have before them before the next wait, durably: as many as a
/// line's round trip needs, and far fewer than a subscriber's queue takes. Half of [`CROSS_GIVEN_BYTES_MAX`] is as much.
pub const CROSS_GIVEN_WINDOW: usize = 1_024;

/// How long they are waited for. Who comes back within this time after a crash, or takes more than some 200
/// messages and 1.6 MiB a second, misses nothing, however much comes; others as long as their queue has room.
pub const CROSS_GIVEN_PAUSE: Duration = Duration::from_secs(5);

/// How long a message is kept for a crash until each subscriber has it: who is away longer than this may miss
/// it, if the process then ends, and it is counted. As the bridge does; longer, and each crash would repeat very old ones.
pub const CROSS_GIVEN_WAIT: Duration = Duration::from_secs(60);

/// Messages that are kept so at most, as many as a subscriber's queue takes.
pub const CROSS_GIVEN_MAX: usize = 10_000;

/// And their bytes, which are in each snapshot, too.
pub const CROSS_GIVEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Alerts that are kept for a crash until each durable session has them, as many as wait for one in memory, some MiB in
/// each snapshot; beyond, the oldest are kept for nobody, and counted for each session that may still lack them.
pub const ALERTS_KEPT_MAX: usize = broker::limits::URGENT_QUEUE_MAX;

/// How often the log is told which durable sessions have which alerts, at most: what they took since comes again after a
/// crash. Each time is a commit, in which others may come along.
pub const ALERTS_TOLD_EVERY: Duration = Duration::from_secs(1);

/// So many sessions that lack some make it a second longer: each is named each time.
pub const ALERTS_TOLD_SESSIONS: usize = 1_000;

/// How often it is looked at what subscribers have, in ms: while the next wait for that, and else.
pub const CROSS_SETTLE_MS: (i64, i64) = (10, 250);

const _: () = assert!(CROSS_GIVEN_WINDOW < CROSS_GIVEN_MAX && CROSS_GIVEN_PAUSE.as_secs() < CROSS_GIVEN_WAIT.as_secs());

/// The share of the log's limit that ordinary messages may take while they wait, as a divisor.
pub const CROSS_SHARE: u64 = 8;

/// And their bytes in all: they are in memory, and in each snapshot.
pub const CROSS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The largest packet from a client where `[[bridge]]` is configured: with its topic at the cloud
/// it must fit in a message of the link.
pub const CROSS_PACKET_BYTES_MAX: u64 = 3 * 1024 * 1024;

const _: () = assert!(CROSS_PACKET_BYTES_MAX as usize + 2 * schemas::limits::TOPIC_BYTES_MAX < LINK_PACKET_BYTES_MAX);
const _: () = assert!(replica::limits::CROSS_BATCH_BYTES < CROSS_PACKET_BYTES_MAX);

/// How long a connection to a broker elsewhere may take; of the uplink and of a plant's broker, until it listens.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How long one write to a broker elsewhere may take, in seconds: what hears nothing is given up before,
/// what is only slow goes on.
pub const FLUSH_WAIT_S: u64 = 300;

/// Open files that a gateway needs beside its connections: log, snapshots, HTTP, links.
pub const FILES_BESIDE: u64 = 256;

/// Bytes of one message of a plant's broker, or for a `[[bridge]]` of a broker alone. A larger one ends the connection and comes again
/// and again, so this lies far above any reading.
pub const INGEST_PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Messages of a plant's broker that wait here for room or their commit; beyond, its socket is
/// not read. At QoS 1 that broker's own window is smaller.
pub const INGEST_WAITING_MAX: usize = 10_000;
/// And bytes of them.
pub const INGEST_WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Acknowledgements on their way to a plant's broker; beyond, they wait in order.
pub const INGEST_REQUESTS_MAX: usize = 4_096;

/// Messages after a reconnect that may be redeliveries without the mark: as many as a session
/// remembers whatever happens, and more than brokers commonly have under way.
pub const INGEST_DOUBT_MAX: usize = replica::limits::REDELIVERY_MESSAGES_LEAST;

/// Records of the log that are read again, on the fold's thread, to compare it with what the cloud
/// has; beyond, it is believed. Some tenths of a second.
pub const PROOF_RECORDS_MAX: u64 = 2_000_000;

/// A busy or full log is asked again this often.
pub const INGEST_RETRY: Duration = Duration::from_millis(100);

/// Messages waiting for one subscriber of the front door, present or absent; one more is dropped and counted.
pub const QUEUE_MAX: usize = 10_000;
