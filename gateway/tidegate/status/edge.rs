//! The page of a gateway.

use super::page::{Page, clock, count, head, lasts, reasons, size, some, text};
use crate::words;
use serde_json::Value;

pub(super) fn page(status: &Value) -> String {
    let mut page = Page::new(status);
    let name = text(page.get("gateway")).unwrap_or_default();
    head(&mut page, format!("gateway {name}").trim_end());
    ledger(&mut page);
    cloud(&mut page);
    log(&mut page);
    alarms(&mut page);
    door(&mut page);
    page.end()
}

fn ledger(page: &mut Page<'_>) {
    let ledger = page.get("ledger");
    let (clamped, misfits) = (page.get("clamped"), page.get("misfits"));
    page.section(
        "readings: accepted = delivered + held + shed + local",
        &[
            ("accepted", count(&ledger["accepted"])),
            ("delivered", count(&ledger["delivered"]).map(|n| n + " (the cloud has them for good)")),
            ("held", count(&ledger["held"]).map(|n| n + " (still to go to the cloud)")),
            ("shed", count(&ledger["shed"]).map(|n| n + " (given up for want of room, and reported)")),
            ("local", count(&ledger["local"]).map(|n| n + " (never meant to leave)")),
            ("duplicates", some(&ledger["duplicates"]).map(|n| n + " (sent again, counted once)")),
            ("refused", reasons(&ledger["refused"]).map(|all| format!("messages: {all}"))),
            ("clamped", some(clamped).map(|n| n + " (their time lay in the future: stamped with their arrival)")),
            ("other unit", some(misfits).map(|n| n + " (not the unit of their series: kept as series@unit)")),
        ],
    );
}

fn cloud(page: &mut Page<'_>) {
    let drain = page.get("drain");
    let (connected, bytes) = (page.get("connected"), page.get("uplink_bytes"));
    let alone = if page.get("lanes")["alerts"] == false { ", but for the connection for alerts, which is DOWN" } else { "" };
    let link = match connected.as_bool() {
        None => "none: no [cloud] is configured".to_owned(),
        Some(true) => format!("connected{alone}; {} both ways since the start", size(bytes).unwrap_or_default()),
        Some(false) => format!("DOWN; {} both ways since the start", size(bytes).unwrap_or_default()),
    };
    let (entries, held) = (page.get("entries_held"), page.get("held_bytes"));
    let (marks, alerts, lost) = (page.get("marks_held"), page.get("alerts_held"), page.get("alerts_lost"));
    let undated = page.get("undated");
    let rate = drain["readings_per_s"].as_u64().map(|readings| {
        let bytes = size(&drain["bytes_per_s"]).unwrap_or_default();
        format!("{} readings/s, {} windows/s, {bytes}/s", words::count(readings), count(&drain["windows_per_s"]).unwrap_or_default())
    });
    let left = drain["windows"].as_u64().filter(|windows| *windows > 0).map(|windows| {
        let eta = lasts(&drain["eta_s"]).map_or("no end in sight at the present rate".to_owned(), |eta| format!("done in {eta}"));
        format!("{} windows, about {} on the line; {eta}", words::count(windows), size(&drain["bytes"]).unwrap_or_default())
    });
    page.section(
        "to the cloud",
        &[
            ("link", Some(link)),
            ("still to go", left),
            ("present rate", rate),
            (
                "held here",
                some(entries).map(|n| format!("{n} finished windows, about {} on disk and in memory", size(held).unwrap_or_default())),
            ),
            ("in flight", some(&drain["in_flight"]).map(|n| n + " intervals without an answer yet")),
            ("alerts", some(alerts).map(|n| n + " that the cloud has not taken for good")),
            ("alerts lost", some(lost).map(|n| n + " that waited for the cloud, with damaged parts of the disk")),
            ("unheard", some(&drain["alerts"]).map(|n| n + " alerts without the cloud's receipt")),
            ("given up", some(marks).map(|n| n + " windows of which the cloud is still to be told (marks)")),
            ("undated", some(undated).map(|n| n + " readings that wait for the clock to be set")),
        ],
    );
    let bridge = page.get("bridge");
    if bridge.is_object() {
        page.section(
            "ordinary messages ([[bridge]])",
            &[
                ("taken", count(&bridge["taken"]).map(|n| format!("{n}, delivered {}", text(&bridge["delivery"]).unwrap_or_default()))),
                ("delivered", count(&bridge["delivered"])),
                ("waiting", some(&bridge["waiting"]).map(|n| format!("{n}, {}", size(&bridge["waiting_bytes"]).unwrap_or_default()))),
                ("given up", some(&bridge["given_up"])),
                ("expired", some(&bridge["expired"])),
                ("received", count(&bridge["received"])),
                (
                    "unheld",
                    some(&bridge["unheld"]).map(|n| n + " (of those: no longer kept for a crash, for subscribers that stayed away)"),
                ),
                (
                    "refused",
                    some(&bridge["refused"]).map(|n| n + " (of the cloud: not asked for, too large, or on the gateway's own topics)"),
                ),
            ],
        );
    }
}

