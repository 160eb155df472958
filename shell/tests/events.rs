//! The events that a sink of the process receives from a loader.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::sync::Mutex;

use smf_core::format::write::{Module, NewSection, NewSymbol, Place};
use smf_core::format::{Flags, Header, Layout, SectionKind, SymbolKind};
use smf_core::link::host_arch;
use smf_core::loader::{LoaderOptions, ModuleBytes, StateMigration};
use smf_loader::events::{self, Event, EventKind, EventSink};
use smf_loader::loader::Loader;

/// The events as text, `BEGIN name`, `END name`, or the name and fields of something that has happened.
struct Recorder(Mutex<Vec<String>>);

static RECORDER: Recorder = Recorder(Mutex::new(Vec::new()));

impl EventSink for Recorder {
    fn event(&self, event: &Event<'_>) {
        let mut text = match event.kind {
            EventKind::Begin => format!("BEGIN {}", event.name),
            EventKind::End => format!("END {}", event.name),
            EventKind::Add => format!("ADD {}", event.name),
            EventKind::Instant => event.name.to_owned(),
            other => panic!("{other:?}"),
        };
        for (name, value) in event.fields {
            text += &format!(" {name}={value:?}");
        }
        self.0.lock().unwrap().push(text);
    }
}

fn take() -> Vec<String> {
    std::mem::take(&mut *RECORDER.0.lock().unwrap())
}

/// A reloadable module with a datum `count`.
fn module() -> ModuleBytes {
    let sections = [
        NewSection::code(&[0xc3; 16]),
        NewSection { kind: SectionKind::Data, name: b".data", ..NewSection::code(&[1; 8]) },
    ];
    let symbol = NewSymbol {
        name: b"count",
        kind: SymbolKind::Data,
        place: Place::Section(1),
        size: 8,
        ..NewSymbol::default()
    };
    let flags = Flags(Flags::RELOADABLE);
    let header = Header { arch: host_arch(), flags, ..Header::default() };
    let layout = Layout::Packed;
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[symbol] };
    ModuleBytes::new(module.to_vec().unwrap()).unwrap()
}

#[test]
fn sink_receives_phases_and_events_of_load_reload_and_unload() {
    assert!(events::set_sink(&RECORDER));
    assert!(!events::set_sink(&RECORDER), "a second sink would get events of the first");
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let handle = loader.map_module("m", module()).unwrap().link().unwrap();
    let loaded = take();
    let names: Vec<&str> =
        loaded.iter().map(|text| text.split_once(" code_bytes").map_or(&**text, |t| t.0)).collect();
    let (phases, load) = names.split_at(names.len() - 1);
    let expected = [
        "BEGIN parse module=\"m\"",
        "END parse",
        "BEGIN map module=\"m\"",
        "END map",
        "BEGIN resolve module=\"m\"",
        "END resolve",
        "BEGIN relocate module=\"m\"",
        "link module=\"m\"",
        "ADD relocate module=\"m\"",
        "END relocate",
    ];
    assert_eq!(phases, expected);
    assert!(load.concat().starts_with("load module=\"m\" bytes="), "{load:?}");

    loader.modules().reload(handle, module(), StateMigration::Copy, &mut |_| {}).unwrap();
    let reloaded = take().pop().unwrap();
    assert!(reloaded.starts_with("reload module=\"m\" bytes="), "{reloaded}");
    assert!(reloaded.ends_with(" copied_symbols=1"), "{reloaded}");
    loader.modules().unload(handle).unwrap();
    assert_eq!(take(), ["unload module=\"m\""]);
    assert!(loader.modules().unload(handle).is_err());
    let refused = take().pop().unwrap();
    assert!(refused.starts_with("refuse module="), "{refused}");
}
