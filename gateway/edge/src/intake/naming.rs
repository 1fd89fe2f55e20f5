//! Readings → numbers of series: known, or defined in the log.
//!
//! The first unit that a series is given owns it; a reading in another one goes to `{series}@{unit}`
//! (contract §3). A message is taken whole or not at all: what one that is refused names is not
//! defined either, so nobody uses up the series of others with messages that are not taken.

use super::{Intake, State};
use hashbrown::HashMap;
use journal::Append;
use replica::record::{Record, Refusal};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use telemetry::limits::QUOTE_BYTES_MAX;
use telemetry::payload::Sample;
use telemetry::source::valid_series;

/// What a client's topic means, remembered on its connection.
pub(super) struct Route {
    pub source: usize,
    /// Or why nothing of that topic is a reading.
    pub series: Result<Box<str>, String>,
    /// Number and owner of the plain series, once known.
    pub plain: Option<(u32, Option<Arc<str>>)>,
}

/// Why a name is no series', with no more of it than an operator needs.
pub(super) fn no_series(name: &str) -> String {
    match schemas::wire::cut(name, QUOTE_BYTES_MAX) {
        whole if whole == name => format!("{whole:?} is no series name"),
        begin => format!("{begin:?}… of {} bytes is no series name", name.len()),
    }
}

impl Route {
    /// The series of a sample, its unit aside.
    fn name(&self, sample: &Sample<'_>) -> Result<Cow<'_, str>, Refusal> {
        let series = self.series.as_deref().map_err(|_| Refusal::Series)?;
        let Some(suffix) = &sample.suffix else { return Ok(series.into()) };
        let name = format!("{series}/{suffix}");
        if valid_series(&name) { Ok(name.into()) } else { Err(Refusal::Series) }
    }

    /// The number of the plain series, where that is all that a sample needs.
    fn remembered(&self, sample: &Sample<'_>) -> Option<u32> {
        let (number, owner) = self.plain.as_ref().filter(|_| sample.suffix.is_none())?;
        let unit = sample.unit.as_deref();
        (unit.is_none() || owner.as_deref() == unit).then_some(*number)
    }
}

/// The series of readings in a unit that is not their series' own.
fn apart(base: &str, unit: &str) -> Result<String, Refusal> {
    let name = format!("{base}@{unit}");
    if valid_series(&name) { Ok(name) } else { Err(Refusal::Series) }
}

impl State {
    /// The number of a series that has that unit, or need not have one.
    fn known(&self, name: &str, unit: Option<&str>) -> Option<u32> {
        let number = *self.numbers.get(name)?;
        (unit.is_none() || self.units[number as usize].as_deref() == unit).then_some(number)
    }
}

impl Intake {
    /// The numbers of a message's series, defined in the log where they are new.
    ///
    /// # Errors
    /// For a name that no series can have, and for one series too many: then nothing is defined.
    pub(super) fn numbers(
        &self,
        state: &mut State,
        append: &mut Append<'_>,
        route: &mut Route,
        samples: &[Sample<'_>],
        numbers: &mut Vec<u32>,
    ) -> Result<(), Refusal> {
        for sample in samples {
            match route.remembered(sample) {
                Some(number) => numbers.push(number),
                None if sample.suffix.is_some() => numbers.extend(state.known(&route.name(sample)?, sample.unit.as_deref())),
                // The route remembers it from here on.
                None => break,
            }
        }
        if numbers.len() == samples.len() {
            return Ok(());
        }
        self.admit(state, route, samples)?;
        numbers.clear();
        for sample in samples {
            numbers.push(self.number(state, append, route, sample)?);
        }
        Ok(())
    }

    /// Whether all that a message names can be.
    fn admit(&self, state: &State, route: &Route, samples: &[Sample<'_>]) -> Result<(), Refusal> {
        // Owners of series that the message itself defines, or gives their unit.
        let mut owners: HashMap<Cow<'_, str>, Option<&str>> = HashMap::new();
        let mut new = 0;
        for sample in samples {
            let base = route.name(sample)?;
            let unit = sample.unit.as_deref();
            let known = state.numbers.get(&*base);
            let owner = match (owners.get(&base), known) {
                (Some(owner), _) => *owner,
                (None, Some(number)) => state.units[*number as usize].as_deref(),
                (None, None) => {
                    new += 1;
                    None
                }
            };
            match (owner, unit) {
                (Some(owner), Some(unit)) if owner != unit => {
                    let name = apart(&base, unit)?;
                    if !state.numbers.contains_key(&name) && owners.insert(name.into(), Some(unit)).is_none() {
                        new += 1;
                    }
                }
                (None, _) => drop(owners.insert(base, unit)),
                _ => {}
            }
        }
        // Numbers end where a u32 does, long behind any bound that can be configured.
        if new > 0 && state.numbers.len() + new > self.series_max { Err(Refusal::Quota) } else { Ok(()) }
    }

    /// The number of a sample's series, defined in the log if it is new.
    fn number(&self, state: &mut State, append: &mut Append<'_>, route: &mut Route, sample: &Sample<'_>) -> Result<u32, Refusal> {
        if let Some(number) = route.remembered(sample) {
            return Ok(number);
        }
        let unit = sample.unit.as_deref();
        let base = route.name(sample)?;
        let number = self.find_or_define(state, append, &base, unit)?;
        match (unit, state.units[number as usize].as_deref()) {
            (Some(unit), None) => {
                state.push(append, &Record::Unit { number, unit });
                state.units[number as usize] = Some(unit.into());
            }
            (Some(unit), Some(owner)) if unit != owner => {
                self.misfits.fetch_add(1, Ordering::Relaxed);
                self.complaints.misfit(&base, owner, unit);
                return self.find_or_define(state, append, &apart(&base, unit)?, Some(unit));
            }
            _ => {}
        }
        if sample.suffix.is_none() {
            route.plain = Some((number, state.units[number as usize].clone()));
        }
        Ok(number)
    }

    fn find_or_define(&self, state: &mut State, append: &mut Append<'_>, name: &str, unit: Option<&str>) -> Result<u32, Refusal> {
        if let Some(number) = state.numbers.get(name) {
            return Ok(*number);
        }
        if state.numbers.len() >= self.series_max {
            return Err(Refusal::Quota);
        }
        let number = u32::try_from(state.units.len()).map_err(|_| Refusal::Quota)?;
        let record = Record::Series { number, name, unit };
        state.push(append, &record);
        state.numbers.insert(name.to_owned(), number);
        state.units.push(unit.map(Arc::from));
        state.critical.push(self.detection.critical(name));
        Ok(number)
    }
}
