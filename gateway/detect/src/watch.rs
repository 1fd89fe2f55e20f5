//! All detectors of one series.
//!
//! Detectors look at the series in the order of its event times. A reading older than the
//! newest goes into its window but teaches nothing here; it can only pass a fixed limit. When
//! nothing but older readings comes, the sensor's clock was set back, and its time is taken
//! from there.

use crate::cadence::Cadence;
use crate::chart::Tell;
use crate::departure::Departure;
use crate::finding::Finding;
use crate::flatline::Flatline;
use crate::leap::Leap;
use crate::limit::Limits;
use crate::limits::{LATE_READINGS_MAX, UNIT_BYTES_MAX};
use crate::mark::Mark;
use crate::noise::Noise;
use crate::novel::Novel;
use crate::rate::Rate;
use crate::regime::Regime;
use crate::saturation::Saturation;
use crate::season::Season;
use crate::settings::Settings;
use crate::shift::{self, Jump, Span};
use crate::silence::Silence;
use crate::spike::{Hold, Manner, STAY_YOUNG, Spike, Verdict};
use crate::stay::Stay;
use schemas::wire::cut;
use serde::{Deserialize, Serialize};

/// One series' detectors and their state: below [`crate::limits::STATE_BYTES_MAX`] bytes,
/// heap included. Stored and restored, it goes on exactly as if it never was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Watch {
    /// Apart, because most series have none.
    limits: Option<Box<Limits>>,
    spike: Spike,
    rate: Rate,
    shift: Departure,
    drift: Departure,
    noise: Noise,
    saturation: Saturation,
    flatline: Flatline,
    silence: Silence,
    unit: Option<Box<str>>,
    /// Event time and value of the newest reading.
    last: Option<(i64, f64)>,
    /// Readings in a row that were older.
    late: u8,
    #[serde(default)]
    novel: Novel,
    #[serde(default)]
    regime: Regime,
    /// Event time of the first reading since which states are learnt.
    #[serde(default)]
    first_ms: Mark,
    /// Usual deviation of a reading while nothing went on.
    #[serde(default)]
    calm: f64,
    #[serde(default)]
    cadence: Cadence,
    #[serde(default)]
    leap: Leap,
    /// Apart, because it is only kept of series that change their level or have a dynamic limit.
    #[serde(default)]
    season: Option<Box<Season>>,
    /// Logged clock of the last reading of a held event.
    #[serde(default)]
    held_ms: i64,
    /// Event time of the first reading at the present level.
    #[serde(default)]
    level_ms: Mark,
    /// Readings in a row near the level before a shift.
    #[serde(default)]
    returned: u8,
    /// Readings in a row beyond all that the series is known for.
    #[serde(default)]
    far: u8,
    #[serde(default)]
    stay: Stay,
    /// Mean of the last readings where it was farthest away, in the shift under way.
    #[serde(default)]
    farthest: f32,
}

/// So long nobody can know whether a series has one state or several, in ms: what a day did not
/// show is news.
const LEARN_MS: i64 = 86_400_000;
/// Deviations within which a reading is calm.
const CALM: f64 = 4.0;
/// And beyond which a mean of the last ones is at another level.
const GONE: f64 = 6.0;
/// Readings in a row near the level before that end a shift.
const RETURNED: u8 = 5;
/// Readings in a row that tell of a departure from all that a series is known for, and readings that it
/// must be known by: ten times those that its range takes to follow.
const FAR: u8 = 5;
const FAR_KNOWN: u32 = 10_000;
/// And so long, in ms: most of the levels of a machine that goes to one of four every few hours.
const FAR_KNOWN_MS: i64 = 2 * LEARN_MS;
/// So long readings that would decide about a held event are waited for at least, in ms.
const RELEASE_MS: i64 = 10_000;

impl Settings {
    /// Detectors for a series that was just met.
    pub fn watch(&self, series: &str, unit: Option<&str>) -> Watch {
        let mut watch = Watch::default();
        watch.reconfigure(self, series, unit);
        watch
    }
}

