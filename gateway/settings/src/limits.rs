//! Bounds of config reading, each with its reason and what happens there.

/// Bytes of a config file; beyond, it is refused: a thousand limits need a tenth of this, and a wrong path
/// (`--config /dev/zero`) must not fill the memory.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Highest index in an override such as `limit[3].high`; beyond, it is refused, because the crate `config`
/// fills the list up to the index.
pub const INDEX_MAX: usize = 9_999;

/// Problems reported at once; beyond, the rest is counted: nobody reads more in one go.
pub const PROBLEMS_MAX: usize = 100;

/// Bytes of an MQTT topic filter: its length field has 16 bits (MQTT 5, 1.5.4).
pub const FILTER_BYTES_MAX: usize = 65_535;
