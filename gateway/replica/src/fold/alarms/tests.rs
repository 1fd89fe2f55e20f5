//! Gateway and cloud with a bad link between them and crashes at any record: what people do
//! comes to the same at both, and a fold that was resumed is the one that never stopped.

use super::{Judged, by_clock};
use crate::fold::{FOLD_VERSION, Fold, FoldConfig};
use crate::join::alarms::{TOO_LATE, UNKNOWN};
use crate::join::{Bridge, BridgeConfig};
use crate::limits::{SKEW_MS, SKEW_STANDS_MS};
use crate::record::{FLAG_LEAVES, KIND_MESSAGE, Record, put_message_head, put_reading};
use detect::alarm::{Request, SHOWN, Settings as AlarmSettings, Standing, Verb};
use detect::{Kind, LimitRule, Pattern, Settings, Suppression};
use proptest::prelude::*;
use schemas::message::{Act, AlertUp, Answer, CommandUp, Delta, FORMAT, Hello};
use schemas::wire;

const START_MS: u64 = 1_700_000_000_000;

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// A reading of series a or b, beyond its limit or not.
    Reading(bool, bool),
    /// Time passes at both ends, in ms.
    Wait(u64),
    /// Somebody does something at the gateway, or at the cloud, to the alarm of a or b.
    Here(Verb, bool),
    There(Verb, bool),
    /// Alerts reach the cloud; acts do; commands reach the gateway; each the first, or all, or again.
    Alerts,
    Up(bool),
    Down(bool),
    /// The gateway's process ends, and another begins; so does the cloud's.
    CrashHere,
    CrashThere,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verb = || prop::sample::select(Verb::PEOPLE.to_vec());
    let step = prop_oneof![
        3 => (any::<bool>(), any::<bool>()).prop_map(|(series, high)| Step::Reading(series, high)),
        1 => (1..90_000u64).prop_map(Step::Wait),
        3 => (verb(), any::<bool>()).prop_map(|(verb, series)| Step::Here(verb, series)),
        3 => (verb(), any::<bool>()).prop_map(|(verb, series)| Step::There(verb, series)),
        2 => Just(Step::Alerts),
        1 => any::<bool>().prop_map(Step::Up),
        1 => any::<bool>().prop_map(Step::Down),
        1 => Just(Step::CrashHere),
        1 => Just(Step::CrashThere),
    ];
    prop::collection::vec(step, 1..60)
}

fn name(second: bool) -> &'static str {
    if second { "m/b" } else { "m/a" }
}

struct World {
    fold: Fold,
    bridge: Bridge,
    log: Vec<(u8, Vec<u8>)>,
    cloud_log: Vec<(u8, Vec<u8>)>,
    /// What waits to be told to the next record of each end, in ms.
    late: [u64; 2],
    /// The gateway's; the cloud's is as far behind it as `skew_ms` says.
    clock_ms: i64,
    skew_ms: i64,
    boot: u64,
    id: u64,
    /// Alerts that the cloud showed.
    shown: Vec<(String, u8)>,
}

impl World {
    fn new() -> Self {
        Self::skewed(0, true)
    }

    /// With a gateway's clock that is so far ahead of the cloud's, in ms, by a program of today or of before.
    fn skewed(skew_ms: i64, is_skewed: bool) -> Self {
        let mut world = Self {
            fold: Fold::default(),
            bridge: Bridge::default(),
            log: Vec::new(),
            cloud_log: Vec::new(),
            late: [START_MS.saturating_add_signed(skew_ms), START_MS],
            clock_ms: START_MS as i64 + skew_ms,
            skew_ms,
            boot: 0,
            id: 0,
            shown: Vec::new(),
        };
        world.begin();
        let config = BridgeConfig { is_skewed, ..BridgeConfig::default() };
        world.there(&Record::Boot { boot: 99, parent: None, config: &config.encode() });
        world.define();
        world
    }

    /// The gateway's series get their numbers, and the cloud hears of its boot.
    fn define(&mut self) {
        for number in [0, 1] {
            self.here(&Record::Series { number, name: name(number == 1), unit: None });
        }
        self.hello();
    }

