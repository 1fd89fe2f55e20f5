//! The run: does what is planned when it is due, and tells what comes of it.

use crate::demo::compare::{Comparison, Held, Key, Truth, compare};
use crate::demo::consumer::{Alert, Consumer, News, wall_ms};
use crate::demo::machine::{SHARED, machines};
use crate::demo::outcome::{Found, Outcome};
use crate::demo::plan::{Plan, Shape};
use crate::demo::plant::{GRACE_MS, SIZES};
use crate::demo::sensors::{World, run as run_machine};
use crate::demo::stage::Stage;
use crate::demo::voice::{Tone, Voice};
use anyhow::Context as _;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two looks at how everything stands.
const LOOK: Duration = Duration::from_millis(250);
/// How long everything may take to arrive behind the run: silence is called after 10 s, or 20 s on a machine too busy
/// to tell; a gateway may wait 30 s before it tries a link again.
const SETTLE_MAX: Duration = Duration::from_secs(45);
/// How long all must stay as it is once it agrees: what came twice would show.
const STAYS: Duration = Duration::from_secs(1);
/// Examples of merging that are told; more would hide the rest.
const EXAMPLES_MAX: u32 = 2;

/// What is to be done at a moment of the plan.
#[derive(Debug, Clone, Copy)]
enum Step {
    Fault(usize),
    Cut,
    Restore,
    Kill,
    Restart,
}

struct Story<'a> {
    stage: &'a mut Stage,
    plan: &'a Plan,
    voice: &'a Voice,
    began: Instant,
    began_ms: i64,
    truth: Arc<Mutex<Truth>>,
    found: Vec<Option<Found>>,
    /// Alert id → when an ear at the gateway had it.
    heard: HashMap<String, i64>,
    others: Vec<String>,
    /// Readings that the first gateway held at most before its link was cut.
    usual_held: u64,
    /// The link is cut; or it is back and what was held is still going.
    cut: bool,
    draining: bool,
    told_held: Option<Instant>,
    joined_told: u32,
    late_told: u32,
    alerts: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn next_news(consumer: &mut Option<Consumer>) -> Option<News> {
    consumer.as_mut()?.next().await
}

/// Raises the plant, plays the plan, waits until everything has arrived; what came of it.
///
/// # Errors
/// When a process cannot be started or ends by itself.
pub async fn play(stage: &mut Stage, plan: &Plan, voice: &Voice, folder: &Path) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let names = plan.gateways.join(", ");
    voice.tell(
        Tone::Act,
        "start",
        &format!(
            "Starting a cloud bridge and {} gateway{} ({names}), each a process of its own.",
            plan.gateways.len(),
            if plan.gateways.len() == 1 { "" } else { "s" }
        ),
        "A gateway stands on the factory floor: sensors publish to it over MQTT, and it acknowledges a reading only once it is on \
         disk. It watches every series, and sends windows (count, sum, minimum, maximum …) and alerts to the cloud instead of every \
         reading. The bridge merges what all gateways send.",
        json!({"gateways": plan.gateways, "run_ms": plan.run_ms, "folder": folder}),
    );
    stage.raise_cloud(folder).await?;
    stage.raise_gateways(folder, plan).await?;
    let truth = Arc::new(Mutex::new(Truth::new(&SIZES)));
    let (began, began_ms) = (Instant::now(), wall_ms());
    let mut working = JoinSet::new();
    let mut sensors = 0;
    for (index, gateway) in stage.gateways.iter().enumerate() {
        for machine in machines(plan, index) {
            sensors += machine.sensors.len();
            let world = World {
                gateway: gateway.recipe.name.clone(),
                port: gateway.port,
                began,
                began_ms,
                run_ms: plan.run_ms,
                counts: gateway.counts.clone(),
                truth: truth.clone(),
            };
            working.spawn(run_machine(machine, world));
        }
    }
    voice.tell(
        Tone::Act,
        "machines",
        &format!("{sensors} sensors begin to publish, 20 readings a second each."),
        "Some readings come out of order, and a few seconds late: they count in the window they belong to, by their own time. The \
         series hall/temperature has a sensor at every gateway and is one series at the cloud. For the first seconds the detectors \
         learn what is usual; nobody configured them.",
        json!({"sensors": sensors, "began_ms": began_ms}),
    );
    let mut story = Story {
        stage,
        plan,
        voice,
        began,
        began_ms,
        truth,
        found: vec![None; plan.faults.len()],
        heard: HashMap::new(),
        others: Vec::new(),
        usual_held: 0,
        cut: false,
        draining: false,
        told_held: None,
        joined_told: 0,
        late_told: 0,
        alerts: 0,
    };
    story.act(&mut working).await?;
    let comparison = story.settle(&mut working).await?;
    Ok(story.conclude(comparison, started))
}

