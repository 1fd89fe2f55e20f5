//! Bounds of the bridge, each with its reason and what happens there.

use std::time::Duration;

/// Events waiting for the core, at least one for each gateway of a large plant: a full queue holds
/// the gateways, and whoever is held asks again and again.
pub const EVENTS_MAX: usize = 8_192;

/// Bytes of gateways' messages among them; at this bound gateways are held, too.
pub const EVENT_BYTES_MAX: usize = 32 << 20;

/// Frames of the log on their way to those; beyond, the log waits for the core.
pub const FRAMES_MAX: usize = 256;

/// Requests that wait at the client of an existing broker, beside what is on its way.
pub const REQUESTS_MAX: usize = 256;

/// Largest packet from a gateway or client, in bytes: an interval aims at 256 KiB, and one with
/// very many definitions is longer.
pub const PACKET_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Connections of gateways, two each, and of consumers.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Open files beside them: log, merge store and its runs, HTTP.
pub const FILES_BESIDE: u64 = 1_024;

/// Least time between two rounds, in ms: a window that is published for the first time waits no longer.
pub const ROUND_MS: i64 = 100;

/// How often one gateway's status may be published, in ms.
pub const STATUS_MS: i64 = 1_000;

/// A gateway that said nothing for this long is offline, in ms. It speaks every
/// [`replica::limits::HEARTBEAT_MS`] at least, so one such sign may be lost; consumers see it
/// within 15 s (contract §4).
pub const SILENCE_MS: i64 = 11_000;

/// How long after its last will a gateway is still online, in ms: one that only changes
/// connections is back within a second, and consumers need not see that.
pub const BYE_MS: i64 = 3_000;

/// A bridge that did not look at the clock for so long was frozen, or its machine was: it looks
/// every second. That time is nobody's silence.
pub const FROZEN: Duration = Duration::from_secs(3);

/// So long after it, in ms, wills are of connections that were given up meanwhile.
pub const THAW_MS: i64 = 5_000;

/// How long the log is kept behind the snapshots that make it superfluous: for people who look into it.
pub const LOG_RETAIN: Duration = Duration::from_secs(86_400);

/// Messages that wait for an existing broker; at half of it rounds wait.
pub const OUTBOX_MAX: usize = 20_000;

/// Bytes of them at which rounds wait, too, and ordinary messages stay at their gateways: windows take a few MiB,
/// while those are up to 3 MiB long each.
pub const OUTBOX_BYTES_MAX: usize = 32 << 20;

/// Messages on their way to an existing broker: brokers grant 100 to any client at least, by usage.
pub const OUTBOX_INFLIGHT_MAX: usize = 100;

/// Alerts on their way beyond those.
pub const OUTBOX_URGENT_MAX: usize = 50;

/// How long an existing broker may take for the next acknowledgement of what it was sent; then the connection is
/// given up. After half of it the broker counts as not reached.
pub const OUTBOX_ANSWER_WAIT: Duration = Duration::from_secs(60);

/// How long connecting to an existing broker may take, its leave to subscribe included.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How long one write to an existing broker may take, in seconds: the client has one limit for this and for connecting,
/// and a long message may take its time on a slow line.
pub const FLUSH_WAIT_S: u64 = 300;

/// Reconnecting to an existing broker waits at least and at most this long, in ms.
pub const BACKOFF_MS: (u64, u64) = (250, 15_000);

/// Entries of intervals that are kept decoded until their records are durable, some 350 bytes each; others
/// are decoded again.
pub const DECODED_ENTRIES_MAX: usize = 16_384;

/// The largest payload of an ordinary message that goes to a gateway: with its topic it must fit in one packet.
pub const CROSS_PAYLOAD_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Gateways that ordinary messages wait for: with more of them these are not looked at for each event, but after
/// [`CARRY_MS`]. Each takes a microsecond, with nothing to be done.
pub const CARRY_AT_ONCE_MAX: usize = 32;
/// See [`CARRY_AT_ONCE_MAX`].
pub const CARRY_MS: i64 = 50;

const _: () = assert!(CROSS_PAYLOAD_BYTES_MAX + 2 * schemas::limits::TOPIC_BYTES_MAX < PACKET_BYTES_MAX);

/// A message that waited so long before it was looked at shows that there are too many, in ms:
/// gateways are then asked to pause.
pub const OVERLOAD_MS: u64 = 1_000;

/// When an interval comes again that the log did not take, in ms.
pub const RETRY_ROOM_MS: u64 = 5_000;

/// When a gateway comes again for which there is no place; and the longest pause that is asked for, in ms.
pub const RETRY_FULL_MS: u64 = 30_000;

/// How long an interval waits for the log to take it; then the gateway sends it again.
pub const ROOM_WAIT: Duration = Duration::from_secs(2);

const _: () = assert!(BYE_MS < SILENCE_MS);
const _: () = assert!(replica::limits::HEARTBEAT_MS * 2 < SILENCE_MS && SILENCE_MS + 2 * STATUS_MS < 15_000);

/// Windows that changed and cannot be written because the disk is full: beyond so many no interval
/// is taken, and gateways keep what they have.
pub const UNWRITTEN_WINDOWS_MAX: usize = 1 << 18;

/// How long the cursor waits for a subscriber to be done with a message. One that is away longer
/// may miss what was published meanwhile if the bridge then crashes: what waits is in memory.
pub const GIVEN_WAIT: Duration = Duration::from_secs(60);

/// Messages that the cursor waits for at most: some 100 bytes each.
pub const GIVEN_MAX: usize = 1 << 17;

/// How long a bridge that starts waits for consumers that were subscribed before, and would miss
/// what is published without them: clients try again after a second or a few.
pub const AUDIENCE_WAIT: Duration = Duration::from_secs(10);
/// How often who listens is looked at; one that came and is lost with the process within this time
/// is not waited for.
pub const AUDIENCE_NOTE: Duration = Duration::from_millis(500);
/// Filters that are noted; whoever has others is not waited for.
pub const AUDIENCE_FILTERS_MAX: usize = 1_000;

/// Two boots of one gateway live at once when they have taken so many turns to speak, over at least
/// [`CONFLICT_SINCE`]: what a process that has ended had under way comes within seconds.
pub const CONFLICT_TURNS: u32 = 3;
/// See [`CONFLICT_TURNS`].
pub const CONFLICT_SINCE: Duration = Duration::from_secs(8);
/// A turn so long after the last one is of a new process; a conflict is over then.
pub const CONFLICT_OVER: Duration = Duration::from_secs(60);

/// Hellos that are kept while the log has no room, of one gateway each; of more, the next connection says it again.
pub const HELLOS_MAX: usize = 4_096;

/// Messages waiting for one subscriber of our own broker, present or absent; one more is dropped and
/// counted. At half of them rounds wait for one that is away, a minute at most.
pub const QUEUE_MAX: usize = 100_000;