    fn hello(&mut self) {
        let hello = Hello {
            format: FORMAT,
            gateway: "g".to_owned(),
            boot: self.boot,
            parent: self.fold.current().and_then(|part| part.parent),
            sizes: vec![10_000],
            grace_ms: 0,
            every_ms: 1_000,
            clock_ms: self.clock_ms,
            version: "1".to_owned(),
            group: None,
            wanted: Vec::new(),
        };
        self.there(&Record::Hello { gateway: "g", bytes: &hello.encode() });
    }

    /// An interval of the gateway's reaches the cloud so long after it was sent, in ms.
    fn interval(&mut self, took_ms: i64) {
        self.sent(self.clock_ms - took_ms);
    }

    /// One reaches it that says when it was sent.
    fn sent(&mut self, sent_ms: i64) {
        let delta = Delta { format: FORMAT, boot: self.boot, sizes: vec![10_000], sent_ms, ..Delta::default() };
        self.there(&Record::Interval { gateway: "g", bytes: &delta.encode() });
    }

    /// Where the alarm of m/a stands at the gateway and at the cloud, by the clock of each.
    fn stands(&self) -> [Option<Standing>; 2] {
        let clocks = [self.clock_ms, self.bridge.alarms.clock_ms("g", self.clock_ms - self.skew_ms)];
        let [here, there] = self.both(false);
        [here.map(|alarm| alarm.standing(clocks[0])), there.map(|alarm| alarm.standing(clocks[1]))]
    }

    /// The gateway begins on a disk as it once was, or on an empty one.
    fn set_back(&mut self, kept: Option<&[u8]>) {
        self.fold = kept.map_or_else(Fold::default, |kept| Fold::restore(kept).unwrap());
        self.late[0] = (self.clock_ms - self.fold.clock_ms) as u64;
        self.begin();
        if kept.is_some() { self.hello() } else { self.define() }
    }

