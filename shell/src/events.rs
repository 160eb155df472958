//! Events of loaders, instantiators and compilers.
//!
//! Each event goes to
//!
//! * the log: a line on standard error, where the environment variable `SMF_LOG` is `info`;
//! * the probes (USDT) of this library, which debuggers and tracers attach to;
//! * the subscriber of the program (feature `tracing`): events with the target `smf`, of level INFO, refusals WARN;
//! * the [`EventSink`] of the process, if one is set: it also gets the spans of time in which something was done.
//!
//! ```
//! use std::sync::Mutex;
//!
//! use smf_loader::events::{self, Event, EventKind, EventSink};
//!
//! struct Names(Mutex<Vec<&'static str>>);
//!
//! impl EventSink for Names {
//!     fn event(&self, event: &Event<'_>) {
//!         if event.kind == EventKind::Begin {
//!             self.0.lock().unwrap().push(event.name);
//!         }
//!     }
//! }
//!
//! static NAMES: Names = Names(Mutex::new(Vec::new()));
//!
//! assert!(events::set_sink(&NAMES));
//! {
//!     let _span = events::span("startup", &[]);
//! }
//! assert_eq!(*NAMES.0.lock().unwrap(), ["startup"]);
//! ```
//!
//! With the feature `tracing`:
//!
//! ```
//! # #[cfg(feature = "tracing")]
//! # mod example {
//! use std::io::Write;
//! use std::sync::{Arc, Mutex};
//!
//! use smf_core::loader::{LoaderOptions, ModuleBytes};
//! use smf_loader::loader::Loader;
//!
//! #[derive(Clone, Default)]
//! struct Output(Arc<Mutex<Vec<u8>>>);
//!
//! impl Write for Output {
//!     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
//!         self.0.lock().unwrap().write(bytes)
//!     }
//!     fn flush(&mut self) -> std::io::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! # pub fn run() {
//! let output = Output::default();
//! let writer = output.clone();
//! let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
//! tracing::subscriber::with_default(subscriber, || {
//!     let loader = Loader::new(LoaderOptions::default()).unwrap();
//!     assert!(loader.map_module("broken", ModuleBytes::new(b"broken").unwrap()).is_err());
//! });
//! let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
//! assert!(text.contains("WARN smf: refuse module=broken error=broken: "), "{text}");
//! # }
//! # }
//! # fn main() {
//! #     #[cfg(feature = "tracing")]
//! #     example::run();
//! # }
//! ```

pub(crate) mod log;
mod probes;
#[cfg(feature = "tracing")]
mod subscriber;

use std::fmt::{self, Display};
use std::ops::Range;
use std::sync::OnceLock;

use smf_core::codegen::registry::{Edge, Phase};
use smf_core::link::Module;
use smf_core::loader::LoadEvent;

use crate::fork::HeldAtFork;

/// A value of an event.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Field<'v> {
    /// A text.
    Text(&'v dyn Display),
    /// A number.
    Number(u64),
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{:?}", text.to_string()),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A span of time begins on this thread.
    Begin,
    /// The innermost span of this thread has these fields as well.
    Add,
    /// The innermost span of this thread ends.
    End,
    /// Something has happened.
    Instant,
}

/// An event, with named values.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'e> {
    /// The kind.
    pub kind: EventKind,
    /// The name; that of the span for [`EventKind::End`] and [`EventKind::Add`].
    pub name: &'static str,
    /// The values.
    pub fields: &'e [(&'static str, Field<'e>)],
}

