//! Series as plants have them, and the faults that sensors and machines have, from a seed.
//!
//! The generator and its seeds are fixed: detectors are changed to do better here, never this
//! file to make them look better.

use std::f64::consts::TAU;

/// Numbers at random, the same for one seed on every platform.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    /// Between 0 and 1 (splitmix64).
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Near enough to normal: mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// What a series measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// A temperature under control: white noise, one decimal.
    Steady,
    /// A pressure that wanders: AR(1), φ = 0.95.
    Wandering,
    /// An outdoor temperature: day and night, noise, every 10 s.
    Daily,
    /// A speed that follows set points: another of four every hour or two, reached in a minute.
    SetPoints,
    /// A current that is on or off for some minutes each.
    OnOff,
    /// A tank that fills and empties.
    Sawtooth,
    /// A flow in whole units.
    Coarse,
    /// A vibration: never below zero, a tail to above.
    Vibration,
    /// A meter that reports once a minute.
    Slow,
}

pub const BASELINES: [Baseline; 9] = [
    Baseline::Steady,
    Baseline::Wandering,
    Baseline::Daily,
    Baseline::SetPoints,
    Baseline::OnOff,
    Baseline::Sawtooth,
    Baseline::Coarse,
    Baseline::Vibration,
    Baseline::Slow,
];

impl Baseline {
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Wandering => "wandering",
            Self::Daily => "day and night",
            Self::SetPoints => "set points",
            Self::OnOff => "on and off",
            Self::Sawtooth => "sawtooth",
            Self::Coarse => "coarse",
            Self::Vibration => "vibration",
            Self::Slow => "once a minute",
        }
    }

    /// Time between two readings, in ms, but for some jitter.
    pub fn cadence_ms(self) -> i64 {
        match self {
            Self::Daily => 10_000,
            Self::Slow => 60_000,
            _ => 1_000,
        }
    }

    /// The smallest difference that the sensor tells.
    fn quantum(self) -> f64 {
        match self {
            Self::Coarse => 1.0,
            Self::Vibration | Self::OnOff => 0.01,
            _ => 0.1,
        }
    }

    /// The standard deviation of the series as a whole: what a fault's size is measured by.
    pub fn sigma(self) -> f64 {
        match self {
            Self::Steady => 0.3,
            Self::Wandering => 1.0,
            Self::Daily => 4.3,
            Self::SetPoints => 150.0,
            Self::OnOff => 5.5,
            Self::Sawtooth => 14.5,
            Self::Coarse => 1.5,
            Self::Vibration => 0.6,
            Self::Slow => 2.0,
        }
    }
}

/// A series without faults, reading by reading.
pub struct Source {
    baseline: Baseline,
    chance: Chance,
    now_ms: i64,
    /// Of what wanders, and of what is being moved to.
    state: f64,
    target: f64,
    /// When the machine next does something else.
    until_ms: i64,
    on: bool,
}

impl Source {
    pub fn new(baseline: Baseline, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        // Anywhere in the day.
        let now_ms = 1_700_000_000_000 + chance.between(0.0, 86_400_000.0) as i64;
        let state = match baseline {
            Baseline::SetPoints => 1_200.0,
            Baseline::Sawtooth => chance.between(30.0, 80.0),
            _ => 0.0,
        };
        Self { baseline, chance, now_ms, state, target: state, until_ms: now_ms, on: false }
    }

