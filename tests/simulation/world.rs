//! A world: devices, a cloud, links between them, and what happens as a plan says.

use crate::cloud::{Cloud, Down};
use crate::device::clock::is_set;
use crate::device::{Ctx, Device, EPOCH_MS};
use crate::mutation::Mutation;
use crate::network::{Packet, Weather};
use crate::oracle::damage::Hole;
use crate::oracle::{Oracle, Told};
use crate::plan::{Plan, Step};
use crate::rng::Rng;
use detect::LimitRule;
use detect::Settings;
use detect::pattern::Pattern;
use replica::fold::{FOLD_VERSION, FoldConfig};
use replica::uplink::Lane;
use schemas::message::Wanted;
use std::rc::Rc;

/// Devices in one world, clones included.
pub const DEVICES_MAX: usize = 10;
/// In one world of so many, processes at either end are now and then of the version that kept no hashes.
const MIXED_ONE_IN: u64 = 8;
/// Tells apart the stream of what only worlds have whose clocks lose the time.
const UNSET: u64 = 0x000c_10c4;
/// Frames that every second damage is among.
const NEWEST_FRAMES: usize = 6;
/// Rounds in which a healed world must come to rest.
const ROUNDS_MAX: usize = 400;

#[derive(Clone)]
pub struct World {
    pub ctx: Ctx,
    weather: Weather,
    pub devices: Vec<Device>,
    pub cloud: Cloud,
}

impl World {
    pub fn new(plan: &Plan, mutation: Mutation, traced: bool) -> Result<Self, String> {
        Self::begin(plan, mutation, traced, None)
    }

    /// One in which boots are counted.
    pub fn counted(plan: &Plan, mutation: Mutation) -> Result<Self, String> {
        Self::begin(plan, mutation, false, Some([0, 0]))
    }

    fn begin(plan: &Plan, mutation: Mutation, traced: bool, counted: Option<[u64; 2]>) -> Result<Self, String> {
        let rule = LimitRule { series: Pattern::new("line/**"), high_high: Some(85.0), ..LimitRule::default() };
        let wanted = ["shared/#", "to/#"].into_iter().filter(|_| plan.crossing_bytes > 0);
        let config = FoldConfig {
            fold_version: FOLD_VERSION,
            sizes_ms: plan.sizes_ms.clone(),
            grace_ms: plan.grace_ms,
            detection: Settings { limits: vec![rule], ..Default::default() },
            alarms: Some(detect::alarm::Settings::default()),
            offers: true,
            group: plan.group.then(|| "cell".to_owned()),
            page_alerts: 2,
            crossing_bytes: plan.crossing_bytes,
            wanted: wanted.map(|filter| Wanted { filter: filter.to_owned(), ttl_ms: plan.crossing_ttl_ms }).collect(),
        };
        let mut rng = Rng::new(plan.seed ^ 0x5bd1_e995);
        let mut devices = Vec::new();
        for n in 0..plan.gateways {
            let offset_ms = if rng.percent(10) { rng.pick(&[-1_700_000_000_000, -86_400_000, 30_000]) } else { rng.range(-200, 200) };
            let drift = if rng.percent(10) { rng.range(-20, 20) } else { 0 };
            devices.push(Device::new(format!("g{n}"), offset_ms, drift));
        }
        // From a stream of its own, so that worlds whose clocks have batteries are as they are without.
        let mut unset = Rng::new(plan.seed ^ UNSET);
        for device in devices.iter_mut().filter(|_| plan.unset && unset.percent(70)) {
            device.offset_ms = -EPOCH_MS;
        }
        let mut world = Self {
            ctx: Ctx {
                now_ms: 0,
                oracle: Oracle::new(&plan.sizes_ms, plan.grace_ms, plan.group),
                mutation,
                config: Rc::new(schemas::cbor::to_vec(&config)),
                every_ms: plan.every_ms,
                preview: plan.preview,
                budget: plan.budget,
                interval_bytes: plan.interval_bytes,
                rng,
                messages: 0,
                publishes: true,
                mixed: plan.seed % MIXED_ONE_IN == 3 && counted.is_none(),
                traced,
                counted,
            },
            weather: plan.weather,
            devices,
            cloud: Cloud::default(),
        };
        for device in &mut world.devices {
            device.start(&mut world.ctx)?;
        }
        world.cloud.start(&mut world.ctx)?;
        Ok(world)
    }

