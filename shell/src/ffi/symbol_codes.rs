//! The numbers of symbol kinds and bindings in `smf.h`.

use smf_core::format::{Binding, SymbolKind};

/// `SMF_SYMBOL_*`.
pub(super) fn symbol_kind_code(kind: SymbolKind) -> i32 {
    match kind {
        SymbolKind::Function => 1,
        SymbolKind::Data => 2,
        SymbolKind::Constant => 3,
        SymbolKind::Section => 4,
        // Without an address, or of an unknown kind.
        SymbolKind::None | SymbolKind::Type | SymbolKind::Trait | SymbolKind::Actor => 0,
    }
}

/// `SMF_BINDING_*`.
pub(super) fn binding_code(binding: Binding) -> i32 {
    match binding {
        Binding::Local => 0,
        Binding::Global => 1,
        Binding::Weak => 2,
    }
}
