//! Kinds, bindings and flags of symbols.

named_enum! {
    /// The kind of entity that a symbol names.
    SymbolKind {
        /// Nothing (native layout only).
        None = "none",
        /// Code.
        Function = "function",
        /// Writable data.
        Data = "data",
        /// A type.
        Type = "type",
        /// A trait.
        Trait = "trait",
        /// An actor.
        Actor = "actor",
        /// Read-only data.
        Constant = "constant",
        /// A section (packed layout only).
        Section = "section",
    }
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

named_enum! {
    /// The visibility of a symbol.
    Binding {
        /// Visible in its own module.
        Local = "local",
        /// Visible in every module.
        Global = "global",
        /// Visible in every module, unless another module has a strong definition. A weak import may stay unresolved.
        Weak = "weak",
    }
}

impl Binding {
    /// The number on the wire, the same in all layouts.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

named_enum! {
    /// The phase of the program that runs a function, with its number on the wire. Functions of one phase can be placed
    /// together.
    #[derive(PartialOrd, Ord)]
    Phase {
        /// From process start to the main loop.
        Startup = "startup",
        /// From the main loop to the first frame that is shown.
        FirstFrame = "first_frame",
        /// After the first frame.
        Steady = "steady",
        /// Rarely or never.
        Cold = "cold",
    }
}

impl Phase {
    /// The phase with this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name().as_bytes() == name)
    }
}

/// The flags of a symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolFlags(pub u8);

impl SymbolFlags {
    /// The bits of the layout phase.
    pub const PHASE: u8 = 0x03;
    /// The symbol marks the event loop.
    pub const EVENT_LOOP_ANCHOR: u8 = 0x04;
    /// The symbol must not be moved.
    pub const PINNED: u8 = 0x08;
    /// A generic template.
    pub const GENERIC: u8 = 0x10;
    /// An instance of a template.
    pub const SPECIALISED: u8 = 0x20;
    /// A common symbol: zeroes, which relocations of the module refer to by this symbol. When modules are linked into one,
    /// any other definition that is not weak takes precedence, and of common ones the largest. Only the packed layout has
    /// this extension of this project.
    pub const COMMON: u8 = 0x40;

    /// Whether `bit` is set.
    pub const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// The phase in which the symbol is needed. A writer that states no phase yields `startup`.
    pub const fn phase(self) -> Phase {
        match self.0 & Self::PHASE {
            0 => Phase::Startup,
            1 => Phase::FirstFrame,
            2 => Phase::Steady,
            _ => Phase::Cold,
        }
    }

    /// The names of the set flags and of the phase, except `startup`, which is 0.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let phase = (self.0 & Self::PHASE != 0).then(|| self.phase().name());
        const NAMES: [(u8, &str); 5] = [
            (SymbolFlags::EVENT_LOOP_ANCHOR, "event_loop_anchor"),
            (SymbolFlags::PINNED, "pinned"),
            (SymbolFlags::GENERIC, "generic"),
            (SymbolFlags::SPECIALISED, "specialised"),
            (SymbolFlags::COMMON, "common"),
        ];
        let bits = NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0);
        phase.into_iter().chain(bits.map(|(_, name)| name))
    }
}