    /// Runs a plan to its end, then heals the world and waits for rest.
    pub fn run(plan: &Plan, mutation: Mutation, traced: bool) -> Result<(), String> {
        let mut world = Self::new(plan, mutation, traced)?;
        for (index, step) in plan.steps.iter().enumerate() {
            world.ctx.trace(|| format!("{step:?}"));
            world.step(*step).map_err(|what| format!("step {index} {step:?}: {what}"))?;
        }
        world.rest().map_err(|what| format!("at rest: {what}"))
    }

    pub fn step(&mut self, step: Step) -> Result<(), String> {
        let count = self.devices.len();
        let at = |device: u8| usize::from(device) % count;
        if let Step::Crash { device, .. } | Step::PowerCut { device, .. } = step
            && self.shares_boot(at(device))
        {
            return Ok(());
        }
        let ctx = &mut self.ctx;
        match step {
            Step::Pass(ms) => ctx.now_ms += ms,
            Step::Sense { device, salt } => self.devices[at(device)].sense(ctx, salt),
            Step::SenseAll { salt } => {
                let (mut rng, told_apart_by) = (Rng::new(salt ^ 1), ctx.messages + 1);
                for device in &mut self.devices {
                    if rng.percent(85) {
                        device.hear(ctx, salt, told_apart_by);
                    }
                }
            }
            Step::Publish { device, salt } => self.devices[at(device)].publish_plain(ctx, salt),
            Step::CloudPublish { salt } => self.cloud.publish(ctx, salt),
            Step::Sync { device } => self.devices[at(device)].sync(ctx)?,
            Step::Think { device } => self.devices[at(device)].think(ctx)?,
            Step::CloudSync => self.cloud.sync(),
            Step::CloudThink => self.cloud_think()?,
            Step::Net { device, count, salt } => {
                let mut rng = Rng::new(salt);
                for _ in 0..count {
                    self.net(at(device), self.weather, &mut rng)?;
                }
            }
            Step::Connect { device } if self.cloud.process.is_some() => self.devices[at(device)].connect(ctx),
            Step::Connect { .. } => {}
            Step::Disconnect { device } => self.devices[at(device)].disconnect(),
            Step::Stall { device } => self.devices[at(device)].stall(Lane::Intervals),
            Step::StallAlerts { device } => self.devices[at(device)].stall(Lane::Alerts),
            Step::Crash { device, kept } => self.devices[at(device)].crash(ctx, kept)?,
            Step::CloneLive { device } => self.clone_live(at(device))?,
            Step::Start { device } => self.devices[at(device)].start(ctx)?,
            Step::CloudCrash { kept, salt } => self.cloud_crash(kept, salt),
            Step::CloudStart => self.cloud.start(ctx)?,
            Step::Save { device } => self.devices[at(device)].save(),
            Step::Trim { device, keep } => self.devices[at(device)].trim(ctx, usize::from(keep))?,
            Step::Full { device } => self.devices[at(device)].disk.full = true,
            Step::Room { device } => self.devices[at(device)].disk.full = false,
            Step::SetClock { device, ms } => self.devices[at(device)].offset_ms = ms,
            Step::PowerCut { device, kept } => {
                let device = &mut self.devices[at(device)];
                device.crash(ctx, kept)?;
                device.offset_ms = -EPOCH_MS - ctx.now_ms;
            }
            Step::Refuse { device, refuses } => {
                if let Some(process) = &mut self.devices[at(device)].process {
                    process.refuses = refuses;
                }
            }
            Step::Jump { device, ms } => self.devices[at(device)].offset_ms += ms,
            Step::Backup { device } => {
                let device = &mut self.devices[at(device)];
                device.backup = Some(device.disk.clone());
            }
            Step::Restore { device } => {
                let device = &mut self.devices[at(device)];
                if let Some(backup) = device.backup.clone() {
                    device.crash(ctx, false)?;
                    device.disk = backup;
                    ctx.oracle.disks_lost = true;
                    device.start(ctx)?;
                }
            }
            Step::LoseDisk { device } => {
                let device = &mut self.devices[at(device)];
                device.crash(ctx, false)?;
                device.disk = Default::default();
                ctx.oracle.disks_lost = true;
                device.start(ctx)?;
            }
            Step::Clone { device } => {
                if count < DEVICES_MAX {
                    ctx.oracle.cloned = true;
                    let mut clone = self.devices[at(device)].cloned();
                    clone.start(ctx)?;
                    if self.cloud.process.is_some() {
                        clone.connect(ctx);
                    }
                    self.devices.push(clone);
                }
            }
            Step::Damage { device, salt } => {
                let device = &mut self.devices[at(device)];
                device.crash(ctx, false)?;
                let (mut rng, frames) = (Rng::new(salt), device.disk.frames.len());
                // Of the newest, not all is known to be at the cloud.
                let among = if rng.percent(50) { frames } else { frames.min(NEWEST_FRAMES) };
                let index = frames - among + rng.index(among.max(1));
                let given_up = device.given_up(ctx)?;
                if let Some(frame) = device.disk.damage(index) {
                    ctx.oracle.crossed.forgets(device.number(), given_up);
                    let is_covered = device.disk.snapshots.last().is_some_and(|saved| saved.lsn >= frame.last());
                    let hole = Hole::new(&device.name, frame, &device.disk, index);
                    ctx.oracle.damaged(hole, is_covered);
                }
                device.start(ctx)?;
            }
            Step::Shed { device, salt } => self.devices[at(device)].shed(salt % 600),
            Step::CloudBackup => self.cloud.backup = Some((self.cloud.log.clone(), self.cloud.saved.clone(), ctx.oracle.told.clone())),
            Step::CloudSave => self.cloud.save()?,
            Step::CloudRestore => {
                if let Some((log, saved, told)) = self.cloud.backup.clone() {
                    self.cloud_crash(false, 0);
                    self.ctx.oracle.cloud_lost();
                    (self.cloud.log, self.cloud.saved, self.ctx.oracle.told) = (log, saved, told);
                    self.cloud.start(&mut self.ctx)?;
                }
            }
            Step::CloudLoseDisk => {
                self.cloud_crash(false, 0);
                self.cloud.log.clear();
                self.cloud.saved = None;
                self.ctx.oracle.cloud_lost();
                self.ctx.oracle.told = Told::default();
                self.cloud.start(&mut self.ctx)?;
            }
        }
        Ok(())
    }