impl Watch {
    /// One reading: logged clock of its arrival and its event time, both in ms since the Unix
    /// epoch, and its value in the series' unit. What changes is appended to `out`. A value
    /// that is not finite is no reading and is passed over.
    #[inline]
    pub fn observe(&mut self, clock_ms: i64, time_ms: i64, value: f64, out: &mut Vec<Finding>) {
        if !value.is_finite() {
            return;
        }
        self.novel.skip();
        if self.silence.is_active() {
            // Nobody knows where it was meanwhile.
            self.stay.restart();
        }
        self.silence.observe(clock_ms, time_ms, value, out);
        if self.is_late(clock_ms, time_ms, value, out) {
            return;
        }
        if self.late > 0 && self.last.is_some_and(|(last, _)| time_ms < last) {
            self.leap.rewound(clock_ms, time_ms, value, out);
        }
        let before = self.last.replace((time_ms, value)).map_or(value, |(_, before)| before);
        self.late = 0;
        self.leap.observe(clock_ms, time_ms, value, out);
        self.cadence.observe(time_ms, value, out);
        let unit = self.unit.as_deref();
        let mut limited = false;
        if let Some(limits) = &mut self.limits {
            if limits.is_dynamic() {
                let season = self.season.get_or_insert_default();
                let lasts = limits.lasts(time_ms);
                if lasts {
                    **season = Season::default();
                    let (few, quantum) = (self.drift.few, self.spike.quantum());
                    shift::restart(Span::Long, &mut self.drift, time_ms, few, quantum, unit, out);
                    limits.follow(Some(few), true);
                } else {
                    limits.follow(season.usual(time_ms).or_else(|| self.drift.usual()), false);
                }
            }
            limits.observe(clock_ms, time_ms, value, unit, out);
            limited = limits.speaks(time_ms);
        }
        // At levels known before nothing that departs is told; beyond them it still is. Nor is it
        // while readings are told to jump about.
        let deviation = self.spike.deviation();
        let expects = |deviation| self.season.as_ref().is_some_and(|season| season.expects(time_ms, value, deviation));
        let rested = self.flatline.has_rested(value);
        let known = expects(deviation) || self.regime.is_known(value, deviation) || rested || self.flatline.is_switch(value);
        let tell = if limited {
            Tell::Never
        } else if known || self.noise.is_told() {
            Tell::Later
        } else {
            Tell::Now
        };
        let first_ms = self.first_ms.get_or_insert(time_ms);
        self.level_ms.get_or_insert(time_ms);
        let young = self.regime.is_young() && time_ms.saturating_sub(first_ms) < LEARN_MS;
        let hold = match self.regime.changes() {
            false => Hold::Brief,
            true if young => Hold::Long,
            true => Hold::No,
        };
        self.held_ms = clock_ms;
        let still = self.flatline.is_still(value);
        let next = hold == Hold::Long && self.spike.is_held() && self.regime.may_be_next(value, self.spike.level(), self.calm);
        let known_ms = time_ms.saturating_sub(first_ms);
        let long = known_ms >= FAR_KNOWN_MS && self.spike.lived() >= FAR_KNOWN;
        let calm = self.spike.calmest(self.calm);
        let far = long && self.regime.is_far(value, calm) && !expects(calm);
        self.far = if far { self.far.saturating_add(1) } else { 0 };
        let manner = Manner { tell, hold, next, far, still };
        let away = self.spike.out_for();
        match self.spike.observe(time_ms, value, unit, manner, out) {
            Verdict::First => {
                shift::begin_anew(&mut self.shift);
                shift::begin_anew(&mut self.drift);
                self.noise.begin_anew(value);
                self.rate.relearn(time_ms, value, unit, out);
                self.judge(time_ms, value, manner, young, still, out);
            }
            Verdict::Usual => {
                self.stay.came_back(away);
                self.judge(time_ms, value, manner, young, still, out);
            }
            Verdict::Out => {
                self.noise.pass(value);
                let near = self.shift.is_told() && self.shift.returns(value);
                self.returned = if near { self.returned.saturating_add(1) } else { 0 };
                if self.returned >= RETURNED {
                    self.returned = 0;
                    match young {
                        true => self.regime.settled(self.shift.mean, f64::from(self.farthest)),
                        false => self.regime.moved(),
                    }
                    let quantum = self.spike.quantum();
                    shift::end(&mut self.shift, time_ms, value, quantum, unit, out);
                    self.restart(time_ms, value, out);
                    self.spike.relearn(value);
                }
            }
            Verdict::Shifted { from, times, began_ms } => {
                let quantum = self.spike.quantum();
                let jump = Jump { from, times, began_ms, stayed_ms: self.stay.held(from, value, began_ms) };
                shift::begin(&mut self.shift, &jump, time_ms, value, quantum, unit, out);
                self.farthest = value as f32;
                self.restart(time_ms, value, out);
                self.regime.settled(from, value);
            }
            verdict => {
                let usual = self.drift.mean;
                let quantum = self.spike.quantum();
                shift::restart(Span::Short, &mut self.shift, time_ms, value, quantum, unit, out);
                self.restart(time_ms, value, out);
                match verdict {
                    _ if verdict == Verdict::Settled || rested => self.regime.settled(usual, value),
                    _ => self.regime.moved(),
                }
            }
        }
        if self.far >= FAR && !self.spike.is_out() {
            let mute = limited || self.rate.is_active() || self.drift.is_told() || self.noise.is_told();
            let (range, quantum) = (self.regime.range(), self.spike.quantum());
            shift::depart(&mut self.shift, range, time_ms, value, quantum, self.unit.as_deref(), mute, out);
        }
        let unit = self.unit.as_deref();
        self.saturation.observe(time_ms, value, before, unit, limited, self.spike.is_out(), out);
        // A series that is told to have gone where it rests is not stuck there too.
        let went = self.shift.is_told() && self.level_ms.get().is_some_and(|level_ms| self.flatline.since_ms() <= level_ms);
        self.flatline.observe(time_ms, value, unit, went, out);
        let mute = limited || self.is_told() || self.spike.is_new() || rested;
        self.novel.observe(time_ms, value, unit, young, mute, out);
    }

