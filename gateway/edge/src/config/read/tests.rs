//! What a config says, and what is told of one that is wrong.

use super::*;

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
