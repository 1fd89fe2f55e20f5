//! The page of a bridge: a line for each gateway.

use super::page::{Page, clock, count, head, lasts, size, some, text};
use crate::words;
use serde_json::Value;

pub(super) fn page(status: &Value) -> String {
    let mut page = Page::new(status);
    head(&mut page, "cloud bridge");
    gateways(&mut page);
    let (windows, store, series) = (page.get("windows"), page.get("store"), page.get("series"));
    let (expired, refused, spoilt) = (page.get("expired"), page.get("refused"), page.get("spoilt"));
    let (broker, behind) = (page.get("broker_connected"), page.get("records_unpublished"));
    page.section(
        "merged windows",
        &[
            ("series", count(series)),
            ("published", count(&windows["published"]).map(|n| n + " revisions, by this bridge so far")),
            ("due", count(&windows["due"]).map(|n| n + " changed, to be published")),
            ("incomplete", count(&windows["waiting"]).map(|n| n + " published, waiting for a gateway")),
            ("in memory", count(&windows["cached"])),
            (
                "on disk",
                count(&windows["in_runs"]).map(|n| {
                    format!("{n} in {} files, {}", count(&store["runs"]).unwrap_or_default(), size(&store["run_bytes"]).unwrap_or_default())
                }),
            ),
            ("damaged", some(&windows["damaged_parts"]).map(|n| n + " parts of files are lost")),
            ("expired", some(expired).map(|n| n + " entries had ended too long ago to be merged")),
            ("refused", some(refused).map(|n| n + " messages and entries that were not taken")),
            ("spoilt", some(spoilt).map(|n| n + " messages that could not be read")),
            ("broker", broker.as_bool().map(|up| if up { "connected" } else { "NOT REACHED" }.to_owned())),
            ("unpublished", some(behind).map(|n| n + " records whose messages the broker has not taken yet")),
        ],
    );
    let (log, lsn, boot) = (page.get("log"), page.get("lsn"), page.get("boot"));
    let lasts = lasts(page.get("room_s")).map(|lasts| format!("{lasts} at the present rate"));
    page.section(
        "log",
        &[
            ("log", size(&log["bytes"]).map(|used| format!("{used}, {} snapshots", log["snapshots"].as_array().map_or(0, Vec::len)))),
            ("room lasts", lasts),
            (
                "records",
                count(&log["durable"]).map(|newest| {
                    format!(
                        "{} to {newest} on disk, up to {} merged",
                        count(&log["first"]).unwrap_or_default(),
                        count(lsn).unwrap_or_default()
                    )
                }),
            ),
            ("boot", text(boot)),
        ],
    );
    page.end()
}

fn gateways(page: &mut Page<'_>) {
    let all = page.get("gateways").as_object().cloned().unwrap_or_default();
    let heads = ["GATEWAY", "LINK", "ACCEPTED", "DELIVERED", "HELD", "SHED", "LOCAL", "DUPLICATES", "REFUSED", "LAST HEARD"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let mut notes = Vec::new();
    for (name, one) in &all {
        let figure = |key: &str| count(&one[key]).unwrap_or_else(|| "-".to_owned());
        let ledger = &one["ledger"];
        let refused = ledger["refused"].as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum());
        let seen =
            one["seen"].as_i64().filter(|ms| *ms > 0).map_or_else(|| "-".to_owned(), |ms| words::moment(ms.div_euclid(1_000) * 1_000));
        let mut row = vec![name.clone(), if one["online"] == true { "online" } else { "OFFLINE" }.to_owned()];
        row.extend(["accepted", "delivered", "held", "shed", "local"].map(figure));
        row.extend([count(&ledger["duplicates"]).unwrap_or_else(|| "-".to_owned()), words::count(refused), seen]);
        rows.push(row);
        let clock = clock(&one["clock"], &one["skew_ms"]).filter(|_| one["clock"] != "ok");
        notes.extend(clock.map(|clock| format!("{name}: its clock is {clock}")));
        if let Some(gaps) = one["gaps"].as_array().filter(|gaps| !gaps.is_empty()) {
            let readings = gaps.iter().filter_map(|gap| gap["readings"].as_u64()).sum();
            notes.push(format!("{name}: {} readings are lost for good, in {} gaps; --json names them", words::count(readings), gaps.len()));
        }
        if let Some(spans) = one["lacking"]["spans"].as_u64() {
            let what = "windows lack readings that were given up";
            notes.push(format!("{name}: {what}, in {} spans of time; --json names the newest", words::count(spans)));
        }
        if one["bridge"].is_object() {
            let part = |key: &str| count(&one["bridge"][key]).unwrap_or_default();
            let rest = format!("{} waiting, {} given up, {} expired", part("waiting"), part("given_up"), part("expired"));
            notes.push(format!("{name}: ordinary messages: {} up, {} down, {rest}", part("up"), part("down")));
        }
        for (key, what) in [("expired", "entries came too late to be merged"), ("refused", "entries were not taken")] {
            notes.extend(some(&one[key]).map(|n| format!("{name}: {n} {what}")));
        }
    }
    let online = all.values().filter(|one| one["online"] == true).count();
    page.table(&format!("gateways: {}, {online} online; figures in readings, as far as they are known here", all.len()), &rows);
    notes.iter().for_each(|note| page.line(&format!("  {note}")));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn each_gateway_has_a_line() {
        let one = |online: bool| {
            json!({"gateway":"plant-a","online":online,"accepted":12_345,"delivered":345,"held":12_000,"shed":0,"local":0,"boot":"1","expired":0,
                "refused":0,"seen":1_700_000_000_000i64,"clock":"skewed","skew_ms":7_000,"gaps":[{"readings":9}],
                "ledger":{"accepted":12_345,"duplicates":3,"refused":{"room":4,"payload":1}}})
        };
        let status = json!({"role":"cloud","version":"0.1.0","uptime_s":5,"gateways":{"plant-a":one(true),"plant-bb":one(false)},
            "windows":{"published":5},"log":{"bytes":1_024,"first":1,"durable":9,"snapshots":[4]},"lsn":9,"room_s":61,"broker_connected":true});
        let text = super::page(&status);
        assert!(text.starts_with("cloud bridge, version 0.1.0, up 5 s: ready\n"), "{text}");
        for part in [
            "gateways: 2, 1 online;",
            "  plant-a   ",
            "12,345        345  12,000     0      0           3        5  2023-11-14T22:13:20Z\n",
            "  plant-bb  OFFLINE",
            "plant-a: its clock is skewed, 7.000 s ahead of the bridge's\n",
            "9 readings are lost for good",
            "1 min 1 s at the present rate",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("accepted").count() + text.matches("ACCEPTED").count(), 1, "the ledger stands once: {text}");
    }
}