    /// One reading while people work on the machine: fixed limits look at it, and nothing is
    /// learnt from it, as if the time had not passed.
    #[cold]
    pub fn rest(&mut self, clock_ms: i64, time_ms: i64, value: f64, out: &mut Vec<Finding>) {
        if !value.is_finite() {
            return;
        }
        self.novel.skip();
        self.silence.rest(clock_ms, time_ms, value, out);
        // Who works on a sensor may set its clock, too.
        if self.is_late(clock_ms, time_ms, value, out) {
            return;
        }
        self.last = Some((time_ms, value));
        self.late = 0;
        self.leap.rest(clock_ms, time_ms);
        self.cadence.restart(time_ms);
        self.rate.restart();
        self.flatline.restart(time_ms);
        self.stay.restart();
        self.noise.skip(value);
        if let Some(limits) = &mut self.limits {
            limits.observe(clock_ms, time_ms, value, self.unit.as_deref(), out);
        }
    }

    /// The series is at another level: what lies between is no rate, drift or noise.
    #[cold]
    fn restart(&mut self, time_ms: i64, value: f64, out: &mut Vec<Finding>) {
        self.level_ms = Mark::at(time_ms);
        self.stay.restart();
        self.rate.relearn(time_ms, value, self.unit.as_deref(), out);
        let quantum = self.spike.quantum();
        shift::restart(Span::Long, &mut self.drift, time_ms, value, quantum, self.unit.as_deref(), out);
        self.noise.skip(value);
    }

