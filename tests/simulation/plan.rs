//! What happens in a world, drawn from a seed beforehand, so that it can be shortened.

use crate::live;
use crate::network::Weather;
use crate::rng::Rng;

/// What may go wrong in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    pub crashes: bool,
    pub clones: bool,
    pub disks: bool,
    pub damage: bool,
    pub clocks: bool,
    pub trims: bool,
    pub full: bool,
    /// The log is too small: entries are given up.
    pub shed: bool,
    /// The cloud loses its disk, or is restored from a backup.
    pub cloud_disks: bool,
    /// Bridges carry ordinary messages.
    pub bridges: bool,
    /// Gateways are one redundancy group.
    pub groups: bool,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub gateways: usize,
    pub sizes_ms: Vec<i64>,
    pub grace_ms: i64,
    pub every_ms: i64,
    pub preview: bool,
    /// Bytes a second of a link.
    pub budget: Option<u64>,
    /// Bytes that an interval aims at; 0: as many as the product.
    pub interval_bytes: usize,
    pub weather: Weather,
    /// Gateways hear the same sensors, and are one redundancy group.
    pub group: bool,
    /// Bytes of ordinary messages that may wait at a gateway; 0: there is no bridge.
    pub crossing_bytes: u64,
    /// How long one of the cloud may wait for a gateway, in ms; 0: for ever.
    pub crossing_ttl_ms: i64,
    /// Gateways have no battery for their clocks: some begin at 1970.
    pub unset: bool,
    pub steps: Vec<Step>,
}

/// One step; `device` is taken modulo the devices there are, `salt` decides what the step
/// leaves open, so that dropping a step changes no other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Time passes, in ms.
    Pass(i64),
    /// A sensor publishes.
    Sense {
        device: u8,
        salt: u64,
    },
    /// A sensor publishes, and most gateways hear it.
    SenseAll {
        salt: u64,
    },
    /// A client publishes an ordinary message that a bridge carries.
    Publish {
        device: u8,
        salt: u64,
    },
    /// A client of the cloud's broker does.
    CloudPublish {
        salt: u64,
    },
    /// A gateway's commit becomes durable, and is acknowledged to the sensors.
    Sync {
        device: u8,
    },
    /// It folds what is durable and speaks.
    Think {
        device: u8,
    },
    CloudSync,
    CloudThink,
    /// So many things happen to packets of a link.
    Net {
        device: u8,
        count: u8,
        salt: u64,
    },
    Connect {
        device: u8,
    },
    Disconnect {
        device: u8,
    },
    Stall {
        device: u8,
    },
    StallAlerts {
        device: u8,
    },
    /// The process dies; whether the batch under way had reached the disk.
    Crash {
        device: u8,
        kept: bool,
    },
    Start {
        device: u8,
    },
    /// The wall clock is set, right but for so many ms.
    SetClock {
        device: u8,
        ms: i64,
    },
    /// The log takes nothing, or again: what the gateway does besides goes on.
    Refuse {
        device: u8,
        refuses: bool,
    },
    /// The process dies, and the wall clock begins again at 1970.
    PowerCut {
        device: u8,
        kept: bool,
    },
    CloudCrash {
        kept: bool,
        salt: u64,
    },
    CloudStart,
    /// A snapshot.
    Save {
        device: u8,
    },
    /// The log is cut behind a snapshot.
    Trim {
        device: u8,
        keep: u8,
    },
    Full {
        device: u8,
    },
    Room {
        device: u8,
    },
    /// The wall clock jumps by so much.
    Jump {
        device: u8,
        ms: i64,
    },
    Backup {
        device: u8,
    },
    Restore {
        device: u8,
    },
    LoseDisk {
        device: u8,
    },
    /// A second device begins with a copy of the disk and the name.
    Clone {
        device: u8,
    },
    /// A sector in the middle of the log is damaged, and the process starts again.
    Damage {
        device: u8,
        salt: u64,
    },
    /// There is no room for what is held.
    Shed {
        device: u8,
        salt: u64,
    },
    /// A second machine goes on from the first one's memory and disk, as the first one does.
    CloneLive {
        device: u8,
    },
    /// The cloud's store is written.
    CloudSave,
    CloudBackup,
    CloudRestore,
    CloudLoseDisk,
}

impl Step {
    /// The device that it is about, where a machine that was copied may stand for the first one.
    pub fn device(&mut self) -> Option<&mut u8> {
        match self {
            Step::Sense { device, .. }
            | Step::Sync { device }
            | Step::Think { device }
            | Step::Net { device, .. }
            | Step::Connect { device }
            | Step::Disconnect { device }
            | Step::Stall { device }
            | Step::StallAlerts { device }
            | Step::Crash { device, .. }
            | Step::Start { device }
            | Step::Save { device }
            | Step::Trim { device, .. } => Some(device),
            _ => None,
        }
    }
}

/// In one world of so many, the cloud begins from its store.
const STORED_ONE_IN: u64 = 7;
/// In one world of so many, logs now and then take nothing.
const REFUSING_ONE_IN: u64 = 9;
/// In one world of so many, clocks have no batteries.
const UNSET_ONE_IN: u64 = 8;

