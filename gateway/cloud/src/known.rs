//! Alarms as the doors know them, beside the core that has them all.

use hashbrown::HashMap;
use parking_lot::RwLock;
use replica::alarm::Name;

/// Alarms that the doors know, as `{gateway}/{series}/{kind}`, and whether people have put them
/// aside here and their gateway does not know yet: what cannot be is refused at once, and alerts of the others are shown at once.
pub type Known = RwLock<HashMap<String, bool>>;

/// An alarm as the doors know it.
pub fn path_of(gateway: &str, (series, kind): &Name) -> String {
    format!("{gateway}/{series}/{kind}")
}
