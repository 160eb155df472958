//! Values of thread-local storage that relocations refer to.

use smf_core::format::ext::tls::Value;

use super::object::{GlobalId, SectionId};

/// A place in thread-local storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum TlsSymbol {
    /// An offset in an input section of this module.
    Section { id: SectionId, value: u64 },
    /// The start of the storage of this module: `_TLS_MODULE_BASE_`.
    Base,
    /// A symbol of a shared object.
    Import(GlobalId),
}

impl TlsSymbol {
    /// The imported symbol, if it is one.
    fn import(self) -> Option<GlobalId> {
        match self {
            TlsSymbol::Import(global) => Some(global),
            TlsSymbol::Section { .. } | TlsSymbol::Base => None,
        }
    }
}

/// Adjacent GOT slots of an access to thread-local storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum TlsSlots {
    /// The module number and the offset of a symbol.
    General,
    /// The module number and 0.
    Local,
    /// The function of the loader, the module number and the offset of a symbol.
    Descriptor,
    /// The offset of a symbol from the thread pointer.
    Offset,
}

impl TlsSlots {
    /// The number of slots.
    pub(super) fn words(self) -> u8 {
        match self {
            TlsSlots::General | TlsSlots::Local => 2,
            TlsSlots::Descriptor => 3,
            TlsSlots::Offset => 1,
        }
    }
}

/// A value of thread-local storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum TlsValue {
    /// The module number of this module's storage, or of that with an imported symbol.
    Module(Option<GlobalId>),
    /// The offset of a symbol in the storage of its module.
    BlockOffset(TlsSymbol),
    /// The offset of a symbol from the thread pointer.
    Offset(TlsSymbol),
    /// As above, for a sign-extended field of 32 bits.
    Offset32(TlsSymbol),
    /// The function that TLS descriptors call.
    Descriptor,
    /// The value in one of the slots of an access.
    Slot { kind: TlsSlots, symbol: TlsSymbol, addend: i64, word: u8 },
}

impl TlsValue {
    /// The module number of the storage that contains a symbol.
    pub(super) fn module(symbol: TlsSymbol) -> Self {
        TlsValue::Module(symbol.import())
    }

    /// The value in a slot; another value is that itself.
    fn in_slot(self) -> Self {
        let TlsValue::Slot { kind, symbol, word, .. } = self else { return self };
        match (kind, word) {
            (TlsSlots::Offset, _) => TlsValue::Offset(symbol),
            (TlsSlots::Descriptor, 0) => TlsValue::Descriptor,
            (TlsSlots::Descriptor, 1) | (TlsSlots::General | TlsSlots::Local, 0) => {
                TlsValue::module(symbol)
            }
            (TlsSlots::Descriptor | TlsSlots::General | TlsSlots::Local, _) => {
                TlsValue::BlockOffset(symbol)
            }
        }
    }

    /// The import that the loader resolves; `None` if the packer knows the value.
    pub(super) fn import(self) -> Option<(Value, Option<GlobalId>)> {
        match self.in_slot() {
            TlsValue::Module(global) => Some((Value::Module, global)),
            TlsValue::BlockOffset(symbol) => Some((Value::BlockOffset, Some(symbol.import()?))),
            TlsValue::Offset(symbol) => Some((Value::Offset, symbol.import())),
            TlsValue::Offset32(symbol) => Some((Value::Offset32, symbol.import())),
            TlsValue::Descriptor | TlsValue::Slot { .. } => Some((Value::Descriptor, None)),
        }
    }

    /// The symbol whose offset is part of the value, and a number to add to it.
    pub(super) fn symbol(self) -> Option<(TlsSymbol, i64)> {
        let more = if let TlsValue::Slot { addend, .. } = self { addend } else { 0 };
        match self.in_slot() {
            TlsValue::BlockOffset(symbol)
            | TlsValue::Offset(symbol)
            | TlsValue::Offset32(symbol) => Some((symbol, more)),
            TlsValue::Module(_) | TlsValue::Descriptor | TlsValue::Slot { .. } => None,
        }
    }
}
