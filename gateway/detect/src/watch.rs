//! All detectors of one series.
//!
//! A reading older than one already seen goes into its window but decides nothing here:
//! detectors look at the series in the order of its event times.

use crate::finding::Finding;
use crate::flatline::Flatline;
use crate::limit::Limit;
use crate::rate::Rate;
use crate::settings::Settings;
use crate::silence::Silence;
use crate::spike::Spike;
use serde::{Deserialize, Serialize};

/// One series' detectors and their state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Watch {
    limits: Vec<Limit>,
    spike: Spike,
    rate: Rate,
    flatline: Flatline,
    silence: Silence,
    unit: Option<String>,
    last: Option<(i64, f64)>,
}

impl Watch {
    /// One reading: logged clock of its arrival, event time, value.
    #[inline]
    pub fn observe(&mut self, clock_ms: i64, time_ms: i64, value: f64, out: &mut Vec<Finding>) {
        self.silence.observe(clock_ms, time_ms, value, out);
        if self.last.is_some_and(|(last, _)| time_ms < last) {
            return;
        }
        self.last = Some((time_ms, value));
        let unit = self.unit.as_deref();
        for limit in &mut self.limits {
            limit.observe(time_ms, value, unit, out);
        }
        self.spike.observe(time_ms, value, unit, out);
        self.rate.observe(time_ms, value, unit, out);
        self.flatline.observe(time_ms, value, unit, out);
    }

    /// The logged clock at which [`Watch::tick`] has something to say.
    #[inline]
    pub fn due(&self) -> Option<i64> {
        self.silence.due()
    }

    /// The logged clock reached [`Watch::due`] without a reading.
    pub fn tick(&mut self, clock_ms: i64, out: &mut Vec<Finding>) {
        self.silence.tick(clock_ms, self.last.map_or(0.0, |l| l.1), out);
    }

    /// Other settings: limits change, what was learnt stays.
    pub fn reconfigure(&mut self, settings: &Settings, series: &str, unit: Option<&str>) {
        self.limits = settings.rule(series).map(|rule| Limit::of(rule, &self.limits)).unwrap_or_default();
        self.set_unit(unit);
    }

    /// The series was given a unit.
    pub fn set_unit(&mut self, unit: Option<&str>) {
        self.unit = unit.map(str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Kind, State};
    use crate::{LimitRule, Pattern};
    use proptest::prelude::*;

    fn noise(seed: &mut u64) -> f64 {
        // Sum of uniform numbers: near enough to normal, σ = 1.
        let mut sum = 0.0;
        for _ in 0..12 {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (*seed >> 11) as f64 / (1u64 << 53) as f64;
        }
        sum - 6.0
    }

    fn run(watch: &mut Watch, values: impl IntoIterator<Item = f64>, from_s: i64) -> Vec<Finding> {
        let mut out = Vec::new();
        for (i, v) in values.into_iter().enumerate() {
            let t = (from_s + i as i64) * 1_000;
            watch.observe(t, t, v, &mut out);
        }
        out
    }

    #[test]
    fn a_normal_day_is_silent_and_each_fault_is_found() {
        let mut seed = 1;
        let mut watch = Settings::default().watch("s", Some("°C"));
        let normal: Vec<f64> = (0..86_400).map(|_| ((20.0 + 0.3 * noise(&mut seed)) * 10.0).round() / 10.0).collect();
        assert_eq!(run(&mut watch, normal, 0), vec![]);
        let found = run(&mut watch, [20.0, 40.0, 20.0, 20.0], 86_400);
        assert_eq!(
            found.iter().map(|f| (f.kind, f.state)).collect::<Vec<_>>(),
            vec![(Kind::Spike, State::Active), (Kind::Spike, State::Cleared)]
        );
        let found = run(&mut watch, std::iter::repeat_n(20.1, 400), 86_404);
        assert_eq!(found[0].kind, Kind::Flatline);
        let mut found = Vec::new();
        let due = watch.due().unwrap();
        watch.tick(due, &mut found);
        assert_eq!(found[0].kind, Kind::Silence);
    }

    #[test]
    fn a_limit_has_deadband_and_delays() {
        let rule = LimitRule {
            series: Pattern::new("**"),
            high_high: Some(95.0),
            high: None,
            low: None,
            low_low: None,
            deadband: 1.0,
            on_delay_ms: 0,
            off_delay_ms: 2_000,
        };
        let mut watch = Settings { limits: vec![rule] }.watch("a", Some("°C"));
        let found = run(&mut watch, [97.2, 94.5, 93.0, 93.0, 93.0, 93.0], 0);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].message, "97.2 °C is above 95 °C");
        assert_eq!((found[1].state, found[1].time_ms), (State::Cleared, 4_000));
    }

    proptest! {
        #[test]
        fn anything_goes_in_and_state_survives_storage(bits in prop::collection::vec((any::<i32>(), any::<u64>()), 1..300), cut in 0usize..300) {
            let mut whole = Settings::default().watch("s", None);
            let mut stored = whole.clone();
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for (i, (t, bits)) in bits.iter().enumerate() {
                let value = f64::from_bits(*bits);
                if !value.is_finite() {
                    continue;
                }
                whole.observe(i as i64, i64::from(*t), value, &mut a);
                if i == cut {
                    stored = schemas::cbor::from_slice(&schemas::cbor::to_vec(&stored), 1 << 20).unwrap();
                }
                stored.observe(i as i64, i64::from(*t), value, &mut b);
            }
            prop_assert_eq!(&whole, &stored);
            prop_assert_eq!(a, b);
        }
    }
}
