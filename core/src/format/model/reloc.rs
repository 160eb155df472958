//! Kinds of relocations.

named_enum! {
    /// The computation of a relocation. S is the address of the symbol, A the addend, P the address of the relocated
    /// bytes, G the address of a GOT slot that holds S.
    RelocKind {
        /// No operation.
        None = "none",
        /// S + A, 64 bits.
        Abs64 = "abs64",
        /// S + A - P, signed 32 bits.
        Pc32 = "pc32",
        /// S + A - P, signed 32 bits; through a veneer when S is out of reach.
        Plt32 = "plt32",
        /// G + A - P, signed 32 bits.
        GotPcRel = "gotpcrel",
        /// (S + A - P) >> 2, signed 26 bits, into the low bits of an instruction (native layout only).
        Arm64Branch26 = "arm64branch26",
        /// (page(S + A) - page(P)) >> 12, signed 21 bits.
        Arm64Page21 = "arm64page21",
        /// (S + A) & 0xfff, scaled by the access size.
        Arm64PageOff12 = "arm64pageoff12",
        /// As Arm64Page21, on the GOT slot.
        Arm64GotLoadPage21 = "arm64gotloadpage21",
        /// As Arm64PageOff12, on the GOT slot.
        Arm64GotLoadPageOff12 = "arm64gotloadpageoff12",
        /// S + A, unsigned 32 bits (packed layout only).
        Abs32 = "abs32",
        /// S + A as signed numbers, 32 bits (an extension of this project in the packed layout; ELF objects).
        Abs32S = "abs32s",
        /// S + A - P, 64 bits (ELF objects only).
        Pc64 = "pc64",
    } or Unknown
}

impl RelocKind {
    /// The number of bytes that the relocation writes.
    pub const fn width(self) -> u64 {
        match self {
            RelocKind::None | RelocKind::Unknown(_) => 0,
            RelocKind::Abs64 | RelocKind::Pc64 => 8,
            _ => 4,
        }
    }
}

/// One relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// The offset of the relocated bytes from the start of the target section.
    pub offset: u64,
    /// The number of the symbol S.
    pub symbol: u32,
    /// The computation.
    pub kind: RelocKind,
    /// The addend A, in bytes.
    pub addend: i64,
}