fn log(page: &mut Page<'_>) {
    let (used, limit) = (page.get("log_bytes"), page.get("log_limit_bytes"));
    let lasts = lasts(page.get("room_s")).map_or(String::new(), |lasts| format!("; lasts {lasts} at the present rate"));
    let room = match page.get("room") {
        Value::Object(room) => room.get("Ok").and_then(size).or_else(|| room.get("Err").and_then(text)),
        room => size(room).map(|room| room + &lasts).or_else(|| text(room).map(|why| format!("NONE: {why}"))),
    };
    let wear = flash(page.get("flash"));
    let (written, syncs) = (page.get("bytes_written"), page.get("syncs"));
    let (lsn, clock_ms, boot) = (page.get("lsn"), page.get("clock_ms"), page.get("boot"));
    let ok = serde_json::Value::from("ok");
    // Below a few seconds it is no matter: the status says in a word when it is one.
    let ahead_ms = page.get("ahead_ms").as_u64();
    let (word, skew, jumps) = (page.get("clock"), page.get("skew_ms"), page.get("clock_jumps"));
    let ahead = ahead_ms.filter(|_| word == "ahead").map(|ms| ms / 1_000);
    page.section(
        "log and disk",
        &[
            ("log", size(used).map(|used| format!("{used} of {}", size(limit).unwrap_or_default()))),
            ("room", room),
            (
                "written",
                size(written).map(|bytes| format!("{bytes} in {} syncs to disk, since the start", count(syncs).unwrap_or_default())),
            ),
            ("flash", wear),
            ("newest record", count(lsn).map(|n| format!("{n}, at {}", clock_ms.as_i64().map(words::moment).unwrap_or_default()))),
            ("boot", text(boot)),
            // Of two clocks: what `ahead` says is in its own line.
            ("wall clock", clock(if word == "ahead" { &ok } else { word }, skew)),
            (
                "logged clock",
                ahead.map(|s| format!("AHEAD of the wall clock by {}: what has no time of its own is dated by it", words::lasts(s))),
            ),
            ("clock jumps", some(jumps).map(|n| n + " since the start")),
        ],
    );
}

fn flash(of: &Value) -> Option<String> {
    let all = size(&of["bytes"])?;
    let budget = size(&of["budget_bytes_per_day"])?;
    let Some(day) = size(&of["bytes_per_day"]) else {
        return Some(format!("{all} of pages since the start; the budget is {budget} a day"));
    };
    let reading = of["bytes_per_reading"].as_f64().map_or(String::new(), |bytes| format!(", {bytes:.0} bytes a reading"));
    let spaced = of["spaced_commits"].as_u64().filter(|n| *n > 0);
    let spaced = spaced.map_or(String::new(), |n| format!("; {n} commits waited for company"));
    Some(format!("{all} of pages since the start; {day} a day at the last hour's rate, of {budget}{reading}{spaced}"))
}

