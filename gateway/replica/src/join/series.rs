//! The cloud's series: their numbers, units, sizes, and the gateways that have them. Names
//! come from strangers, and become topics: what cannot be one gets no number.

use super::small::Small;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use telemetry::source::valid_series;

/// Number of what has none: its entries are counted, not merged.
pub const UNPLACED: u32 = u32::MAX;

/// Series of all gateways: 2,000 gateways of 2,000 each; memory is bounded by it.
pub const SERIES_MAX: usize = 1 << 22;
/// Published sizes of one series: as many as one boot may have. More are not published.
const SIZES_MAX: usize = 64;

/// One series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name.
    pub name: Arc<str>,
    /// The unit that owns it.
    pub unit: Option<Arc<str>>,
    /// Gateway's number → end of its newest window.
    pub gateways: Small<u32, i64>,
    /// Published size → newest start.
    pub newest: Small<i64, i64>,
    /// Sizes that its gateways have, the smallest first.
    pub sizes: Vec<i64>,
    /// Size → windows that begin then or later were seen from their first part on.
    #[serde(default)]
    pub since: Small<i64, i64>,
}

/// All series, by number and by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    list: Vec<Arc<Series>>,
    by_name: HashMap<Arc<str>, u32>,
}

impl Catalogue {
    /// Series in the order of their numbers.
    pub fn new(list: Vec<Arc<Series>>) -> Self {
        let by_name = list.iter().zip(0..).map(|(s, n)| (s.name.clone(), n)).collect();
        Self { list, by_name }
    }

    /// In the order of their numbers.
    pub fn list(&self) -> &[Arc<Series>] {
        &self.list
    }

    /// Sizes that a series' gateways have, the smallest first.
    pub fn sizes(&self, number: u32) -> &[i64] {
        self.list.get(number as usize).map_or(&[], |series| &series.sizes)
    }

    /// In the order of their numbers, to be changed; never a name.
    pub fn list_mut(&mut self) -> &mut [Arc<Series>] {
        &mut self.list
    }

    /// The number of a name, new or known; [`UNPLACED`] where it cannot be a topic or there are
    /// too many. The first unit owns a series; another goes to `{name}@{unit}` (contract §3).
    pub fn define(&mut self, name: &str, unit: Option<&str>) -> u32 {
        let unit = unit.filter(|u| !u.is_empty());
        if let Some(&number) = self.by_name.get(name) {
            let series = &mut self.list[number as usize];
            return match (series.unit.as_deref(), unit) {
                (Some(owner), Some(unit)) if owner != unit => self.define_apart(&format!("{name}@{unit}"), unit),
                (None, Some(unit)) => {
                    Arc::make_mut(series).unit = Some(unit.into());
                    number
                }
                _ => number,
            };
        }
        let valid = valid_series(name) || name.rsplit_once('@').is_some_and(|(base, unit)| valid_series(base) && valid_unit(unit));
        if valid { self.add(name, unit) } else { UNPLACED }
    }

    /// Looked up once more, never further: a chain of names would grow without end.
    fn define_apart(&mut self, name: &str, unit: &str) -> u32 {
        match self.by_name.get(name) {
            Some(&number) => number,
            None if valid_unit(unit) => self.add(name, Some(unit)),
            None => UNPLACED,
        }
    }

    fn add(&mut self, name: &str, unit: Option<&str>) -> u32 {
        if self.list.len() >= SERIES_MAX {
            return UNPLACED;
        }
        let number = self.list.len() as u32;
        let (name, unit) = (Arc::<str>::from(name), unit.map(Arc::from));
        self.by_name.insert(name.clone(), number);
        let series =
            Series { name, unit, gateways: Small::default(), newest: Small::default(), sizes: Vec::new(), since: Small::default() };
        self.list.push(Arc::new(series));
        number
    }
}

impl Series {
    /// A gateway has a window that ends at `end_ms`, and publishes these sizes.
    pub fn had(&mut self, gateway: u32, end_ms: i64, sizes: &[i64]) {
        // What came before a size was known may be a part of its windows.
        let since = self.gateways.iter().map(|(_, end)| end).max().unwrap_or(i64::MIN);
        let last = self.gateways.entry(gateway, end_ms);
        *last = (*last).max(end_ms);
        for size in sizes {
            if let Err(at) = self.sizes.binary_search(size)
                && self.sizes.len() < SIZES_MAX
            {
                self.sizes.reserve_exact(1);
                self.sizes.insert(at, *size);
            }
        }
        for size in &self.sizes {
            self.since.entry(*size, since);
        }
    }
}

/// Behind the `@` of a series' name, a unit is part of a topic.
fn valid_unit(unit: &str) -> bool {
    !unit.is_empty() && unit.len() <= schemas::limits::UNIT_BYTES_MAX && !unit.contains(['+', '#', '\0'])
}

/// Whether a gateway's name can be one (contract §2): a level of topics.
pub fn valid_gateway(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=schemas::limits::GATEWAY_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Whether an alert's series can be part of a topic: a series', or that of a unit of its own.
pub fn valid_name(name: &str) -> bool {
    valid_series(name) || name.rsplit_once('@').is_some_and(|(base, unit)| valid_series(base) && valid_unit(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unit_owns_a_series_and_impossible_names_get_no_number() {
        let mut c = Catalogue::default();
        assert_eq!((c.define("a", None), c.define("a", Some("°C")), c.define("a", Some("°C"))), (0, 0, 0));
        assert_eq!((c.define("a", Some("K")), c.define("a@K", Some("bar")), c.define("a", Some("K"))), (1, 2, 1));
        assert_eq!(&*c.list()[2].name, "a@K@bar");
        for name in ["", "a/#", "+", "x\0", &"n".repeat(300)] {
            assert_eq!(c.define(name, None), UNPLACED, "{name:?}");
        }
        for unit in ["#", "+", "\0"] {
            assert_eq!(c.define("a", Some(unit)), UNPLACED, "{unit:?}");
        }
        assert_eq!(c.list().len(), 3);
        assert!(valid_gateway("plant-a") && !valid_gateway("Plant/A") && !valid_gateway("") && !valid_gateway("a#"));
    }
}
