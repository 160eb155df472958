//! Kinds, bindings and flags of symbols.

use core::fmt;

/// What a symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    /// Nothing (native layout only).
    None,
    /// Code.
    Function,
    /// Data that may change.
    Data,
    /// A type.
    Type,
    /// A trait.
    Trait,
    /// An actor.
    Actor,
    /// Data that does not change.
    Constant,
    /// A section itself (packed layout only).
    Section,
}

impl SymbolKind {
    /// Whether the symbol has an address when its module is loaded.
    pub const fn has_address(self) -> bool {
        matches!(
            self,
            SymbolKind::Function | SymbolKind::Data | SymbolKind::Constant | SymbolKind::Section
        )
    }
}

impl fmt::Display for SymbolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SymbolKind::None => "none",
            SymbolKind::Function => "function",
            SymbolKind::Data => "data",
            SymbolKind::Type => "type",
            SymbolKind::Trait => "trait",
            SymbolKind::Actor => "actor",
            SymbolKind::Constant => "constant",
            SymbolKind::Section => "section",
        })
    }
}

/// The visibility of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Its own module.
    Local,
    /// Every module.
    Global,
    /// Every module, unless another defines it strongly; as an import, it may stay missing.
    Weak,
}

impl Binding {
    pub(crate) const ALL: [Binding; 3] = [Binding::Local, Binding::Global, Binding::Weak];

    /// The number on the wire, the same in all layouts.
    pub const fn number(self) -> u8 {
        match self {
            Binding::Local => 0,
            Binding::Global => 1,
            Binding::Weak => 2,
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Binding::Local => "local",
            Binding::Global => "global",
            Binding::Weak => "weak",
        })
    }
}

/// The phase of the program that runs a function. Functions of one phase can be placed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// From process start to the main loop.
    Startup,
    /// From there to the first frame that is shown.
    FirstFrame,
    /// From then on.
    Steady,
    /// Hardly ever.
    Cold,
}

impl Phase {
    /// All of them, in the order of their numbers and of the time.
    pub const ALL: [Phase; 4] = [Phase::Startup, Phase::FirstFrame, Phase::Steady, Phase::Cold];

    /// The number on the wire, the same in all layouts.
    pub const fn number(self) -> u8 {
        match self {
            Phase::Startup => 0,
            Phase::FirstFrame => 1,
            Phase::Steady => 2,
            Phase::Cold => 3,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Startup => "startup",
            Phase::FirstFrame => "first_frame",
            Phase::Steady => "steady",
            Phase::Cold => "cold",
        }
    }

    /// The phase of this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name().as_bytes() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The flags of a symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolFlags(pub u8);

impl SymbolFlags {
    /// The bits of the layout phase.
    pub const PHASE: u8 = 0x03;
    /// The event loop stands here.
    pub const EVENT_LOOP_ANCHOR: u8 = 0x04;
    /// Must stay where it is.
    pub const PINNED: u8 = 0x08;
    /// A generic template.
    pub const GENERIC: u8 = 0x10;
    /// An instance of a template.
    pub const SPECIALISED: u8 = 0x20;

    /// When the symbol is needed. A writer that says nothing says startup.
    pub const fn phase(self) -> Phase {
        match self.0 & Self::PHASE {
            0 => Phase::Startup,
            1 => Phase::FirstFrame,
            2 => Phase::Steady,
            _ => Phase::Cold,
        }
    }

    /// The names of what is set; the phase `startup`, which is 0, is not among them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let phase = (self.0 & Self::PHASE != 0).then(|| self.phase().name());
        const NAMES: [(u8, &str); 4] = [
            (SymbolFlags::EVENT_LOOP_ANCHOR, "event_loop_anchor"),
            (SymbolFlags::PINNED, "pinned"),
            (SymbolFlags::GENERIC, "generic"),
            (SymbolFlags::SPECIALISED, "specialised"),
        ];
        let bits = NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0);
        phase.into_iter().chain(bits.map(|(_, name)| name))
    }
}