    /// The link holds: everything arrives, twice, and both clocks go on.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.alerts();
            self.down(true);
            self.up(true);
            self.step(&Step::Wait(1));
            self.here(&Record::Tick);
            self.there(&Record::Tick);
        }
    }

    /// An alarm at the gateway and at the cloud.
    fn both(&self, second: bool) -> [Option<&detect::alarm::Alarm>; 2] {
        let there = self.bridge.alarms.board("g").and_then(|board| board.get(name(second), "high-high"));
        [self.fold.alarms.board.get(name(second), "high-high"), there]
    }

    fn begin(&mut self) {
        let limit = LimitRule { series: Pattern::new("m/*"), high_high: Some(95.0), ..LimitRule::default() };
        // What is suppressed by the other is told when that is over.
        let by = Suppression { by: "m/b".to_owned(), by_kind: Kind::HighHigh, series: Pattern::new("m/a"), kinds: vec![] };
        let config = FoldConfig {
            fold_version: FOLD_VERSION,
            sizes_ms: vec![10_000],
            detection: Settings { limits: vec![limit], suppressions: vec![by], ..Default::default() },
            alarms: Some(AlarmSettings { flood: 2, ..AlarmSettings::default() }),
            ..FoldConfig::default()
        };
        let parent = self.fold.current().map(|part| (part.boot, part.end));
        self.boot += 1;
        self.here(&Record::Boot { boot: self.boot, parent, config: &schemas::cbor::to_vec(&config) });
    }

    fn push(&mut self, end: usize, record: &Record<'_>) {
        let mut payload = Vec::new();
        record.encode(std::mem::take(&mut self.late[end]), &mut payload);
        let kept = (record.kind(), payload);
        if end == 0 {
            self.fold.apply(self.fold.lsn + 1, kept.0, &kept.1).unwrap();
            self.log.push(kept);
        } else {
            let effects = self.bridge.apply(self.bridge.lsn + 1, kept.0, &kept.1).unwrap();
            self.shown.extend(effects.alerts.into_iter().map(|(_, alert)| (alert.series, alert.state)));
            self.cloud_log.push(kept);
        }
    }

    fn here(&mut self, record: &Record<'_>) {
        self.push(0, record);
    }

    fn there(&mut self, record: &Record<'_>) {
        self.push(1, record);
    }

    fn request(&mut self, verb: Verb, second: bool) -> Request<'static> {
        self.id += 1;
        let for_ms = if verb == Verb::Shelve { 30_000 } else { 0 };
        Request { id: self.id * 7_919 % 1_000, verb, series: name(second), kind: "high-high", by: "jo", reason: "", for_ms }
    }

    fn reading(&mut self, second: bool, high: bool) {
        let mut payload = Vec::new();
        wire::put_varint(&mut payload, std::mem::take(&mut self.late[0]));
        put_message_head(&mut payload, FLAG_LEAVES, 0, 0);
        put_reading(&mut payload, u32::from(second), self.clock_ms, self.clock_ms, if high { 99.0 } else { 20.0 });
        self.fold.apply(self.fold.lsn + 1, KIND_MESSAGE, &payload).unwrap();
        self.log.push((KIND_MESSAGE, payload));
    }

    fn alerts(&mut self) {
        let alerts: Vec<_> = self.fold.boots.iter().flat_map(|part| &part.alerts.tail).map(|(alert, _)| alert.clone()).collect();
        for alert in alerts {
            self.there(&Record::AlertUp { gateway: "g", bytes: &AlertUp { format: FORMAT, alert }.encode() });
        }
    }

    fn say(&mut self, acts: Vec<Act>, answers: Vec<Answer>) {
        let up = CommandUp { format: FORMAT, boot: self.boot, acts, answers };
        self.there(&Record::CommandUp { gateway: "g", bytes: &up.encode() });
    }

    fn up(&mut self, all: bool) {
        let owed = self.fold.boots.iter().flat_map(|part| &part.acts).map(|(_, act, _)| act.clone());
        let acts = owed.take(if all { usize::MAX } else { 1 }).collect();
        self.say(acts, Vec::new());
    }

    fn down(&mut self, all: bool) {
        let commands = self.bridge.alarms.commands(self.clock_ms - self.skew_ms, "g");
        for command in commands.into_iter().take(if all { usize::MAX } else { 1 }) {
            let command = by_clock(&command, self.clock_ms);
            let act = &command.act;
            let refused = |outcome| vec![Answer { id: act.id, outcome }];
            match self.fold.judge(self.clock_ms, &command) {
                Judged::Known => {
                    let act = self.fold.alarms.board.counting(act).unwrap_or(act).clone();
                    self.say(vec![act], Vec::new());
                }
                Judged::TooLate => self.say(Vec::new(), refused(TOO_LATE)),
                Judged::Unknown => self.say(Vec::new(), refused(UNKNOWN)),
                Judged::Full => {}
                Judged::Taken => self.here(&Record::Commanded { bytes: &command.encode() }),
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Reading(second, high) => self.reading(second, high),
            Step::Wait(ms) => {
                self.clock_ms += ms as i64;
                self.late.iter_mut().for_each(|late| *late += ms);
            }
            Step::Here(verb, second) => {
                let request = self.request(verb, second);
                self.here(&Record::Asked { request });
            }
            Step::There(verb, second) => {
                let request = self.request(verb, second);
                self.there(&Record::AskedAt { gateway: "g", request });
            }
            Step::Alerts => self.alerts(),
            Step::Up(all) => self.up(all),
            Step::Down(all) => self.down(all),
            Step::CrashHere => {
                self.fold = Fold::restore(&self.fold.save()).unwrap();
                self.begin();
                self.hello();
            }
            Step::CrashThere => {
                let mut bridge = Bridge::default();
                for (lsn, (kind, payload)) in self.cloud_log.iter().enumerate() {
                    bridge.apply(lsn as u64 + 1, *kind, payload).unwrap();
                }
                assert!(bridge.save() == self.bridge.save(), "the log gives the same again");
                self.bridge = bridge;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn both_ends_come_to_the_same_whatever_the_link_and_whoever_crashes(
        steps in steps(),
        skew_ms in prop::sample::select(vec![0, 0, 1_000, -600_000, 1_200_000, 86_400_000]),
        heard in any::<prop::sample::Index>(),
    ) {
        let mut world = World::skewed(skew_ms, true);
        // The cloud hears of the clock at some time, or never.
        let heard = heard.index(steps.len() + 1);
        for (at, step) in steps.iter().enumerate() {
            if at == heard {
                world.interval(0);
            }
            world.step(step);
        }
        world.settle();
        for second in [false, true] {
            let [here, there] = world.both(second);
            let clock_ms = world.clock_ms;
            let shown = |alarm: Option<&detect::alarm::Alarm>| alarm.map(|a| (a.standing(clock_ms), a.acts.clone(), a.raised.clone(), a.cleared.clone(), a.pending.len()));
            prop_assert_eq!(shown(here), shown(there), "{}", name(second));
        }
    }

    /// What it had forgotten is told to it once more; an alarm that it knows nothing of goes at the cloud.
    #[test]
    fn what_was_done_comes_to_the_same_at_a_gateway_whose_disk_is_old_or_gone(
        before in steps(),
        forgotten in steps(),
        then in steps(),
        is_gone in any::<bool>(),
    ) {
        let mut world = World::new();
        world.steps(&before);
        let kept = world.fold.save();
        world.step(&Step::CrashHere);
        world.steps(&forgotten);
        world.settle();
        world.set_back((!is_gone).then_some(&kept));
        world.steps(&then);
        world.settle();
        for second in [false, true] {
            let done = world.both(second).map(|alarm| alarm.map(|alarm| (alarm.acts.clone(), alarm.pending.len())).unwrap_or_default());
            prop_assert_eq!(&done[0], &done[1], "{}", name(second));
            let held = world.fold.alarms.designed.contains_key(&(name(second).to_owned(), "high-high".to_owned()));
            prop_assert_eq!(done[0].0.is_suppressed(), held, "{} is suppressed for as long as its design holds", name(second));
        }
    }

    /// Cut at any record, stored, restored and folded on: the same, bit for bit.
    #[test]
    fn a_fold_resumed_at_any_record_is_the_one_that_never_stopped(steps in steps(), cut in any::<prop::sample::Index>()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        let cut = cut.index(world.log.len());
        let mut resumed = Fold::default();
        for (at, (kind, payload)) in world.log.iter().enumerate() {
            if at == cut {
                resumed = Fold::restore(&resumed.save()).unwrap();
            }
            resumed.apply(at as u64 + 1, *kind, payload).unwrap();
        }
        let mut whole = Fold::default();
        for (at, (kind, payload)) in world.log.iter().enumerate() {
            whole.apply(at as u64 + 1, *kind, payload).unwrap();
        }
        prop_assert!(whole.save() == resumed.save());
    }
}

/// Alerts travel before acts: the cloud hears that an alarm is told again before it hears that it
/// is suppressed no longer.
#[test]
fn what_is_told_when_suppression_ends_is_shown_at_the_cloud_too() {
    let mut world = World::new();
    world.reading(true, true);
    world.reading(false, true);
    world.alerts();
    world.up(true);
    world.reading(true, false);
    world.alerts();
    let told = |series: &str, state| (series.to_owned(), state);
    assert_eq!(world.shown, [told("m/b", 0), told("m/b", 1), told("m/a", 0)]);
    // What people put aside at the cloud is not shown there, though the gateway does not know yet.
    world.step(&Step::There(Verb::OutOfService, true));
    world.reading(true, true);
    world.alerts();
    assert_eq!(world.shown.iter().filter(|shown| **shown == told("m/b", 0)).count(), 1, "{:?}", world.shown);
}

impl World {
    /// States of the alerts of m/a that the gateway showed.
    fn told(&self) -> Vec<u8> {
        let shown = self.fold.fresh.iter().filter(|(_, alert)| alert.series == name(false) && alert.alarm.as_ref().unwrap().held == SHOWN);
        shown.map(|(_, alert)| alert.state).collect()
    }

    fn told_there(&self) -> Vec<u8> {
        self.shown.iter().filter(|(series, _)| series == name(false)).map(|(_, state)| *state).collect()
    }

    fn steps(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
    }
}

/// What was raised while it was put aside, and lasts when that is over, is told then: by time or by
/// somebody, at both ends, and once, whoever ends in between.
#[test]
fn what_outlasts_its_shelf_or_its_time_out_of_service_is_told_then() {
    let (high, low, tick) = (Step::Reading(false, true), Step::Reading(false, false), Step::Wait(30_000));
    let here = |verb| Step::Here(verb, false);
    for (aside, back) in [
        (Verb::Shelve, tick.clone()),
        (Verb::Shelve, here(Verb::Unshelve)),
        (Verb::Shelve, Step::There(Verb::Unshelve, false)),
        (Verb::OutOfService, here(Verb::Return)),
    ] {
        let mut world = World::new();
        world.steps(&[high.clone(), low.clone(), Step::Alerts, here(aside), high.clone(), Step::Alerts, Step::Up(true)]);
        assert_eq!((world.told(), world.told_there()), (vec![0, 1], vec![0, 1]), "{aside:?}");
        world.steps(&[Step::CrashHere, back.clone(), Step::Down(true), Step::CrashHere]);
        world.here(&Record::Tick);
        world.steps(&[Step::Alerts, Step::Up(true), Step::CrashHere, Step::Wait(60_000)]);
        world.here(&Record::Tick);
        world.steps(&[Step::Alerts, Step::Up(true)]);
        assert_eq!((world.told(), world.told_there()), (vec![0, 1, 0], vec![0, 1, 0]), "{aside:?} {back:?}");
        let last = &world.fold.fresh.iter().rfind(|(_, alert)| alert.series == name(false)).unwrap().1;
        let what = if aside == Verb::Shelve { "shelved" } else { "out of service" };
        assert!(last.message.ends_with(&format!("; it lasts, and is told now that this is over: {what}")), "{}", last.message);
    }
}

/// Put aside at the cloud, before the gateway knew: what it raised meanwhile is not shown there.
#[test]
fn what_was_withheld_at_the_cloud_is_told_when_it_comes_back() {
    for (aside, back) in [(Verb::Shelve, Step::Wait(30_000)), (Verb::OutOfService, Step::There(Verb::Return, false))] {
        let mut world = World::new();
        world.steps(&[Step::Reading(false, true), Step::Reading(false, false), Step::Alerts, Step::There(aside, false)]);
        world.steps(&[Step::Reading(false, true), Step::Alerts]);
        assert_eq!((world.told(), world.told_there()), (vec![0, 1, 0], vec![0, 1]), "{aside:?}");
        world.steps(&[Step::Down(true), Step::Up(true), back, Step::Down(true)]);
        world.here(&Record::Tick);
        world.step(&Step::Alerts);
        assert_eq!((world.told(), world.told_there()), (vec![0, 1, 0, 0], vec![0, 1, 0]), "{aside:?}");
    }
}

/// It is told first, by the lane for alerts, and what was not shown comes behind, with an interval.
#[test]
fn both_ends_name_the_same_group_when_what_was_not_shown_comes_late() {
    let mut world = World::new();
    world.steps(&[Step::Reading(false, true), Step::Reading(false, false), Step::Wait(31_000), Step::Here(Verb::Shelve, false)]);
    world.steps(&[Step::Reading(false, true), Step::Here(Verb::Unshelve, false)]);
    let alerts = world.fold.boots.iter().flat_map(|part| &part.alerts.tail).map(|(alert, _)| alert.clone()).collect::<Vec<_>>();
    let (late, soon): (Vec<_>, Vec<_>) = alerts.into_iter().partition(|alert| alert.alarm.as_ref().unwrap().held != SHOWN);
    assert_eq!((late.len(), soon.len()), (1, 3));
    for alert in soon.into_iter().chain(late) {
        world.there(&Record::AlertUp { gateway: "g", bytes: &AlertUp { format: FORMAT, alert }.encode() });
    }
    world.up(true);
    let there = world.bridge.alarms.board("g").unwrap();
    let key = (name(false).to_owned(), "high-high".to_owned());
    let shown = |board: &detect::alarm::Board| crate::alarm::json("g", board, &key, board.get(&key.0, &key.1).unwrap(), world.clock_ms);
    assert_eq!(shown(&world.fold.alarms.board), shown(there));
}

/// Raised in the open, and on the shelf; told once more when that is over, and soon over itself.
#[test]
fn what_is_told_again_is_no_new_raise_at_either_end() {
    let high_low = [Step::Reading(false, true), Step::Reading(false, false)];
    let mut world = World::new();
    world.steps(&high_low);
    world.steps(&[Step::Here(Verb::Shelve, false), Step::Wait(1_000), Step::Reading(false, true), Step::Wait(10_000)]);
    world.steps(&[Step::Here(Verb::Unshelve, false), Step::Wait(1_000)]);
    world.settle();
    let figures = |board: &detect::alarm::Board| {
        let figures = detect::alarm::Figures::of(board, world.clock_ms);
        (figures.raised, figures.total, figures.peak, figures.top, figures.chattering.len())
    };
    let key = (name(false).to_owned(), "high-high".to_owned());
    let boards = [&world.fold.alarms.board, world.bridge.alarms.board("g").unwrap()];
    let [here, there] = boards.map(|board| crate::alarm::json("g", board, &key, board.get(&key.0, &key.1).unwrap(), world.clock_ms));
    assert_eq!(here, there);
    assert_eq!((&here["count"], &here["count_day"], &here["chattering"]), (&2.into(), &2.into(), &false.into()), "{here:#}");
    assert_eq!(boards.map(figures), [(); 2].map(|()| (1, 1, 1, vec![(key.clone(), 1)], 0)));
    assert_eq!(world.told(), [0, 1, 0], "people were told all the same");
    world.steps(&[Step::Reading(false, false), Step::Alerts]);
    for alarm in world.both(false).into_iter().flatten() {
        assert_eq!(alarm.fleeting, 1, "the first was; the second was there before it was told again");
    }
    // The third raise within a minute chatters.
    world.steps(&[Step::Reading(false, true), Step::Alerts]);
    for alarm in world.both(false).into_iter().flatten() {
        let note = &alarm.raised.as_ref().unwrap().note;
        assert_eq!((note.count, note.flags), (3, detect::alarm::CHATTERS));
    }
}

/// Where the clock alone ends it, both ends say so at once, whoever put it on the shelf; and that within what a message
/// may take on its way.
#[test]
fn a_shelf_lasts_as_long_as_was_asked_for_however_far_the_clocks_are_apart() {
    let shelf = [Step::There(Verb::Shelve, false), Step::Here(Verb::Shelve, false)];
    for (skew_ms, heard) in [(-600_000, true), (1_200_000, true), (-600_000, false), (1_200_000, false), (0, true), (1_500, true)] {
        for shelve in &shelf {
            let mut world = World::skewed(skew_ms, true);
            if heard {
                world.interval(5);
            }
            world.steps(&[Step::Reading(false, true), Step::Alerts, shelve.clone(), Step::Down(true), Step::Up(true)]);
            if !heard {
                world.interval(5);
            }
            let within = if skew_ms == 1_500 { 1_510 } else { 10 };
            world.step(&Step::Wait(30_000 - within));
            assert_eq!(world.stands(), [Some(Standing::Shelved); 2], "{skew_ms} {heard} {shelve:?}");
            world.step(&Step::Wait(2 * within));
            assert_eq!(world.stands(), [Some(Standing::Unacknowledged); 2], "{skew_ms} {heard} {shelve:?}");
            // The cloud shows it without anything else happening.
            world.there(&Record::Tick);
            assert!(world.bridge.alarms.due_ms().is_none(), "{skew_ms} {heard} {shelve:?}");
            assert_eq!(world.both(false)[0].unwrap().acts, world.both(false)[1].unwrap().acts);
        }
    }
    // As the logs of before say it.
    let mut world = World::skewed(-600_000, false);
    world.interval(5);
    world.steps(&[Step::Reading(false, true), Step::Alerts, shelf[0].clone()]);
    let until_ms = world.both(false)[1].unwrap().acts().shelved_until();
    assert_eq!(until_ms, Some(world.clock_ms + 600_000 + 30_000));
}

/// Of two who did not know of each other the later counts, also where its clock is behind.
#[test]
fn the_later_act_counts_however_far_the_clocks_are_apart() {
    for skew_ms in [-600_000, 0, 1_200_000] {
        for is_here_first in [true, false] {
            let mut world = World::skewed(skew_ms, true);
            world.interval(5);
            world.steps(&[Step::Reading(false, true), Step::Alerts]);
            let acts = [Step::Here(Verb::OutOfService, false), Step::Wait(3_000), Step::There(Verb::Return, false)];
            if is_here_first {
                world.steps(&acts);
            } else {
                acts.iter().rev().for_each(|step| world.step(step));
            }
            world.settle();
            let stands = if is_here_first { Standing::Unacknowledged } else { Standing::OutOfService };
            assert_eq!(world.stands(), [Some(stands); 2], "{skew_ms} {is_here_first}");
        }
    }
}

/// A clock that seems to be behind may be a message that was long on its way; one that is set is believed.
#[test]
fn the_skew_is_that_of_the_messages_that_were_soonest_there() {
    let mut world = World::new();
    // The skew behind an interval that comes so long after the one before, and took so long, in ms.
    let hear = |world: &mut World, wait_ms: i64, took_ms: i64| {
        world.step(&Step::Wait(wait_ms as u64));
        world.interval(took_ms);
        world.bridge.alarms.clock_ms("g", world.bridge.clock_ms) - world.bridge.clock_ms
    };
    assert_eq!(hear(&mut world, 0, -10_000), 10_000, "ahead");
    assert_eq!(hear(&mut world, 1_000, 5_000), 10_000, "late");
    assert_eq!(hear(&mut world, 1_000, -10_000 - SKEW_MS), 10_000, "near enough");
    assert_eq!(hear(&mut world, SKEW_STANDS_MS - 1, 5_000), 10_000, "late");
    world.steps(&[Step::Reading(false, true), Step::Alerts, Step::There(Verb::Shelve, false), Step::Wait(5_000)]);
    world.there(&Record::Tick);
    assert_eq!(hear(&mut world, 1_000, -600_000), 600_000, "set ahead");
    assert_eq!((world.stands()[1], world.bridge.alarms.due_ms()), (Some(Standing::Unacknowledged), None));
    // It was no such clock: what is on the shelf after all is waited for again.
    assert_eq!(hear(&mut world, SKEW_STANDS_MS, 50_000), -50_000);
    let until_ms = world.both(false)[1].unwrap().acts().shelved_until().unwrap();
    assert_eq!(world.bridge.alarms.due_ms(), Some(until_ms + 50_000));
    assert_eq!((hear(&mut world, 1_000, 0), world.bridge.alarms.due_ms()), (0, None));
    // What a stranger says of time costs nothing but its own alarms' times.
    for sent_ms in [i64::MAX, i64::MIN] {
        world.step(&Step::Wait(SKEW_STANDS_MS as u64));
        world.sent(sent_ms);
        world.steps(&[Step::There(Verb::Shelve, false), Step::Down(true)]);
        world.there(&Record::Tick);
    }
    let restored = Bridge::restore(&world.bridge.save(), Box::new(crate::join::store::Memory::default())).unwrap();
    assert_eq!(restored.alarms.clock_ms("g", 7), world.bridge.alarms.clock_ms("g", 7));
}

/// The gateway takes a command by its own clock, tells what it took, and takes it once.
#[test]
fn what_comes_again_is_told_as_it_was_taken() {
    let mut world = World::skewed(-600_000, true);
    world.steps(&[Step::Reading(false, true), Step::Alerts, Step::There(Verb::Shelve, false), Step::Wait(3_000), Step::Down(true)]);
    // What was told of it is lost, and the cloud has heard of the clock meanwhile.
    world.interval(0);
    world.steps(&[Step::Wait(4_000), Step::Down(true)]);
    let [here, there] = world.both(false).map(Option::unwrap);
    assert_eq!((&here.acts, there.pending.len()), (&there.acts, 0));
    assert_eq!(here.acts.shelved_until(), Some(world.clock_ms - 7_000 + 30_000));
    assert_eq!(here.acts.shelf.as_ref().map(|act| act.time_ms), Some(world.clock_ms - 7_000 + 600_000), "the cloud knew no better");
}