    /// The next reading: its time and its value before the sensor rounds it.
    pub fn next(&mut self) -> (i64, f64) {
        let cadence = self.baseline.cadence_ms() as f64;
        self.now_ms += (cadence * self.chance.between(0.95, 1.05)) as i64;
        let now_ms = self.now_ms;
        let chance = &mut self.chance;
        let value = match self.baseline {
            Baseline::Steady => 65.0 + 0.3 * chance.normal(),
            Baseline::Wandering => {
                self.state = 0.95 * self.state + 0.312 * chance.normal();
                6.0 + self.state + 0.05 * chance.normal()
            }
            Baseline::Daily => {
                let day = TAU * (now_ms % 86_400_000) as f64 / 86_400_000.0;
                self.state = 0.999 * self.state + 0.02 * chance.normal();
                15.0 + 6.0 * day.sin() + self.state + 0.2 * chance.normal()
            }
            Baseline::SetPoints => {
                if now_ms >= self.until_ms {
                    self.until_ms = now_ms + chance.between(3_600_000.0, 7_200_000.0) as i64;
                    self.target = [1_000.0, 1_200.0, 1_300.0, 1_400.0][(chance.uniform() * 4.0) as usize % 4];
                }
                self.state += (self.target - self.state) * 0.08;
                self.state + 4.0 * chance.normal()
            }
            Baseline::OnOff => {
                if now_ms >= self.until_ms {
                    self.on = !self.on;
                    self.until_ms = now_ms + chance.between(240_000.0, 900_000.0) as i64;
                }
                if self.on { 12.0 + 0.4 * chance.normal() } else { 0.2 + 0.02 * chance.normal() }
            }
            Baseline::Sawtooth => {
                self.state += if self.on { 0.25 } else { -0.05 };
                if self.state > 80.0 || self.state < 30.0 {
                    self.on = self.state < 30.0;
                }
                self.state + 0.1 * chance.normal()
            }
            Baseline::Coarse => 32.0 + 1.5 * chance.normal(),
            Baseline::Vibration => 2.0 * (0.3 * chance.normal()).exp(),
            Baseline::Slow => {
                self.state = 0.8 * self.state + 1.2 * chance.normal();
                240.0 + self.state
            }
        };
        (now_ms, value)
    }

    /// What the sensor makes of a value.
    pub fn rounded(&self, value: f64) -> f64 {
        let quantum = self.baseline.quantum();
        // Whole multiples divided, so that a decimal is the double nearest to it.
        (value / quantum).round() / (1.0 / quantum).round()
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Spike,
    Shift,
    Drift,
    Stuck,
    Noise,
    Silence,
    Saturation,
}

pub const FAULTS: [Fault; 7] = [Fault::Spike, Fault::Shift, Fault::Drift, Fault::Stuck, Fault::Noise, Fault::Silence, Fault::Saturation];

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Shift => "shift",
            Self::Drift => "drift",
            Self::Stuck => "stuck",
            Self::Noise => "noise",
            Self::Silence => "silence",
            Self::Saturation => "saturation",
        }
    }

    /// Readings that it lasts.
    pub fn readings(self) -> usize {
        match self {
            Self::Spike => 2,
            Self::Shift | Self::Saturation => 900,
            Self::Drift => 2_400,
            Self::Stuck | Self::Noise | Self::Silence => 600,
        }
    }
}

/// One fault of a size, in the series' σ, upwards or down.
pub struct Injected {
    pub fault: Fault,
    size: f64,
    /// The value when it began.
    held: Option<f64>,
    chance: Chance,
}

impl Injected {
    pub fn new(fault: Fault, baseline: Baseline, sigmas: f64, seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0xFA);
        let down = chance.uniform() < 0.5;
        let size = baseline.sigma() * sigmas * if down { -1.0 } else { 1.0 };
        Self { fault, size, held: None, chance }
    }

    /// What the fault makes of the value `at` readings after it began; none: no reading comes.
    pub fn apply(&mut self, at: usize, value: f64) -> Option<f64> {
        let held = *self.held.get_or_insert(value);
        Some(match self.fault {
            Fault::Spike | Fault::Shift => value + self.size,
            // Three quarters of the time climbing, then it stays.
            Fault::Drift => value + self.size * (at as f64 / (0.75 * self.fault.readings() as f64)).min(1.0),
            Fault::Stuck => held,
            Fault::Noise => value + self.size * self.chance.normal(),
            Fault::Silence => return None,
            // The range ends where the series was: half of the values are cut off.
            Fault::Saturation => value.min(held),
        })
    }
}
