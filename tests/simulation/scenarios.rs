//! Plans that once failed, shortened, each named for what was wrong.

use crate::mutation::Mutation;
use crate::network::Weather;
use crate::plan::{Plan, Step};
use crate::run;

/// Salt with which the first of two frames is the one that is damaged.
const FIRST_FRAME: u64 = 42;

fn plan(seed: u64, preview: bool, weather: Weather, steps: &[Step]) -> Plan {
    Plan {
        seed,
        gateways: 1,
        sizes_ms: vec![10_000, 15_000],
        grace_ms: 0,
        every_ms: 1_000,
        preview,
        budget: None,
        interval_bytes: 0,
        weather,
        group: false,
        crossing_bytes: 0,
        crossing_ttl_ms: 0,
        unset: false,
        steps: steps.to_vec(),
    }
}

fn all() -> Vec<(&'static str, Plan)> {
    use Step::*;
    let device = 0;
    let rough = Weather { lost: 50, repeated: 10, overtaken: 20, slow: 0 };
    let lossy = Weather { lost: 5, repeated: 10, overtaken: 0, slow: 0 };
    let before_its_boot = [
        Pass(35_000),
        Sync { device },
        Think { device },
        Connect { device },
        Sense { device, salt: 18_248_674_703_823_660_359 },
        Think { device },
        Crash { device, kept: true },
        Start { device },
        Connect { device },
        Think { device },
        Net { device, count: 2, salt: 16_264_185_580_556_484_739 },
        Net { device, count: 4, salt: 5_261_164_753_543_644_921 },
    ];
    let preview_grown = [
        Connect { device },
        Sense { device, salt: 3_621_758_844_356_850_640 },
        Sync { device },
        Sense { device, salt: 8_516_859_800_909_364_873 },
        Pass(12_000),
        Think { device },
    ];
    let local_alert = [
        Sense { device, salt: 4_867_065_965_838_770_414 },
        Sync { device },
        Crash { device, kept: false },
        Sense { device, salt: 11_247_584_467_015_122_351 },
    ];
    let too_old_to_go = [
        Publish { device, salt: 15_897_576_096_463_031_689 },
        Pass(6_000),
        Publish { device, salt: 182_712_527_842_020_947 },
        Publish { device, salt: 1_958_219_951_335_693_191 },
    ];
    let too_old_to_come = [
        Connect { device: 0 },
        Sense { device: 0, salt: 8_105_427_022_418_409_412 },
        Sync { device: 0 },
        Think { device: 0 },
        Net { device: 0, count: 5, salt: 10_319_327_160_060_384_604 },
        Pass(12_000),
        Stall { device: 0 },
        CloudPublish { salt: 2_629_073_701_826_198_631 },
        Pass(6_000),
        Publish { device: 1, salt: 2_084_876_962_804_311_606 },
    ];
    let bridged = |gateways, steps: &[Step]| Plan {
        gateways,
        crossing_bytes: 1 << 20,
        crossing_ttl_ms: 20_000,
        ..plan(272, false, Weather::CALM, steps)
    };
    let damaged = |seed, gateways, grace_ms, interval_bytes, weather, steps: &[Step]| Plan {
        gateways,
        sizes_ms: vec![10_000],
        grace_ms,
        every_ms: 5_000,
        interval_bytes,
        ..plan(seed, true, weather, steps)
    };
    let no_sizes = [
        Sync { device: 1 },
        Sense { device: 1, salt: 3_138_791_211_584_719_468 },
        Sync { device: 1 },
        Damage { device: 1, salt: FIRST_FRAME },
    ];
    let sizes_forgotten = [
        Connect { device },
        Sense { device, salt: 13_405_774_828_724_864_522 },
        Pass(3_000),
        Sync { device },
        Think { device },
        Sync { device },
        Think { device },
        Damage { device, salt: FIRST_FRAME },
    ];
    let restored_behind_damage = [
        Connect { device },
        Sync { device },
        Think { device },
        Sense { device, salt: 11_806_616_470_458_170_128 },
        Sync { device },
        Pass(3_000),
        Think { device },
        CloudBackup,
        Sync { device },
        Sense { device, salt: 18_409_354_168_829_699_580 },
        Pass(3_000),
        Sync { device },
        Think { device },
        Net { device, count: 6, salt: 771_824_152_931_117_183 },
        Sense { device, salt: 15_985_658_155_179_493_905 },
        Sync { device },
        Save { device },
        CloudSync,
        CloudThink,
        Net { device, count: 5, salt: 15_062_762_341_474_328_722 },
        Sync { device },
        CloudRestore,
        Damage { device, salt: 6_212_353_291_439_994_434 },
    ];
    let partly_undated = [
        Connect { device },
        SetClock { device, ms: 50 },
        Think { device },
        Pass(200),
        PowerCut { device, kept: true },
        Start { device },
        Sense { device, salt: 8_018_745_903_991_611_824 },
        Pass(35_000),
    ];
    let quarters_given_up = [
        Pass(12_000),
        Pass(6_000),
        Pass(3_000),
        Sense { device: 3, salt: 12_056_826_116_128_154_631 },
        Sense { device: 3, salt: 13_459_104_316_522_133_994 },
        Sense { device: 3, salt: 138_091_304_669_769_203 },
        Sense { device: 2, salt: 13_767_561_535_726_047_076 },
        Pass(1_000),
        Sense { device: 3, salt: 13_765_866_690_370_285_082 },
        Sense { device: 3, salt: 77_732_002_171_329_465 },
        Pass(6_000),
        Sense { device: 3, salt: 16_790_694_513_654_448_638 },
        Sync { device: 3 },
        Think { device: 3 },
        Shed { device: 3, salt: 2_294_042_243_125_426_444 },
    ];
    let over_and_told_again = [
        Connect { device },
        Sync { device },
        Think { device },
        Crash { device, kept: true },
        Start { device },
        Connect { device },
        Sync { device },
        Think { device },
        Net { device, count: 6, salt: 2_113_402_665_321_268_474 },
        CloudSync,
        CloudThink,
        Net { device, count: 6, salt: 2_113_402_665_321_268_474 },
        CloudLoseDisk,
        Sense { device, salt: 16_464_554_730_623_151_289 },
    ];
    let overtaking = Weather { lost: 50, repeated: 0, overtaken: 20, slow: 0 };
    let over = Plan { grace_ms: 2_000, interval_bytes: 100, ..plan(41_114, true, overtaking, &over_and_told_again) };
    let over = Plan { sizes_ms: vec![10_000, 60_000], crossing_bytes: 1 << 20, crossing_ttl_ms: 20_000, ..over };
    let sizes_ms = vec![60_000, 10_000, 15_000];
    let stormy = Weather { lost: 50, repeated: 30, overtaken: 20, slow: 0 };
    let undated = Plan { sizes_ms: sizes_ms.clone(), every_ms: 5_000, unset: true, ..plan(104_238, true, stormy, &partly_undated) };
    let deaf = Weather { lost: 50, repeated: 10, overtaken: 0, slow: 0 };
    let given_up = Plan { sizes_ms, ..damaged(145_372, 4, 2_000, 100, deaf, &quarters_given_up) };
    let repeating = Weather { lost: 5, repeated: 30, overtaken: 60, slow: 0 };
    let healed = Plan { sizes_ms: vec![10_000], grace_ms: 2_000, ..plan(565_252, false, repeating, &restored_behind_damage) };
    let bad = Weather { lost: 20, repeated: 0, overtaken: 0, slow: 0 };
    let slow = Weather { lost: 20, repeated: 10, overtaken: 60, slow: 70 };
    vec![
        ("a reading that waited for its date took the place of another of its message that was sealed", undated),
        ("a boot that was over was not told so once more to a cloud that had lost its disk", over),
        ("a minute that had all its parts of ten seconds was not complete, as one of fifteen was given up", given_up),
        (
            "readings of a boot whose first record is damaged were in no window, and not given up",
            damaged(169, 6, 2_000, 100, bad, &no_sizes),
        ),
        ("a boot whose first record is damaged took its windows from the cloud", damaged(4_588, 2, 2_000, 0, slow, &sizes_forgotten)),
        ("readings that a state held were lost as the log behind it was damaged, when the cloud was told again", healed),
        ("an ordinary message that was too old to go was counted as delivered", bridged(1, &too_old_to_go)),
        ("one that was too old to come was counted as taken", bridged(2, &too_old_to_come)),
        (
            "an ack for an earlier process passed for one of ours, before our boot was in the fold",
            plan(4_250, false, rough, &before_its_boot),
        ),
        ("an entry that had grown since its preview was believed held", plan(1_055, true, lossy, &preview_grown)),
        ("an alert of a series that must not leave went up the urgent lane", plan(5, false, rough, &local_alert)),
    ]
}

/// Runs them all.
///
/// # Errors
/// The first that fails again.
pub fn run_all() -> Result<(), String> {
    all().into_iter().try_for_each(|(name, plan)| run(&plan, Mutation::None, false).map_err(|why| format!("{name}: {why}")))
}