    /// One thing happens on a link.
    fn net(&mut self, index: usize, weather: Weather, rng: &mut Rng) -> Result<(), String> {
        match self.devices[index].link.step(weather, rng) {
            Some((goes_up, packet)) => self.arrive(index, goes_up, &packet),
            None => Ok(()),
        }
    }

    /// A packet of a link arrives.
    pub fn arrive(&mut self, index: usize, goes_up: bool, packet: &Packet) -> Result<(), String> {
        let device = &mut self.devices[index];
        if !goes_up {
            return device.receive(&mut self.ctx, packet.what, &packet.bytes);
        }
        let mut down = Down::new();
        let name = device.name.clone();
        self.cloud.receive(&mut self.ctx, &name, packet.what, &packet.bytes, &mut down)?;
        self.send_down(down);
        Ok(())
    }

    /// Answers go to a gateway's topic: to every device of that name.
    fn send_down(&mut self, down: Down) {
        for (gateway, what, bytes) in down {
            for device in self.devices.iter_mut().filter(|d| d.name == gateway) {
                device.link.send_down(what, bytes.clone());
            }
        }
    }

    fn cloud_think(&mut self) -> Result<(), String> {
        let mut down = Down::new();
        self.cloud.think(&mut self.ctx, &mut down)?;
        self.send_down(down);
        Ok(())
    }

