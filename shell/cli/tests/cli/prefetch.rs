//! `smf prefetch`.

use std::fs;

use serde_json::{Value, json};

use super::{contains, ok, sample, scratch, smf, text};

#[test]
fn prefetch_prints_a_summary_and_every_failure() {
    let output = smf(&["prefetch", "packed.smf", "bad", "library.lsm", "absent", "packed.smf"]);
    assert_eq!(output.status.code(), Some(1));
    let size = |name: &str| fs::metadata(sample(name)).unwrap().len();
    let bytes = 2 * size("packed.smf") + size("library.lsm");
    let summary = text(&output.stdout);
    assert!(summary.starts_with(&format!("3 files, {bytes} bytes, ")), "{summary}");
    assert!(summary.ends_with(" MB/s, 2 failed\n") && summary.contains(" ms, "), "{summary}");
    let errors = text(&output.stderr);
    let errors: Vec<_> = errors.lines().collect();
    assert_eq!(errors.len(), 2);
    contains(errors[0], &["error: bad: not a regular file but a directory; name the files in it"]);
    contains(errors[1], &["error: absent: ", "no such file"]);
    contains(&ok(&["prefetch", "packed.smf", "--threads", "0x2"]), &["1 file, 1029 bytes, "]);
    assert_eq!(smf(&["prefetch", "packed.smf", "--threads", "257"]).status.code(), Some(2));
    contains(&ok(&["prefetch", "--help"]), &["page cache", "64 MiB", "Directories are refused"]);
    let dash = smf(&["prefetch", "packed.smf", "-"]);
    contains(&text(&dash.stderr), &["standard input cannot be prefetched", "`./-`"]);
}

#[test]
fn prefetch_json_has_the_statistics() {
    let args = ["prefetch", "--json", "packed.smf", "absent", "packed.smf", "--threads", "1"];
    let output = smf(&args);
    assert_eq!(output.status.code(), Some(1));
    let order = [
        "\"files\":2",
        "\"bytes\":2058",
        "\"failed\":1",
        "\"threads\":1",
        "\"time\":",
        "\"bytes_per_second\":",
        "\"cache\":{\"files\":1,\"bytes\":1029,\"peak_bytes\":1029,\"hits\":1,\"misses\":2",
        "\"hit_rate\":0.333",
        "\"evictions\":0",
        "\"load_time\":{\"mean\":",
        "\"p50\":",
        "\"p90\":",
        "\"p99\":",
        "\"bytes_over_time\":[{\"at\":",
        "\"failures\":[{\"file\":\"absent\",\"error\":\"cannot open the file: no such file",
    ];
    let text = text(&output.stdout);
    let places =
        order.map(|key| text.find(key).unwrap_or_else(|| panic!("{key} is not in {text}")));
    assert!(places.is_sorted() && text.ends_with("}\n"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    let time = |key: &str| shown["cache"]["load_time"][key].as_f64().unwrap();
    assert!(time("mean") > 0.0 && time("p50") <= time("p99"));
    let empty: Value = serde_json::from_slice(&smf(&["prefetch", "--json", "x"]).stdout).unwrap();
    assert_eq!((&empty["cache"]["hit_rate"], &empty["failed"]), (&json!(0.0), &json!(1)));
    assert_eq!(empty["cache"]["load_time"]["mean"], Value::Null);
}

#[test]
fn prefetch_reads_more_than_the_cache_holds() {
    let directory = scratch("prefetch");
    let files: Vec<String> = (0..200)
        .map(|number| {
            let path = directory.join(format!("{number}"));
            fs::write(&path, [1; 100]).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let large = directory.join("large");
    // Larger than the whole cache; nothing of it is on the disk.
    let size = (64 << 20) + 1;
    fs::File::create(&large).unwrap().set_len(size).unwrap();
    let mut args = vec!["prefetch", "--json", large.to_str().unwrap()];
    args.extend(files.iter().map(String::as_str));
    let shown: Value = serde_json::from_str(&ok(&args)).unwrap();
    assert_eq!((&shown["files"], &shown["bytes"]), (&json!(201), &json!(size + 20_000)));
    let cache = &shown["cache"];
    assert_eq!((&cache["files"], &cache["evictions"]), (&json!(64), &json!(136)));
}
