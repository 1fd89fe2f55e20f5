//! Bounds of the front door, each with its reason and what happens there.

use std::time::Duration;

/// QoS > 0 PUBLISHes of one client whose acknowledgement is outstanding, announced as Receive
/// Maximum in MQTT 5. Enough to keep one sync busy; one more closes with 0x93.
pub const RECEIVE_MAX: u16 = 1024;
/// PUBLISHes handed to the application at once: amortises its lock and keeps the task short.
pub const BATCH_MAX: usize = 256;
/// Answers of one client that may wait for the horizon; the socket is not read meanwhile.
pub const PENDING_MAX: usize = 2 * RECEIVE_MAX as usize;
/// Bytes of messages that wait with those answers; the socket is not read meanwhile.
pub const PENDING_BYTES_MAX: usize = 4 << 20;
/// Bytes waiting to be written to one client; beyond, it is not read from.
pub const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Bytes up to which deliveries are gathered into one write.
pub const OUTPUT_FILL_BYTES: usize = 64 << 10;
/// Deliveries taken from a subscriber's queue under one lock.
pub const TAKE_MAX: usize = 64;
/// Bytes a connection's read buffer begins with: ten thousand idle sensors stay cheap.
pub const READ_BYTES_MIN: usize = 2 << 10;
/// Bytes it grows to while reads fill it.
pub const READ_BYTES_MAX: usize = 64 << 10;

/// Urgent messages waiting for one subscriber; one more is dropped and counted.
pub const URGENT_QUEUE_MAX: usize = 10_000;
/// Live messages waiting for a subscriber that is there from which on it lags: who publishes
/// from inside a lot at once does well to wait ([`crate::Broker::is_behind`]). Below half of
/// them it has caught up. One that is away lags at half of its queue.
pub const LAG_MESSAGES: usize = 5_000;
/// How long a lagging subscriber is waited for: who takes fewer than some 170 messages a second,
/// or none, is left behind and misses what its queue has no room for.
pub const LAG_WAIT: Duration = Duration::from_secs(15);
/// How long one that is away is, from when it left; after a start, from then.
pub const ABSENT_WAIT: Duration = Duration::from_secs(60);
/// Bytes of them; one more message is dropped and counted, so that no absent subscriber takes the
/// room of all.
pub const SUBSCRIBER_BYTES_MAX: usize = 64 << 20;
/// Bytes waiting for all subscribers together (shared payloads count once for each); one more
/// message is dropped and counted, unless it is urgent: those are few, and bounded by number.
pub const QUEUED_BYTES_MAX: usize = 512 << 20;
/// QoS 1 messages sent to a subscriber and not acknowledged, unless it asks for fewer.
pub const INFLIGHT_MAX: u16 = 512;
/// Topics whose subscribers a connection remembers; cleared when reached.
pub const ROUTES_CACHED_MAX: usize = 4096;
/// Bytes of these topics; the same.
pub const ROUTES_CACHED_BYTES_MAX: usize = 512 << 10;
/// Bytes of a topic whose subscribers are remembered; those of a longer one are found anew each time.
pub const TOPIC_CACHED_BYTES_MAX: usize = 512;

/// Retained messages of clients; a new topic beyond is routed, not retained, and counted.
pub const RETAINED_MAX: usize = 200_000;
/// Bytes of retained topics, payloads and properties; the same.
pub const RETAINED_BYTES_MAX: usize = 256 << 20;