const CHARACTERS: [Faults; 18] = {
    let none = Faults {
        crashes: true,
        clones: false,
        disks: false,
        damage: false,
        clocks: false,
        trims: false,
        full: false,
        shed: false,
        cloud_disks: false,
        bridges: false,
        groups: false,
    };
    [
        Faults { crashes: false, ..none },
        none,
        Faults { trims: true, shed: true, ..none },
        Faults { clones: true, trims: true, ..none },
        Faults { disks: true, clones: true, trims: true, ..none },
        Faults { clocks: true, full: true, trims: true, shed: true, ..none },
        Faults { clones: true, disks: true, clocks: true, trims: true, full: true, shed: true, ..none },
        Faults { clones: true, ..none },
        Faults { cloud_disks: true, trims: true, ..none },
        Faults { cloud_disks: true, clones: true, disks: true, trims: true, shed: true, ..none },
        Faults { bridges: true, trims: true, clocks: true, ..none },
        Faults { groups: true, trims: true, shed: true, ..none },
        Faults { groups: true, trims: true, clones: true, disks: true, cloud_disks: true, ..none },
        Faults { bridges: true, trims: true, clones: true, disks: true, cloud_disks: true, full: true, ..none },
        Faults { damage: true, ..none },
        Faults { damage: true, trims: true, shed: true, clocks: true, ..none },
        Faults { damage: true, trims: true, cloud_disks: true, bridges: true, ..none },
        Faults { damage: true, trims: true, clones: true, disks: true, cloud_disks: true, ..none },
    ]
};

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        if live::is_live(seed) {
            return live::plan(seed);
        }
        let mut rng = Rng::new(seed);
        let faults = rng.pick(&CHARACTERS);
        let mut plan = Self::with(seed, faults, &mut rng);
        if seed % UNSET_ONE_IN == 6 {
            plan.lose_time(&mut Rng::new(!seed));
        }
        if seed % REFUSING_ONE_IN == 2 {
            plan.refuse(&mut Rng::new(!seed.rotate_left(32)));
        }
        if seed % STORED_ONE_IN == 3 {
            plan.store(&mut Rng::new(!seed.rotate_left(16)));
        }
        plan
    }

    /// The cloud has a store, and begins from it.
    fn store(&mut self, rng: &mut Rng) {
        for _ in 0..2 + rng.index(4) {
            let at = rng.index(self.steps.len());
            self.steps.insert(at, Step::CloudSave);
            let again = (at + 1 + rng.index(12)).min(self.steps.len());
            let crash = [Step::CloudCrash { kept: rng.percent(50), salt: rng.next() }, Step::CloudStart];
            self.steps.splice(again..again, crash);
        }
    }

    /// Logs take nothing for a while, or until their process ends.
    fn refuse(&mut self, rng: &mut Rng) {
        for _ in 0..1 + rng.index(4) {
            let (at, device) = (rng.index(self.steps.len()), rng.below(self.gateways as u64) as u8);
            let refuse = Step::Refuse { device, refuses: true };
            if rng.percent(50) {
                // The answer to what an earlier boot had left comes to a log that does not take it.
                let (salt, kept, count) = (rng.next(), true, 6);
                let net = Step::Net { device, count, salt };
                let start = [Step::Crash { device, kept }, Step::Start { device }, Step::Connect { device }, Step::Sync { device }];
                let tell = [Step::Think { device }, net, Step::CloudSync, Step::CloudThink, refuse, net, Step::Think { device }];
                self.steps.splice(at..at, start.into_iter().chain(tell));
            } else {
                self.steps.insert(at, refuse);
            }
            let again = at + 1 + rng.index(2 * (self.steps.len() - at));
            if again < self.steps.len() {
                self.steps.insert(again, Step::Refuse { device, refuses: false });
            }
        }
    }

    /// Gateways without batteries for their clocks: those begin at 1970, and again when the power was
    /// cut, until somebody sets them.
    fn lose_time(&mut self, rng: &mut Rng) {
        self.unset = true;
        for _ in 0..2 + rng.index(6) {
            let (at, device) = (rng.index(self.steps.len()), rng.below(self.gateways as u64) as u8);
            if rng.percent(60) {
                let ms = if rng.percent(80) { rng.range(-200, 200) } else { rng.range(-100_000, 100_000) };
                self.steps.insert(at, Step::SetClock { device, ms });
            } else {
                self.steps.splice(at..at, [Step::PowerCut { device, kept: rng.percent(50) }, Step::Start { device }]);
            }
        }
    }

    pub fn with(seed: u64, faults: Faults, rng: &mut Rng) -> Self {
        let gateways = match rng.below(20) {
            0..10 => 1 + usize::from(faults.groups),
            10..17 => 2,
            17..19 => 3 + rng.index(2),
            _ => 5 + rng.index(4),
        };
        let bad = rng.pick(&[0u64, 5, 20, 50]);
        let weather =
            Weather { lost: bad, repeated: rng.pick(&[0, 10, 30]), overtaken: rng.pick(&[0, 20, 60]), slow: rng.pick(&[0, 0, 70]) };
        let sizes_ms = rng.pick(&[&[10_000][..], &[10_000, 60_000], &[10_000, 15_000], &[60_000, 10_000, 15_000]]).to_vec();
        let count = 30 + rng.index(90) + 15 * gateways;
        let mut plan = Self {
            seed,
            gateways,
            sizes_ms,
            grace_ms: rng.pick(&[0, 2_000, 5_000]),
            every_ms: rng.pick(&[1_000, 5_000]),
            preview: rng.percent(25),
            budget: rng.pick(&[None, None, Some(1_000)]),
            // Two entries at most: several intervals are under way wherever there are more.
            interval_bytes: rng.pick(&[0, 100]),
            weather,
            group: faults.groups,
            crossing_bytes: if faults.bridges { rng.pick(&[1 << 20, 1 << 20, 600]) } else { 0 },
            crossing_ttl_ms: if faults.bridges { rng.pick(&[0, 0, 20_000]) } else { 0 },
            unset: false,
            steps: Vec::with_capacity(count + 2 * gateways),
        };
        for device in 0..gateways as u8 {
            plan.steps.extend([Step::Connect { device }]);
        }
        let mut devices = gateways as u64;
        for _ in 0..count {
            let device = rng.below(devices) as u8;
            plan.draw(faults, device, rng);
            if matches!(plan.steps.last(), Some(Step::Clone { .. })) {
                devices += 1;
            }
        }
        plan
    }

    /// As a person reads it.
    pub fn story(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(|step| format!("  {step:?}")).collect();
        let Self {
            gateways,
            group,
            sizes_ms,
            grace_ms,
            every_ms,
            preview,
            budget,
            interval_bytes,
            weather,
            crossing_bytes,
            crossing_ttl_ms,
            unset,
            ..
        } = self;
        format!(
            "{gateways} gateways (of a group: {group}), sizes {sizes_ms:?}, grace {grace_ms}, every {every_ms}, preview {preview}, budget {budget:?}, \
             {interval_bytes} bytes an interval, {weather:?}, {crossing_bytes} bytes of messages for {crossing_ttl_ms} ms, clocks without batteries: {unset}\n{}",
            steps.join("\n")
        )
    }

    fn draw(&mut self, faults: Faults, device: u8, rng: &mut Rng) {
        let salt = rng.next();
        if faults.bridges && rng.percent(25) {
            self.steps.push(rng.pick(&[Step::Publish { device, salt }, Step::Publish { device, salt }, Step::CloudPublish { salt }]));
            return;
        }
        let common = match rng.below(100) {
            0..18 if faults.groups => Step::SenseAll { salt },
            0..22 => Step::Sense { device, salt },
            22..38 => {
                // What mostly belongs together; each may be cut off by what comes between.
                self.steps.push(Step::Sync { device });
                Step::Think { device }
            }
            38..44 => Step::Sync { device },
            44..50 => Step::Think { device },
            50..62 => Step::Net { device, count: 1 + (salt % 6) as u8, salt },
            62..70 => {
                self.steps.push(Step::CloudSync);
                Step::CloudThink
            }
            70..73 => Step::CloudSync,
            73..76 => Step::CloudThink,
            76..90 => Step::Pass(rng.pick(&[1, 200, 1_000, 3_000, 6_000, 12_000, 35_000])),
            90..93 => Step::Connect { device },
            93 => Step::Disconnect { device },
            94 => rng.pick(&[Step::Stall { device }, Step::StallAlerts { device }]),
            _ => return self.fault(faults, device, rng),
        };
        self.steps.push(common);
    }

    fn fault(&mut self, faults: Faults, device: u8, rng: &mut Rng) {
        let salt = rng.next();
        if faults.cloud_disks && rng.percent(40) {
            let step = rng.pick(&[Step::CloudBackup, Step::CloudRestore, Step::CloudRestore, Step::CloudLoseDisk, Step::Save { device }]);
            self.steps.push(step);
            return;
        }
        let step = match rng.below(15) {
            0..3 if faults.crashes => {
                self.steps.push(Step::Crash { device, kept: rng.percent(50) });
                Step::Start { device }
            }
            3..5 if faults.crashes => {
                self.steps.push(Step::CloudCrash { kept: rng.percent(50), salt });
                Step::CloudStart
            }
            5 if faults.trims => Step::Save { device },
            6 if faults.trims => Step::Trim { device, keep: 1 + rng.below(2) as u8 },
            7 if faults.full => rng.pick(&[Step::Full { device }, Step::Room { device }]),
            8 if faults.clocks => Step::Jump { device, ms: rng.pick(&[-3_600_000, -10_000, 5_000, 60_000, 86_400_000]) },
            9 if faults.disks => rng.pick(&[Step::Backup { device }, Step::Restore { device }, Step::LoseDisk { device }]),
            10 if faults.clones => Step::Clone { device },
            12 if faults.disks => Step::Restore { device },
            10..=12 if faults.damage => Step::Damage { device, salt },
            14 if faults.shed => Step::Shed { device, salt },
            _ => Step::Sense { device, salt },
        };
        self.steps.push(step);
    }
}