    /// A value that is no spike, through what looks at several.
    #[inline]
    fn judge(&mut self, time_ms: i64, value: f64, manner: Manner, young: bool, still: bool, out: &mut Vec<Finding>) {
        let Manner { tell, hold, .. } = manner;
        let unit = self.unit.as_deref();
        let quantum = self.spike.quantum();
        let climbed = self.rate.is_active();
        let climbs = self.rate.observe(time_ms, value, unit, tell != Tell::Now, hold == Hold::Long, out);
        if climbs {
            self.spike.hold(time_ms);
            return;
        }
        if self.rate.is_active() && !climbed {
            self.regime.moved();
        }
        // One event, one alert: who sees it first tells it, and a new level is none by itself.
        let starts = self.spike.is_young();
        let tell = if starts || self.rate.is_active() { Tell::Never } else { tell };
        let waits = hold == Hold::Long
            && (self.shift.out_for() < STAY_YOUNG || self.regime.may_be_next(self.shift.few, self.spike.level(), self.calm));
        let told = if waits && tell == Tell::Now { Tell::Later } else { tell };
        let usual = self.drift.mean;
        let early = if waits { None } else { shift::young(&self.shift, &self.spike, self.calm) };
        let was_told = self.shift.is_told();
        let bounded = self.spike.bounded(value);
        let mut moved = shift::observe(Span::Short, &mut self.shift, time_ms, bounded, quantum, unit, told, early, still, out);
        self.stay.observe(time_ms, self.shift.few);
        let (few, mean, farthest) = (self.shift.few, self.shift.mean, f64::from(self.farthest));
        if self.shift.out_for() == 1 || self.shift.is_out() && (few - mean).abs() > (farthest - mean).abs() {
            self.farthest = few as f32;
        }
        // On its first day, where it was, or is, is known from then on.
        let farthest = f64::from(self.farthest);
        if young && !moved && self.shift.is_told() != was_told && (farthest - mean).abs() > GONE * self.calm {
            self.regime.settled(mean, farthest);
        }
        if self.shift.is_told() != was_told && hold != Hold::No && !moved {
            // It was told at once, or is back: single readings go by the level where it is.
            self.spike.relearn(self.shift.few);
            self.level_ms = Mark::at(time_ms);
        }
        // What creeps is no change of state, unless a shift that may be one led there.
        let told = match tell {
            Tell::Now if self.shift.is_told() || self.shift.is_out() && !young => Tell::Never,
            Tell::Now if self.shift.is_out() => Tell::Later,
            tell => tell,
        };
        if moved {
            // What the one calls its level the other does not call away.
            shift::restart(Span::Long, &mut self.drift, time_ms, value, quantum, unit, out);
        } else {
            moved = shift::observe(Span::Long, &mut self.drift, time_ms, bounded, quantum, unit, told, None, still, out);
        }
        let tell = if self.shift.is_out() { Tell::Never } else { tell };
        if self.flatline.is_switch(value) && !self.noise.is_out() {
            // A door jumps by all that there is, or not at all.
            self.noise.skip(value);
        } else {
            self.noise.observe(time_ms, value, quantum, unit, tell != Tell::Now, still, out);
        }
        if moved {
            self.level_ms = Mark::at(time_ms);
        }
        if moved && young {
            self.regime.settled(usual, value);
        } else if moved {
            self.regime.moved();
        }
        // Nor does what may be the beginning of something tell how far readings usually stray.
        let deviation = self.spike.deviation();
        let within = if starts || self.calm == 0.0 { f64::MAX } else { CALM * self.calm };
        if !self.shift.is_suspect() && !self.drift.is_out() && self.spike.away().abs() <= within {
            self.calm = deviation;
        }
        // What a series does while it starts is no range to go by, nor while it may be elsewhere.
        if !(starts || young && self.shift.is_out()) {
            self.regime.learn(value);
        }
        if let Some(season) = &mut self.season {
            season.learn(time_ms, value);
        } else if self.regime.changes() {
            self.season = Some(Box::default());
        }
    }

    /// How new the last reading was to the series, in powers of ten; 0 for nothing new.
    pub fn novelty(&self) -> f64 {
        self.novel.score()
    }

    /// Whether a detector of its own kind of trouble sees some now.
    fn is_told(&self) -> bool {
        self.spike.is_out() || self.rate.is_active() || self.shift.is_out() || self.drift.is_out() || self.noise.is_out()
    }

    /// The logged clock at which [`Watch::tick`] has something to do. It changes with every
    /// reading, in both directions; a tick that comes early does nothing.
    #[inline]
    pub fn due(&self) -> Option<i64> {
        let sooner = |a: Option<i64>, b: Option<i64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let limits = self.limits.as_ref().and_then(|limits| limits.due());
        sooner(sooner(self.silence.due(), limits), self.released_at())
    }