/// Subscriptions of one session; one more is refused with 0x97 (0x80 in MQTT 3.1.1).
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Bytes of a session's filters; one more is refused likewise. A durable session's are in the log and
/// in each snapshot.
pub const SUBSCRIPTIONS_BYTES_MAX: usize = 256 << 10;
/// Bytes of all sessions' filters; the same.
pub const SUBSCRIPTIONS_TOTAL_BYTES_MAX: usize = 256 << 20;
/// Subscriptions of all sessions; the same.
pub const SUBSCRIPTIONS_TOTAL_MAX: usize = 1_000_000;
/// Levels of a filter: bounds the depth of the subscription trie and of its walks.
pub const FILTER_LEVELS_MAX: usize = 128;
/// Sessions of present and absent clients; one more CONNECT is refused with 0x97.
pub const SESSIONS_MAX: usize = 100_000;
/// QoS 2 packet ids that a session may hold unreleased; one more closes with 0x93. MQTT 5
/// clients are held to [`RECEIVE_MAX`] before.
pub const RECEIVED_IDS_MAX: usize = 4096;
/// Bytes of a client identifier; a longer one is refused with 0x85.
pub const CLIENT_ID_BYTES_MAX: usize = 1024;

/// Bytes of a will, its topic and properties included, that outlives the process; a larger one does not.
pub const WILL_BYTES_MAX: usize = 16 << 10;
/// Bytes of all such wills, which are in the application's log and its snapshots; the same.
pub const WILLS_BYTES_MAX: usize = 16 << 20;
/// How long a start waits at least for a client whose will an earlier process left: who is back by then has not
/// failed. Clients try again after a second or a few; others wait for the news.
pub const WILL_GRACE: Duration = Duration::from_secs(5);

/// A connection must have said CONNECT within this time.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a CONNECT: identifier, will and credentials of a stranger.
pub const CONNECT_BYTES_MAX: usize = 256 << 10;
/// A socket that is silent for so long is probed by the system, whatever its keep-alive says:
/// longer than the usual keep-alive, so that it only finds those who have none.
pub const PROBE_AFTER: Duration = Duration::from_secs(120);
/// And again so often, until the system's count of probes is used up.
pub const PROBE_EVERY: Duration = Duration::from_secs(20);
/// Connections beyond the bound that are told so at once; more are closed unanswered.
pub const TURNED_AWAY_MAX: usize = 64;
/// Bytes that are still read from a connection whose session another one takes over: what a
/// socket commonly holds.
pub const LAST_BYTES_MAX: usize = 1 << 20;
/// How long a session's older connection may take to give it up.
pub const TAKEOVER_WAIT: Duration = Duration::from_secs(5);
/// How long a closing connection waits for what it was given to become durable.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// How long a stop waits for clients to acknowledge what they were sent: it would come again after the
/// next start.
pub const SETTLE_WAIT: Duration = Duration::from_secs(1);
/// Bytes of an unfinished packet that are worth a second beyond the keep-alive: a large one may take its time on a
/// slow line, and a few bytes now and then hold no place.
pub const SLOWEST_BYTES_PER_S: usize = 1 << 10;
/// How often one kind of what clients do wrong is told by name in the process's log: enough to find who does it, and
/// no flood by who does it a thousand times a second.
pub const COMPLAINT_EVERY: Duration = Duration::from_secs(10);
/// How long a client may leave our bytes unread before it counts as lost.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
/// How long the peer is listened to after the last byte is written, so that a reset does not
/// overtake it.
pub const LINGER: Duration = Duration::from_millis(500);
/// How long a client without a keep-alive may be held back; others for half of theirs.
pub const BUSY_WAIT: Duration = Duration::from_secs(30);
/// How long an answer may wait for its commit although none goes out: longer than a disk
/// pauses; then the connection closes with 0x97, as one that hears nothing cannot act.
pub const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// A busy application is asked again this often even if the horizon stands still.
pub const BUSY_RETRY: Duration = Duration::from_millis(100);

const _: () = assert!(BATCH_MAX <= PENDING_MAX);
const _: () = assert!(SUBSCRIBER_BYTES_MAX < QUEUED_BYTES_MAX && SUBSCRIPTIONS_BYTES_MAX < SUBSCRIPTIONS_TOTAL_BYTES_MAX);
const _: () = assert!(INFLIGHT_MAX > 0 && RECEIVE_MAX > 0);
const _: () = assert!(OUTPUT_FILL_BYTES < OUTPUT_BYTES_MAX);
const _: () = assert!(RECEIVED_IDS_MAX >= RECEIVE_MAX as usize);