    /// The cloud dies, and its broker with it; some gateways see it at once.
    fn cloud_crash(&mut self, kept: bool, salt: u64) {
        self.cloud.crash(kept);
        let mut rng = Rng::new(salt);
        for device in &mut self.devices {
            if rng.percent(70) {
                device.disconnect();
            } else {
                device.stall(Lane::Intervals);
                device.stall(Lane::Alerts);
            }
            if rng.percent(50) {
                device.link.clear();
            }
        }
    }

    /// Heals everything and lets time pass until nothing is held any more.
    pub fn rest(&mut self) -> Result<(), String> {
        self.ctx.publishes = true;
        self.cloud.start(&mut self.ctx)?;
        for device in &mut self.devices {
            device.disk.full = false;
            device.start(&mut self.ctx)?;
            if let Some(process) = &mut device.process {
                process.refuses = false;
            }
            if !is_set(device.wall_ms(&self.ctx)) {
                device.offset_ms = 0;
            }
        }
        let mut rng = Rng::new(0);
        for round in 0..ROUNDS_MAX {
            if let Some(process) = self.cloud.process.as_ref().filter(|_| self.cloud.quiet()) {
                let boot = process.bridge.boot;
                let names: Vec<&str> = self.devices.iter().map(|d| d.name.as_str()).collect();
                let carried = self.cloud.carried_all(&self.ctx, &names);
                let whole = self.ctx.oracle.incomplete(&self.devices, &process.bridge).is_none();
                if whole && carried && self.devices.iter().all(|d| d.quiet(boot) && d.crossed_all(&self.ctx) && d.link.under_way() == 0) {
                    return self.ctx.oracle.quiet(&self.devices, &process.bridge);
                }
            }
            // Windows of sensors whose clocks are ahead take minutes to be sealed.
            self.ctx.now_ms += if round < 20 { 1_000 } else { 20_000 };
            for index in 0..self.devices.len() {
                // What stalls must be found out by whom it concerns.
                self.devices[index].reconnect(&self.ctx);
                self.devices[index].sync(&mut self.ctx)?;
                self.devices[index].think(&mut self.ctx)?;
                while self.devices[index].link.under_way() > 0 {
                    self.net(index, Weather::CALM, &mut rng)?;
                }
            }
            self.cloud.sync();
            self.cloud_think()?;
            for index in 0..self.devices.len() {
                while self.devices[index].link.under_way() > 0 {
                    self.net(index, Weather::CALM, &mut rng)?;
                }
            }
        }
        Err(format!("no rest after {ROUNDS_MAX} rounds: {}", self.restless()))
    }

    fn restless(&self) -> String {
        let mut out = format!("cloud quiet: {}", self.cloud.quiet());
        let boot = self.cloud.process.as_ref().map_or(0, |p| p.bridge.boot);
        let incomplete = self.cloud.process.as_ref().and_then(|p| self.ctx.oracle.incomplete(&self.devices, &p.bridge));
        out += &incomplete.map_or_else(String::new, |what| format!("; {what}"));
        for device in self.devices.iter().filter(|d| !d.quiet(boot)) {
            let Some(process) = &device.process else { continue };
            for p in &process.fold.boots {
                out += &format!(
                    "; {} (healing {:?}) boot {:x}: applied {} of {}, let go of up to {}, readings {} of {}, {} entries, {} alerts, ended {}",
                    device.name,
                    process.fold.healed_to(),
                    p.boot,
                    p.applied,
                    p.end,
                    p.complete_from,
                    p.readings_applied,
                    p.readings,
                    p.entries.len(),
                    p.alerts.len(),
                    p.ended
                );
            }
        }
        out
    }
}