    /// When a held event is told though it has not ended: the readings that would decide do not come.
    fn released_at(&self) -> Option<i64> {
        let wait_ms = self.silence.usual_ms().saturating_mul(i64::from(STAY_YOUNG)).max(RELEASE_MS);
        self.spike.is_held().then(|| self.held_ms.saturating_add(wait_ms))
    }

    /// The logged clock reached [`Watch::due`] without a reading.
    pub fn tick(&mut self, clock_ms: i64, out: &mut Vec<Finding>) {
        let unit = self.unit.as_deref();
        if let Some(limits) = &mut self.limits {
            limits.tick(clock_ms, unit, out);
        }
        if self.released_at().is_some_and(|at| at <= clock_ms) {
            self.spike.release(unit, out);
        }
        let value = self.last.map_or(0.0, |(_, value)| value);
        self.silence.tick(clock_ms, value, out);
    }

    /// Until now, by the logged clock, the gateway was away: that no reading came says nothing.
    pub fn resume(&mut self, clock_ms: i64) {
        self.silence.resume(clock_ms);
        self.held_ms = clock_ms;
    }

    /// The logged clock was not set until now, and `behind_ms` behind. What began by it began so much
    /// later: no series is older for that, or was anywhere for longer.
    #[cold]
    pub fn set_clock(&mut self, clock_ms: i64, behind_ms: i64) {
        self.resume(clock_ms);
        let Some((last_ms, _)) = &mut self.last else { return };
        // A sensor that knew the time has been right all along.
        let shift_ms = if self.leap.set_clock(behind_ms) { behind_ms } else { 0 };
        *last_ms = last_ms.saturating_add(shift_ms);
        self.first_ms.shift(shift_ms);
        self.level_ms.shift(shift_ms);
        if let Some(limits) = &mut self.limits {
            limits.shift(behind_ms, shift_ms);
        }
        self.cadence.shift(shift_ms);
        self.flatline.shift(shift_ms);
        self.spike.shift(shift_ms);
        self.stay.shift(shift_ms);
        self.rate.restart();
    }

    /// Other settings: limits change, what was learnt and what is active stays. An alert whose
    /// limit is gone is cleared with the next reading or tick, which is then due at once.
    pub fn reconfigure(&mut self, settings: &Settings, series: &str, unit: Option<&str>) {
        self.limits = Limits::of(settings.rule(series), self.limits.as_deref()).map(Box::new);
        self.set_unit(unit);
    }

    /// The gateway took nothing for a while that ends now, by the logged clock: what sensors sent meanwhile
    /// may be on its way to it.
    pub fn missed(&mut self, clock_ms: i64) {
        self.silence.missed(clock_ms);
        self.held_ms = clock_ms;
    }

    /// The series was given a unit; messages carry its first [`UNIT_BYTES_MAX`] bytes.
    pub fn set_unit(&mut self, unit: Option<&str>) {
        self.unit = unit.filter(|unit| !unit.is_empty()).map(|unit| cut(unit, UNIT_BYTES_MAX).into());
    }

    /// Whether a reading is older than the newest and no sign that the series' time was set back: then
    /// fixed limits alone look at it, and have done so.
    #[inline]
    fn is_late(&mut self, clock_ms: i64, time_ms: i64, value: f64, out: &mut Vec<Finding>) -> bool {
        let Some(newest) = self.last.filter(|(last, _)| time_ms < *last) else { return false };
        if self.rewinds(time_ms) {
            return false;
        }
        if let Some(limits) = &mut self.limits {
            limits.observe_late(clock_ms, (time_ms, value), newest, self.unit.as_deref(), out);
        }
        true
    }

    /// A reading older than the newest came: whether the series' time was set back.
    #[cold]
    fn rewinds(&mut self, time_ms: i64) -> bool {
        self.late = self.late.saturating_add(1);
        if self.late < LATE_READINGS_MAX {
            return false;
        }
        (self.first_ms, self.level_ms) = Default::default();
        self.stay.restart();
        self.cadence.restart(time_ms);
        self.rate.restart();
        self.flatline.restart(time_ms);
        if let Some(limits) = &mut self.limits {
            limits.restart();
        }
        true
    }
}