/// Receives events, on the threads that cause them, some with locks of their owners held: it must not use a loader, an
/// instantiator or a manager.
pub trait EventSink: Sync {
    /// An event.
    fn event(&self, event: &Event<'_>);
}

/// The locks of this module that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = log::LOCKS;

static SINK: OnceLock<&'static dyn EventSink> = OnceLock::new();

/// Sets the sink of the process. Returns whether there was none.
pub fn set_sink(sink: &'static dyn EventSink) -> bool {
    SINK.set(sink).is_ok()
}

/// Whether an event has a receiver.
pub(crate) fn is_on() -> bool {
    #[cfg(feature = "tracing")]
    if subscriber::is_on() {
        return true;
    }
    SINK.get().is_some() || log::is_on()
}

fn to_sink(kind: EventKind, name: &'static str, fields: &[(&'static str, Field<'_>)]) {
    if let Some(sink) = SINK.get() {
        sink.event(&Event { kind, name, fields });
    }
}

/// A span of time of this thread; it ends when this is dropped, in reverse order of the beginning.
#[derive(Debug)]
#[must_use = "dropping it ends the span"]
pub struct Span(&'static str);

impl Span {
    /// Adds fields to the span, which must be the innermost one of its thread.
    pub fn add(&self, fields: &[(&'static str, Field<'_>)]) {
        to_sink(EventKind::Add, self.0, fields);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        to_sink(EventKind::End, self.0, &[]);
    }
}

/// Begins a span, for the sink.
pub fn span(name: &'static str, fields: &[(&'static str, Field<'_>)]) -> Span {
    to_sink(EventKind::Begin, name, fields);
    Span(name)
}

/// Reports something that has happened.
pub(crate) fn emit(name: &'static str, fields: &[(&'static str, Field<'_>)]) {
    log::write(name, fields);
    #[cfg(feature = "tracing")]
    subscriber::write(name, fields);
    to_sink(EventKind::Instant, name, fields);
}

/// Reports a phase of a loader, an instantiator or a compiler.
pub(crate) fn on_phase(phase: Phase, edge: Edge, subject: &[u8]) {
    if SINK.get().is_none() {
        return;
    }
    let subject = text(subject);
    let fields = match phase {
        Phase::Instantiate => [("symbol", Field::Text(&subject))],
        Phase::Compile => [("function", Field::Text(&subject))],
        _ => [("module", Field::Text(&subject))],
    };
    match edge {
        Edge::Begin => to_sink(EventKind::Begin, phase.name(), &fields),
        Edge::End => to_sink(EventKind::End, phase.name(), &[]),
    }
}

/// Reports an event of a loader.
pub(crate) fn on_load_event(event: &LoadEvent<'_>) {
    match event {
        LoadEvent::Loaded { module, bytes } => probes::load(module, *bytes),
        LoadEvent::Reloaded { module, bytes, symbols } => probes::reload(module, *bytes, *symbols),
        LoadEvent::Unloaded { module } => probes::unload(module),
        _ => {}
    }
    if !is_on() {
        return;
    }
    match event {
        LoadEvent::Loaded { module, bytes } => {
            let module = text(module);
            emit("load", &[("module", Field::Text(&module)), ("bytes", number(*bytes))]);
        }
        LoadEvent::Reloaded { module, bytes, symbols } => {
            let fields = [
                ("module", Field::Text(&text(module))),
                ("bytes", number(*bytes)),
                ("copied_symbols", Field::Number((*symbols).into())),
            ];
            emit("reload", &fields);
        }
        LoadEvent::Unloaded { module } => {
            emit("unload", &[("module", Field::Text(&text(module)))]);
        }
        LoadEvent::Refused { module, error } => on_refusal(&text(module), error),
        _ => {}
    }
}

/// Reports a module that is not loaded, replaced or unloaded, or whose file was not read.
pub(crate) fn on_refusal(module: &dyn Display, error: &dyn Display) {
    if is_on() {
        emit("refuse", &[("module", Field::Text(module)), ("error", Field::Text(error))]);
    }
}

/// Reports the size of the code of a module that has been linked and the number of its relocations.
pub(crate) fn on_link(name: &[u8], module: &Module<'_>) {
    if !is_on() {
        return;
    }
    let code: usize = module.code().map(|range| range.len()).sum();
    let tables = module.linked().reloc_tables().filter_map(Result::ok);
    let relocations: usize = tables.map(|table| table.iter().count()).sum();
    let fields = [
        ("module", Field::Text(&text(name))),
        ("code_bytes", number(code)),
        ("relocations", number(relocations)),
    ];
    emit("link", &fields);
    to_sink(EventKind::Add, Phase::Relocate.name(), &fields);
}

/// Reports an instance of a template.
pub(crate) fn on_instance(symbol: &[u8], code: &Range<usize>) {
    probes::instantiate(symbol, code.len());
    if is_on() {
        let symbol = text(symbol);
        let fields = [("symbol", Field::Text(&symbol)), ("code_bytes", number(code.len()))];
        emit("instance", &fields);
    }
}

/// A name, with U+FFFD in place of what is not UTF-8. Receivers escape what their form requires.
fn text(name: &[u8]) -> impl Display {
    fmt::from_fn(move |f| {
        name.utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            if chunk.invalid().is_empty() { Ok(()) } else { f.write_str("\u{fffd}") }
        })
    })
}

/// A number of bytes or things.
pub(crate) fn number(value: usize) -> Field<'static> {
    Field::Number(value as u64)
}