fn alarms(page: &mut Page<'_>) {
    let (series, alarms, shadow) = (page.get("series"), page.get("alarms"), page.get("shadow"));
    let (kept, unheld) = (page.get("alerts_kept"), page.get("alerts_unheld"));
    let names = |key: &str| {
        let list = alarms[key].as_array()?.iter().map(|one| {
            let times = one["count"].as_u64().map_or(String::new(), |times| format!(" ({times} times)"));
            format!("{}/{}{times}", one["series"].as_str().unwrap_or("-"), one["kind"].as_str().unwrap_or("-"))
        });
        let list = list.collect::<Vec<_>>();
        let more = list.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!list.is_empty()).then(|| list.into_iter().take(3).collect::<Vec<_>>().join(", ") + &more)
    };
    let states = alarms["states"].as_object().map(|states| {
        let states = states.iter().filter(|(state, _)| *state != "normal").map(|(state, n)| (state.clone(), n.clone()));
        reasons(&Value::Object(states.collect())).unwrap_or_else(|| "none stands".to_owned())
    });
    let flood = (alarms["in_flood"] == true).then(|| "there is one now: some alerts are held back".to_owned());
    page.section(
        "detection and alarms (tidegate alarms lists them)",
        &[
            ("series", count(series)),
            ("active", count(&alarms["active"])),
            ("alarms", states),
            ("raised", count(&alarms["raised_day"]).map(|n| format!("{n} in the last day"))),
            ("flood", flood),
            ("most often", names("top")),
            ("chattering", names("chattering")),
            ("stale", names("stale").map(|names| names + " (active for more than a day)")),
            ("not shown", reasons(&alarms["held"]).map(|all| format!("alerts: {all}"))),
            ("kept", some(kept).map(|n| n + " alerts that subscribers with a session have not taken yet")),
            ("unheld", some(unheld).map(|n| n + " alerts, by session, no longer kept for a crash, for subscribers that stayed away")),
            ("no room", some(&alarms["refused"]).map(|n| n + " alarms so far: their alerts were shown, they are not listed")),
            ("in shadow", reasons(shadow).map(|all| format!("would have told: {all}"))),
        ],
    );
}

fn door(page: &mut Page<'_>) {
    let (connections, sessions, dropped) = (page.get("connections"), page.get("sessions"), page.get("subscriber_dropped"));
    page.section(
        "clients",
        &[
            ("connections", count(connections)),
            ("sessions", count(sessions)),
            ("missed", some(dropped).map(|n| n + " messages by subscribers that were too slow")),
        ],
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_person_reads_who_how_much_and_until_when() {
        let status = json!({"role":"edge","gateway":"plant-a","version":"0.1.0","uptime_s":3_720,"room_s":1_902_960_000u64,"room":2_147_483_648u64,
            "log_bytes":3_145_728,"log_limit_bytes":1u64 << 31,"connected":false,"uplink_bytes":29,"entries_held":800,"held_bytes":98_304,
            "clock":"ok","ahead_ms":0,"clock_ms":1_700_000_000_000i64,"skew_ms":-12,"lsn":7,"clamped":0,"brand_new":5,
            "drain":{"windows":800,"bytes":23_200,"readings_per_s":0,"windows_per_s":0,"bytes_per_s":29,"eta_s":null,"in_flight":0,"alerts":0},
            "ledger":{"accepted":30_005,"delivered":5,"held":30_000,"shed":0,"local":0,"duplicates":0,"refused":{"room":7,"payload":0}},
            "alarms":{"states":{"unacknowledged":2,"normal":4},"active":2,"raised_day":3,
                "top":[{"series":"a","kind":"high","count":4}],"chattering":[{"series":"b","kind":"low"}]}});
        let text = super::page(&status);
        assert!(text.starts_with("gateway plant-a, version 0.1.0, up 1 h 2 min: ready\n"), "{text}");
        for part in [
            "  held       30,000 (",
            "  refused    messages: 7 room\n",
            "DOWN; 29 B both ways",
            "800 windows, about 22.7 KiB on the line; no end in sight",
            "0 readings/s, 0 windows/s, 29 B/s\n",
            "800 finished windows, about 96.0 KiB on disk",
            "3.0 MiB of 2.0 GiB\n",
            "2.0 GiB; lasts more than 10 years at",
            "ok, 0.012 s behind the bridge's",
            "  alarms      2 unacknowledged\n",
            "most often  a/high (4 times)\n",
            "chattering  b/low\n",
            "more\n  brand_new  5",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let order = ["readings:", "to the cloud", "log and disk", "detection and alarms", "\nmore"].map(|title| text.find(title).unwrap());
        assert!(order.is_sorted() && !text.contains("clamped") && !text.contains("ahead"), "{text}");
        let text = super::page(&json!({"role":"edge","clock":"ahead","ahead_ms":3_723_000,"skew_ms":12}));
        for part in ["wall clock    ok, 0.012 s ahead of the bridge's\n", "AHEAD of the wall clock by 1 h 2 min: what has no time"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("ahead_ms"), "{text}");
        let text = super::page(&json!({"role":"edge","unready":"the disk is full","room":"the disk is full"}));
        assert!(text.contains("NOT READY: the disk is full") && text.contains("NONE: the disk is full"), "{text}");
    }
}
