//! What a config says, and what is told of one that is wrong.

use super::*;
use replica::fold::Fold;
use replica::record::Record;

fn read_text(text: &str) -> Result<Config, String> {
    read(Table::parse("edge.toml", text, &[], &[]).unwrap()).map_err(|errors| errors.to_string())
}

const HEAD: &str = "gateway = \"plant-a\"\ndata_dir = \"var/plant-a\"\n";

#[test]
fn the_example_runs_as_it_is_and_says_the_defaults() {
    let example = read_text(include_str!("../../../../../broker-config/edge.toml")).unwrap();
    let mut defaults = read_text(HEAD).unwrap();
    defaults.cloud = example.cloud.clone();
    defaults.limits = example.limits.clone();
    assert_eq!(serde_json::to_value(&example).unwrap(), serde_json::to_value(&defaults).unwrap());
    assert_eq!(example.limits.limits.len(), 1);
    assert_eq!(example.cloud.unwrap().port, 1884);
}

#[test]
fn impossible_values_are_refused_with_their_line_and_key() {
    for (text, expected) in [
        ("[mqtt]\nlisten = \"0.0.0.0:1883\"", "edge.toml:4: mqtt.listen: 0.0.0.0:1883 is reachable"),
        ("[windows]\nsizes = []", "edge.toml:4: windows.sizes: write 1 to 16"),
        ("[windows]\nsizes = [\"60s\", \"1m\"]", "edge.toml:4: windows.sizes[1]: the size 1m is there twice"),
        ("[windows]\nsizes = [\"0s\"]", "windows.sizes[0]: \"0s\" is out of range"),
        ("[windows]\ngrace = 2", "edge.toml:4: windows.grace: 2 has no unit"),
        ("[log]\nlimit = \"2GB\"", "did you mean 2GiB?"),
        ("[limits]\nseries = 0", "edge.toml:4: limits.series: 0 is out of range"),
        ("[cloud]\nevery = \"5s\"", "edge.toml:3: cloud.url: this key is required"),
        ("[cloud]\nurl = \"mqtts://h\"", "asks for TLS"),
        (
            "[cloud]\nurl = \"mqtt://h\"\nbudget = 64",
            "edge.toml:5: cloud.budget: 64 has no unit; write a rate in quotes, such as \"64KiB/s\"",
        ),
        ("[cloud]\nurl = \"mqtt://h\"\nbudget = \"64KiB\"", "did you mean 64KiB/s?"),
        ("[cloud]\nurl = \"mqtt://h\"\nbudget = \"64kB/s\"", "did you mean"),
        ("[cloud]\nurl = \"mqtt://h\"\nbudget = \"10B/s\"", "cloud.budget: \"10B/s\" is out of range"),
        ("[log]\nflash_budget = \"20GiB\"", "edge.toml:4: log.flash_budget: \"20GiB\" is no rate"),
        ("[[limit]]\nseries = \"a\"\nlow = 9\nhigh = 3", "edge.toml:5: limit[0].low: low = 9 is above high = 3"),
        ("[[limit]]\nseries = \"a\"\nhigh = 3\ndeadband = -1", "edge.toml:6: limit[0].deadband: -1 is negative"),
        (
            "[[limit]]\nseries = \"a\"\nlow = 10\nhigh = 20\ndeadband = 15",
            "edge.toml:7: limit[0].deadband: a deadband of 15 leaves no value between low (10) and high (20) at which both clear; write a smaller one",
        ),
        (
            "[[limit]]\nseries = \"a\"\nlow_low = 10\nhigh_high = 20\ndeadband = 1000",
            "limit[0].deadband: a deadband of 1000 leaves no value",
        ),
        ("[[limit]]\nseries = \"a\"\nabove_usual = 4\nbelow_usual = 4\ndeadband = 5", "limit[0].deadband: a deadband of 5 leaves no value"),
        ("[[limit]]\nseries = \"a\"\nlow_low = 10\nhigh = 10", "limit[0].low_low: low_low and high are both 10"),
        ("[[group]]\nname = \"a\"\nseries = []", "edge.toml:5: group[0].series: no series is in this group; name at least one"),
        (
            "[[group]]\nname = \"a\"\nseries = [\"b/*\"]\n[[group]]\nname = \"a\"\nseries = [\"c/*\"]",
            "edge.toml:7: group[1].name: group[0] has this name, too",
        ),
        (
            "[[suppress]]\nby = \"a\"\nby_kind = \"high\"\nseries = \"a\"\nkinds = [\"high\"]",
            "edge.toml:6: suppress[0].series: this is about the alarm that suppresses alone",
        ),
        ("[alarms]\nflood = 0", "edge.toml:4: alarms.flood: 0 is out of range"),
        ("[alarms]\nlatch = \"some\"", "edge.toml:4: alarms.latch: \"some\" is not one of"),
        ("[[limit]]\nseries = \"a\"", "limit[0].series: this limit has no bound"),
        ("[[limit]]\nhigh = nan\nseries = \"a\"", "limit[0].high: NaN is no finite number"),
        ("[[limit]]\nseries = \"a/#\"\nhigh = 1", "limit[0].series: \"a/#\" matches no series"),
        ("[[source]]\nfilter = \"a/#/b\"", "source[0].filter: \"a/#/b\": # is only allowed at the end"),
        ("[[source]]\nfilter = \"alerts/#\"", "edge.toml:4: source[0].filter: what begins with alerts/"),
        ("[[source]]\nfilter = \"a/+\"\nseries = \"{rest}\"", "edge.toml:5: source[0].series:"),
        ("[[source]]\nfilter = \"a/#\"\nshare = \"raw\"", "edge.toml:5: source[0].share: \"raw\" is not one of"),
        ("[redundancy]\ngroup = \"Cell 4\"", "edge.toml:4: redundancy.group: \"Cell 4\" is no group name"),
        ("[[ingest]]\nfilter = \"#\"", "ingest[0].url: this key is required"),
        (
            "[[ingest]]\nurl = \"mqtt://localhost\"\nfilter = \"#\"",
            "edge.toml:4: ingest[0].url: mqtt://localhost:1883 is this gateway's own",
        ),
        (
            "[[ingest]]\nurl = \"mqtt://h\"\nfilter = \"#\"\n[[ingest]]\nurl = \"mqtt://h:1883\"\nfilter = \"#\"",
            "edge.toml:8: ingest[1].filter: this broker and filter are there twice",
        ),
        ("[http]\nlisten = \"127.0.0.1:1883\"", "edge.toml:4: http.listen: [mqtt] listens at 127.0.0.1:1883 already"),
    ] {
        let error = read_text(&format!("{HEAD}{text}\n")).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for name in ["", "Plant", "plant_a", "a/b", &"a".repeat(65)] {
        assert!(read_text(&format!("gateway = \"{name}\"\ndata_dir = \"d\"\n")).unwrap_err().contains("gateway: "), "{name}");
    }
}

#[test]
fn what_detection_is_not_to_tell_is_read_and_what_is_wrong_in_it_refused() {
    let text = format!(
        "{HEAD}[[maintenance]]\nseries = \"a/**\"\nfrom = \"2026-02-01T06:00:00Z\"\nuntil = \"2026-02-01T08:00:00+01:00\"\nevery = \"7d\"\nreason = \"oil\"\n\
         [[suppress]]\nby = \"a/power\"\nby_kind = \"low\"\nseries = \"a/**\"\nkinds = [\"flatline\"]\n[[shadow]]\nkinds = [\"drift\"]\n\
         [[group]]\nname = \"cell\"\nseries = [\"a/*\", \"b/flow\"]\n[[limit]]\nseries = \"a/x\"\nabove_usual = 4.0\n"
    );
    let config = read_text(&text).unwrap().limits;
    let window = &config.maintenance[0];
    assert_eq!((window.until_ms - window.from_ms, window.every_ms), (3_600_000, Some(604_800_000)));
    assert_eq!((config.suppressions.len(), config.shadows.len(), config.groups[0].series.len()), (1, 1, 2));
    assert_eq!(config.limits[0].above_usual, Some(4.0));
    let wrong = [
        ("kinds = [\"flatline\"]", "kinds = [\"flatlin\"]", "did you mean \"flatline\"?"),
        ("until = \"2026-02-01T08:00:00+01:00\"", "until = \"2026-02-01T05:00:00Z\"", "not after from"),
        ("every = \"7d\"", "every = \"30m\"", "never end"),
        ("every = \"7d\"", "every = \"1h\"", "never end"),
        ("from = \"2026-02-01T06:00:00Z\"", "from = \"tomorrow\"", "is no time"),
        ("above_usual = 4.0", "above_usual = -4.0", "above 0"),
        ("kinds = [\"drift\"]", "", "kinds"),
        ("reason = \"oil\"", "", "reason"),
    ];
    for (good, bad, why) in wrong {
        let told = read_text(&text.replace(good, bad)).unwrap_err();
        assert!(told.contains(why), "{bad}: {told}");
    }
}

/// What the fold depends on goes into each boot record, and into snapshots: what is accepted here and not
/// read there would make the data dir unusable.
fn comes_back(config: &Config) {
    let settings = config.fold();
    let encoded = schemas::cbor::to_vec(&settings);
    let record = Record::Boot { boot: 7, parent: None, config: &encoded };
    let mut bytes = Vec::new();
    record.encode(0, &mut bytes);
    let mut fold = Fold::default();
    fold.apply(1, record.kind(), &bytes).unwrap();
    assert_eq!(fold.config, settings);
    assert_eq!(Fold::restore(&fold.save()).unwrap().config, settings);
}

#[test]
fn whatever_is_accepted_comes_back_from_the_boot_record() {
    // Each place of a text with texts of all lengths, each place of a number with all of its kinds.
    let texts = [
        "[[limit]]\nseries = \"X\"\nhigh = 1\n",
        "[[maintenance]]\nseries = \"X\"\nfrom = \"1970-01-01T00:00:00Z\"\nuntil = \"9999-12-31T23:59:59Z\"\nreason = \"oil\"\n",
        "[[maintenance]]\nseries = \"a\"\nfrom = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-01T01:00:00Z\"\nevery = \"3660d\"\nreason = \"X\"\n",
        "[[suppress]]\nby = \"X\"\nby_kind = \"low\"\nseries = \"a/**\"\n",
        "[[suppress]]\nby = \"b\"\nby_kind = \"low\"\nseries = \"X\"\n",
        "[[shadow]]\nseries = \"X\"\nkinds = [\"drift\", \"drift\"]\n",
        "[[group]]\nname = \"X\"\nseries = [\"a\"]\n",
        "[[group]]\nname = \"a\"\nseries = [\"X\", \"X\"]\n",
        "[redundancy]\ngroup = \"X\"\n",
        "[cloud]\nurl = \"mqtt://h\"\n[[bridge]]\nfilter = \"X\"\ndirection = \"both\"\n",
    ];
    let (mut accepted, mut refused) = (0, 0);
    for text in texts {
        for length in [0, 1, 63, 64, 65, 120, 121, 128, 129, 255, 256, 257, 512, 513, 4_097, 65_535, 65_536] {
            for with in ["x", "é", "/", "*/", "\\u0000"] {
                match read_text(&format!("{HEAD}{}", text.replace('X', &with.repeat(length / with.len())))) {
                    Ok(config) => comes_back(&config),
                    Err(_) => refused += 1,
                }
                accepted += 1;
            }
        }
    }
    let numbers =
        ["0.1", "-0.0", "0", "5e-324", "1.7976931348623157e308", "-1.7976931348623157e308", "9223372036854775807", "nan", "inf", "-inf"];
    for (key, number) in ["low_low", "low", "high", "high_high", "deadband", "above_usual", "below_usual"]
        .into_iter()
        .flat_map(|key| numbers.map(|number| (key, number)))
    {
        match read_text(&format!(
            "{HEAD}[[limit]]\nseries = \"a\"\n{}{key} = {number}\n",
            if key == "deadband" { "high = 1\n" } else { "" }
        )) {
            Ok(config) => comes_back(&config),
            Err(_) => refused += 1,
        }
        accepted += 1;
    }
    accepted -= refused;
    assert!(accepted > 200 && refused > 200, "{accepted} accepted, {refused} refused");
    let many = format!("{HEAD}{}", "[[limit]]\nseries = \"line/machine/sensor\"\nhigh = 1.1\n".repeat(50_000));
    comes_back(&read_text(&many).unwrap());
}

#[test]
fn a_pattern_that_no_name_is_long_enough_for_is_refused_wherever_it_stands() {
    let long = "x".repeat(257);
    for text in [
        format!("[[limit]]\nseries = \"{long}\"\nhigh = 1\n"),
        format!(
            "[[maintenance]]\nseries = \"{long}\"\nfrom = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-02T00:00:00Z\"\nreason = \"oil\"\n"
        ),
        format!("[[suppress]]\nby = \"b\"\nby_kind = \"low\"\nseries = \"{long}\"\n"),
        format!("[[shadow]]\nseries = \"{long}\"\nkinds = [\"drift\"]\n"),
        format!("[[group]]\nname = \"a\"\nseries = [\"a\", \"{long}\"]\n"),
    ] {
        let error = read_text(&format!("{HEAD}{text}")).unwrap_err();
        assert!(error.contains("series") && error.contains("the pattern has 257 bytes, but a series' name has at most 256"), "{error}");
    }
}

#[test]
fn keys_of_what_is_not_built_are_unknown() {
    for (text, expected) in [
        ("[cloud]\nurl = \"mqtt://h\"\nbudgets = \"64KiB/s\"", "edge.toml:5: cloud.budgets: unknown key; did you mean budget?"),
        ("[redundancy]\ngroups = \"cell-4\"", "edge.toml:4: redundancy.groups: unknown key; did you mean group?"),
        ("[[state]]\nprefix = \"stock/\"", "edge.toml:3: state: unknown key"),
        ("[alarms]\nfloods = 3", "edge.toml:4: alarms.floods: unknown key; did you mean flood?"),
        ("[mqtt]\nlisen = \"127.0.0.1:1\"", "edge.toml:4: mqtt.lisen: unknown key; did you mean listen?"),
    ] {
        let error = read_text(&format!("{HEAD}{text}\n")).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let error = read_text("gateway = \"X\"\n[windows]\nsizes = []\ngrace = 1\n[http]\nlisten = 8080\n").unwrap_err();
    assert_eq!(error.lines().count(), 5, "{error}");
}