impl Story<'_> {
    /// Does everything that is planned, while machines send.
    async fn act(&mut self, working: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
        let plan = self.plan;
        let mut steps = plan.faults.iter().enumerate().map(|(i, fault)| (fault.from_ms, Step::Fault(i))).collect::<Vec<_>>();
        steps.extend([(plan.outage_ms.0, Step::Cut), (plan.outage_ms.1, Step::Restore)]);
        steps.extend([(plan.kill_ms.0, Step::Kill), (plan.kill_ms.1, Step::Restart)]);
        steps.sort_by_key(|(at_ms, _)| *at_ms);
        let mut steps = VecDeque::from(steps);
        let end = self.at(plan.run_ms);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let next = steps.front().map_or(end, |(at_ms, _)| self.at(*at_ms));
            tokio::select! {
                // What is due comes first: a flood of news must not move the plan.
                biased;
                () = tokio::time::sleep_until(next) => match steps.pop_front() {
                    Some((_, step)) => self.step(step).await?,
                    None => break,
                },
                Some(news) = next_news(&mut self.stage.consumer) => self.hear(news),
                _ = look.tick() => self.look(working).await?,
            }
        }
        self.voice.tell(
            Tone::Act,
            "machines_end",
            "The machines stop. Now the rest must arrive: windows are sealed and go up, and then the comparison.",
            "",
            json!({}),
        );
        Ok(())
    }

    fn at(&self, ms: i64) -> Instant {
        self.began + Duration::from_millis(ms.unsigned_abs())
    }

    async fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Fault(index) => self.fault(index),
            Step::Cut => self.cut(),
            Step::Restore => self.restore(),
            Step::Kill => self.kill()?,
            Step::Restart => self.restart().await?,
        }
        Ok(())
    }

    fn fault(&self, index: usize) {
        let fault = &self.plan.faults[index];
        let why = match fault.shape {
            Shape::Silent => "Silence is called after 10 s at the earliest: below, a client that reconnects looks the same.",
            Shape::Ramp(_) => "The readings decide which: if the first steps leave all that the series ever did, it is a shift.",
            Shape::Stuck => "A stuck sensor looks healthy to anyone who only looks at limits.",
            _ => "",
        };
        self.voice.tell(
            Tone::Fault,
            "fault",
            &format!(
                "FAULT {} of {}: at {}, {}. Expected: {}.",
                index + 1,
                self.plan.faults.len(),
                fault.series,
                fault.what,
                fault.expected()
            ),
            why,
            json!({"fault": index + 1, "series": fault.series, "kind": fault.kind, "gateway": self.plan.gateways[fault.gateway]}),
        );
    }

    fn cut(&mut self) {
        let name = &self.plan.gateways[0];
        self.stage.gateways[0].link.cut();
        (self.cut, self.told_held) = (true, None);
        let lasts_s = (self.plan.outage_ms.1 - self.plan.outage_ms.0) as f64 / 1e3;
        self.voice.tell(
            Tone::Act,
            "link_cut",
            &format!("The link between {name} and the cloud is CUT for {lasts_s:.1} s."),
            "Nothing changes for its machines: readings are acknowledged, faults found, alerts shown at the gateway's own broker. What \
             the cloud has not got is held on disk, as finished windows and not as a queue of messages.",
            json!({"gateway": name, "lasts_s": lasts_s}),
        );
    }

    fn restore(&mut self) {
        let gateway = &self.stage.gateways[0];
        gateway.link.restore();
        let name = &gateway.recipe.name;
        (self.cut, self.draining, self.joined_told) = (false, true, 0);
        self.voice.tell(
            Tone::Act,
            "link_restored",
            &format!("The link of {name} is back; it holds {} readings.", gateway.held()),
            "A gateway tries again after a random wait that grows, so that a thousand of them do not all come at once; a new critical \
             alert does not wait. Alerts go on a connection of their own, past the backlog.",
            json!({"gateway": name, "held": gateway.held()}),
        );
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        let Some(gateway) = self.stage.gateways.last_mut() else { return Ok(()) };
        if let Some(mut role) = gateway.role.take() {
            role.kill()?;
        }
        let name = &gateway.recipe.name;
        self.voice.tell(
            Tone::Act,
            "kill",
            &format!("kill -9 of {name}, in the middle of its work."),
            "Its machines do not know; what they measure now waits inside them, unacknowledged. What it had acknowledged is in its log.",
            json!({"gateway": name}),
        );
        Ok(())
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        let Some(gateway) = self.stage.gateways.last_mut() else { return Ok(()) };
        let began = Instant::now();
        gateway.role = Some(gateway.recipe.start().await.context("after the kill")?);
        let (name, took) = (&gateway.recipe.name, began.elapsed());
        self.voice.tell(
            Tone::Act,
            "restart",
            &format!("{name} is started again and ready after {} ms.", took.as_millis()),
            "It has read its log: windows, alarms, and all that the detectors had learnt. Machines find their sessions and send again \
             what was not acknowledged; what the log has already is recognised and counts once.",
            json!({"gateway": name, "ready_after_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX)}),
        );
        Ok(())
    }

    /// How everything stands: processes, machines, what is held.
    async fn look(&mut self, working: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
        while let Some(done) = working.try_join_next() {
            done?.context("a machine's client gave up")?;
        }
        for role in self.stage.gateways.iter_mut().filter_map(|g| g.role.as_mut()).chain(self.stage.cloud.as_mut()) {
            if let Some(status) = role.ended()? {
                anyhow::bail!("{} ended by itself with {status}", role.name());
            }
        }
        self.stage.ask().await;
        self.listen_to_ears();
        let first = &self.stage.gateways[0];
        let (name, held) = (first.recipe.name.clone(), first.held());
        if !self.cut && !self.draining {
            self.usual_held = self.usual_held.max(held);
        }
        let due = self.told_held.is_none_or(|told| told.elapsed() >= Duration::from_secs(2));
        if self.draining && first.is_connected() && held <= self.usual_held {
            self.draining = false;
            self.voice.tell(
                Tone::Good,
                "drained",
                &format!("{name} has delivered its backlog and holds {held} readings, as usual: windows that are still open."),
                "",
                json!({"gateway": name, "held": held}),
            );
        } else if (self.cut || self.draining) && due {
            self.told_held = Some(Instant::now());
            let verb = if self.cut { "holds" } else { "still holds" };
            self.voice.tell(Tone::Quiet, "held", &format!("{name} {verb} {held} readings."), "", json!({"gateway": name, "held": held}));
        }
        self.show_progress();
        Ok(())
    }

    fn show_progress(&self) {
        let held = self.stage.gateways.iter().map(|g| format!("{} holds {}", g.recipe.name, g.held())).collect::<Vec<_>>().join(", ");
        let windows = self.stage.consumer.as_ref().map_or(0, |consumer| lock(&consumer.holdings).windows.len());
        let found = self.found.iter().flatten().count();
        let message = format!("{windows} windows, {found} of {} faults found, {held}", self.found.len());
        self.voice.progress(self.began.elapsed(), message);
    }

    /// Alerts at the gateways' own brokers.
    fn listen_to_ears(&mut self) {
        for (index, gateway) in self.stage.gateways.iter_mut().enumerate() {
            while let Some(news) = gateway.ear.try_next() {
                let News::Alert(alert) = news else { continue };
                self.heard.insert(alert.id.clone(), alert.came_ms);
                if index == 0 && self.cut && alert.active {
                    self.voice.tell(
                        Tone::Warning,
                        "local_alert",
                        &format!("At {}, without the cloud: {} {}: {}", alert.gateway, alert.series, alert.kind, alert.message),
                        "",
                        json!({"id": alert.id, "gateway": alert.gateway, "series": alert.series, "kind": alert.kind}),
                    );
                }
            }
        }
    }

    /// News of the consumer at the cloud.
    fn hear(&mut self, news: News) {
        match news {
            News::Alert(alert) => self.alert(&alert),
            News::Window(key, held, before) => self.window(&key, &held, before.as_ref()),
            News::Presence(name, online) => {
                let text = format!("The cloud sees {name} {}.", if online { "online" } else { "offline" });
                self.voice.tell(Tone::Quiet, "presence", &text, "", json!({"gateway": name, "online": online}));
            }
        }
    }

    fn alert(&mut self, alert: &Alert) {
        self.alerts += 1;
        let since_ms = alert.time_ms - self.began_ms;
        let place = self.plan.gateways.iter().position(|name| *name == alert.gateway);
        let finds = self.plan.faults.iter().position(|f| Some(f.gateway) == place && f.is_found_by(&alert.series, &alert.kind, since_ms));
        let fields = json!({"id": alert.id, "gateway": alert.gateway, "series": alert.series, "kind": alert.kind,
                            "severity": alert.severity, "state": if alert.active { "active" } else { "cleared" }, "time": alert.time_ms,
                            "message": alert.message, "fault": finds.map(|index| index + 1)});
        if !alert.active {
            let text = format!("cleared: {} {}: {}", alert.series, alert.kind, alert.message);
            return self.voice.tell(Tone::Quiet, "alert", &text, "", fields);
        }
        let what = format!("{} {}: {}", alert.series, alert.kind, alert.message);
        let tone = if alert.severity == "critical" { Tone::Critical } else { Tone::Warning };
        match finds {
            Some(index) => {
                let from_ms = self.plan.faults[index].from_ms;
                let late_ms = alert.came_ms - self.began_ms - from_ms;
                let found = Found {
                    id: alert.id.clone(),
                    kind: alert.kind.clone(),
                    message: alert.message.clone(),
                    detected_ms: since_ms - from_ms,
                    gateway_ms: None,
                    consumer_ms: late_ms,
                };
                let text =
                    format!("ALERT at the consumer, {:.2} s after fault {}: {}, {what}", late_ms as f64 / 1e3, index + 1, alert.severity);
                self.voice.tell(tone, "alert", &text, "", fields);
                self.found[index].get_or_insert(found);
            }
            None => {
                self.others.push(format!("{} by {}", what, alert.gateway));
                self.voice.tell(tone, "alert", &format!("ALERT, for none of the faults: {what}"), "", fields);
            }
        }
    }

    /// Tells a few examples of how windows come together.
    fn window(&mut self, key: &Key, held: &Held, before: Option<&Held>) {
        let Some(before) = before.filter(|before| before.count < held.count && key.window == SIZES[0].1) else { return };
        let fields = json!({"series": key.series, "window": key.window, "start": key.start_ms, "count": held.count,
                            "before": before.count, "revision": held.revision, "gateways": held.gateways});
        let since_ms = key.start_ms - self.began_ms + self.voice.ms_at(self.began);
        // One that began before the demo did has no place in its time.
        if since_ms < 0 {
            return;
        }
        let second = |ms: i64| ms as f64 / 1e3;
        let (from, to) = (second(since_ms), second(since_ms + held.end_ms - key.start_ms));
        let name = format!("{} from {from:.1} s to {to:.1} s", key.series);
        if key.series == SHARED && held.gateways.len() > before.gateways.len() && self.joined_told < EXAMPLES_MAX {
            self.joined_told += 1;
            let new =
                held.gateways.keys().filter(|gateway| !before.gateways.contains_key(*gateway)).cloned().collect::<Vec<_>>().join(", ");
            let text = format!(
                "Window of {name}: it had {} readings at the cloud, with those of {new} it has {}; revision {}.",
                before.count, held.count, held.revision
            );
            self.voice.tell(Tone::Quiet, "merged", &text, "", fields);
        } else if held.gateways.len() == before.gateways.len() && self.late_told < EXAMPLES_MAX && !self.cut && !self.draining {
            self.late_told += 1;
            let text = format!(
                "Window of {name}: it had {} readings at the cloud, with late ones it has {}; revision {}.",
                before.count, held.count, held.revision
            );
            let why = "Nothing is ever too late: a window that has gone up is revised.";
            self.voice.tell(Tone::Quiet, "merged", &text, if self.late_told == 1 { why } else { "" }, fields);
        }
    }

    /// Waits until everything has arrived and stays so, or for as long as is reasonable.
    async fn settle(&mut self, working: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<Comparison> {
        let deadline = Instant::now() + SETTLE_MAX;
        let mut since = None::<Instant>;
        let mut told = Instant::now();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                Some(news) = next_news(&mut self.stage.consumer) => {
                    self.hear(news);
                    continue;
                }
                _ = look.tick() => self.look(working).await?,
            }
            let comparison = self.compare();
            let waiting = self.waiting(working, &comparison);
            if waiting.is_empty() {
                if since.get_or_insert_with(Instant::now).elapsed() >= STAYS {
                    return Ok(comparison);
                }
                continue;
            }
            since = None;
            if Instant::now() >= deadline {
                return Ok(comparison);
            }
            if told.elapsed() >= Duration::from_secs(2) {
                told = Instant::now();
                self.voice.tell(Tone::Quiet, "waiting", &format!("Waiting for {}.", waiting.join(", ")), "", json!({"for": waiting}));
            }
        }
    }

    fn compare(&self) -> Comparison {
        let Some(consumer) = &self.stage.consumer else { return Comparison::default() };
        compare(&lock(&self.truth), &lock(&consumer.holdings).windows, wall_ms() - GRACE_MS)
    }

    /// What is not there yet.
    fn waiting(&self, working: &JoinSet<anyhow::Result<()>>, comparison: &Comparison) -> Vec<String> {
        let mut waiting = Vec::new();
        if !working.is_empty() {
            waiting.push(format!("{} machines with readings that are not acknowledged", working.len()));
        }
        if !comparison.different.is_empty() {
            waiting.push(format!("{} of {} windows", comparison.different.len(), lock(&self.truth).windows()));
        }
        if !comparison.incomplete.is_empty() {
            waiting.push(format!("{} windows to be called complete", comparison.incomplete.len()));
        }
        let held = self.stage.gateways.iter().filter(|g| g.held() > 0 || g.account().accepted != g.account().sent);
        waiting.extend(held.map(|g| format!("{} readings that {} holds", g.held(), g.recipe.name)));
        let missed = self.found.iter().zip(&self.plan.faults).filter(|(found, _)| found.is_none());
        waiting.extend(missed.map(|(_, fault)| format!("the {} alert of {}", fault.expected(), fault.series)));
        waiting
    }

    fn conclude(mut self, comparison: Comparison, started: Instant) -> Outcome {
        self.listen_to_ears();
        let (heard, began_ms) = (&self.heard, self.began_ms);
        let faults = self.plan.faults.iter().zip(self.found).map(|(fault, found)| {
            let found =
                found.map(|found| Found { gateway_ms: heard.get(&found.id).map(|came_ms| came_ms - began_ms - fault.from_ms), ..found });
            (fault.clone(), found)
        });
        let mut outcome = Outcome {
            seconds: started.elapsed().as_secs_f64(),
            zero_ms: self.voice.ms_at(self.began),
            comparison,
            faults: faults.collect(),
            alerts: self.alerts,
            others: self.others,
            accounts: self.stage.gateways.iter().map(crate::demo::stage::Gateway::account).collect(),
            ..Outcome::default()
        };
        if let Some(consumer) = &self.stage.consumer {
            let mut holdings = lock(&consumer.holdings);
            outcome.revisions = holdings.revisions;
            outcome.repeated = holdings.alerts.iter().filter(|(_, (_, times))| *times > 1).map(|(id, _)| id.clone()).collect();
            outcome.strange = std::mem::take(&mut holdings.strange);
        }
        outcome
    }
}
