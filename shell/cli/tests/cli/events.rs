//! The log of events that `SMF_LOG` asks for.

use std::process::Command;

use serde_json::Value;

use super::{sample, text};

fn run(arguments: &[&str], form: &str) -> String {
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    smf.env("SMF_LOG", "info").env("SMF_LOG_FORMAT", form);
    text(&smf.args(arguments).output().unwrap().stderr)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn loads_and_refusals_are_lines() {
    let (app, lib) = (sample("app.smf"), sample("lib.smf"));
    let [app, lib] = [&app, &lib].map(|path| path.to_str().unwrap());
    let said = run(&["run", app, "direct", "14", "--with", lib], "text");
    let lines: Vec<&str> = said.lines().collect();
    let starts = |start: String| lines.iter().any(|line| line.starts_with(&start));
    for module in [app, lib] {
        assert!(starts(format!("smf: link module={module} code_bytes=")), "{said}");
        assert!(starts(format!("smf: load module={module}")), "{said}");
    }

    let said = run(&["run", app, "direct", "14"], "json");
    let events = said.lines().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = events.map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused = events.iter().find(|event| event["event"] == "refuse").unwrap();
    assert_eq!(refused["module"], app);
    assert!(refused["error"].as_str().unwrap().contains("scale"), "{said}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn instances_are_lines() {
    let records = sample("records.smf");
    let said = run(&["jit", records.to_str().unwrap(), "max$i64", "3", "4"], "text");
    assert!(said.lines().any(|line| line.starts_with("smf: instance symbol=")), "{said}");
}

#[test]
fn nothing_is_logged_by_default() {
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    smf.env_remove("SMF_LOG").args(["run", sample("bcod.smf").to_str().unwrap(), "answer"]);
    assert_eq!(text(&smf.output().unwrap().stderr), "");
}
