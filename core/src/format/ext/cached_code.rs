//! `.smf.code`: a persistent cache of compiled template instances.
//!
//! The section saves machine code of instances for later processes. A record is valid only for the same bytes of the
//! template's body, the same instruction set, a processor with the features that the code uses, and the same
//! compiler. A reader skips a record that does not match and compiles the instance. Readers that do not support the
//! section ignore it.
//!
//! The code is trusted like the machine code in the other sections of the file. The parser trusts no byte of a record:
//! invalid bytes yield `None`, never a failure of the reader.
//!
//! This is an extension of this project, in a Note section called [`NAME`]. In the native layout, which has no notes,
//! the section has the number of Debug, and the name takes precedence. The section is never compressed. All numbers are
//! little-endian, and nothing is aligned:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | 0 | 4 bytes | `CODE` |
//! | 4 | u32 | version: 1. A reader of another version skips the section, and a writer preserves it |
//! | 8 | | records, back to back, to the end of the section |
//!
//! A record:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | 0 | u32 | length of the record in bytes, this field included |
//! | 4 | u64 | [`hash`] of the rest of the record, from offset 12 on; a mismatch means damage |
//! | 12 | u8 | instruction set, as in the header of a module |
//! | 13 | u8 | 0 |
//! | 14 | u16 | length of the symbol |
//! | 16 | u64 | [`hash`] of the template's body |
//! | 24 | u64 | features of the processor that the code uses |
//! | 32 | u32 | compiler and version |
//! | 36 | u16 | length of the template's name |
//! | 38 | u16 | length of the type arguments |
//! | 40 | u16 | length of the interface |
//! | 42 | u16 | length of the frames |
//! | 44 | u32 | length of the code |
//! | 48 | | symbol; name; type arguments as text, with `, ` between them; interface; code; frames |
//! | | | relocations, to the end of the record |
//!
//! The frames are, for each function of the code whose frames are known, u32 the offset of its first instruction, u32 the
//! length of its instructions, u16 a length, and the call frame instructions of DWARF of this length.
//!
//! The interface describes the calling convention, in an encoding defined by the compiler. A relocation is u32 offset,
//! i64 addend, u8 kind (a number of the native layout) and u8 target: 0 is the code itself, 1 a symbol, 2 an instance
//! of a template, 3 the trap hook. Three u16 lengths follow: of the target's name, of its type arguments, and of its
//! interface at the time of compilation. The three strings follow the lengths.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

#[cfg(feature = "alloc")]
use crate::alloc_util::try_with_capacity;
use crate::format::error::{ExtensionError, Result, ensure};
pub use crate::format::ext::hash_index::hash;
use crate::format::model::{Arch, RelocKind, SectionKind};
use crate::format::read::{Section, Smf};
use crate::format::wire::{Cursor, Layout, note_name, u32_at};

/// The name of the section.
pub const NAME: &[u8] = note_name::CACHED_CODE;

const MAGIC: &[u8; 4] = b"CODE";
const VERSION: u32 = 1;
/// Magic and version.
const HEADER: usize = 8;
/// Length and hash of a record.
const RECORD: usize = 12;
/// The other fixed fields of a record, and the fixed fields of a relocation.
#[cfg(feature = "alloc")]
const FIXED: usize = 36;
#[cfg(feature = "alloc")]
const FIXED_RELOC: usize = 20;
/// The fixed fields of the frames of a function.
const FIXED_FRAMES: usize = 10;

/// The target of a relocation of cached code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachedTarget<'d> {
    /// The code itself.
    Own,
    /// The symbol with this name.
    Symbol(&'d [u8]),
    /// An instance: the template's name, and its type arguments as text.
    Instance(&'d [u8], &'d [u8]),
    /// The hook that receives traps.
    TrapHook,
}

/// A relocation of cached code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedReloc<'d> {
    /// The offset of the relocated bytes from the start of the code.
    pub offset: u32,
    /// The kind, one that the native layout defines.
    pub kind: RelocKind,
    /// The target.
    pub target: CachedTarget<'d>,
    /// The interface of the target when the code was compiled; empty if unknown.
    pub interface: &'d [u8],
    /// The addend.
    pub addend: i64,
}

/// How to find the caller of a function of cached code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedFrames<'d> {
    /// The offset of the first instruction in the code.
    pub start: u32,
    /// Bytes of instructions.
    pub size: u32,
    /// The call frame instructions of DWARF.
    pub instructions: &'d [u8],
}

/// A compiled instance, as a view of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedCode<'d> {
    /// The instruction set.
    pub arch: Arch,
    /// The processor features that the code uses, as bits defined by its compiler.
    pub features: u64,
    /// The compiler and its version.
    pub compiler: u32,
    /// [`hash`] of the template's body.
    pub body_hash: u64,
    /// The symbol of the instance.
    pub symbol: &'d [u8],
    /// The name of the template.
    pub template: &'d [u8],
    /// The type arguments as text.
    pub arguments: &'d [u8],
    /// The calling convention, in an encoding defined by the compiler.
    pub interface: &'d [u8],
    /// The code.
    pub code: &'d [u8],
    frames: &'d [u8],
    relocations: &'d [u8],
}

/// The payload of the section of `smf`; `None` without the section.
pub fn payload_of<'d>(smf: &Smf<'d>) -> Option<&'d [u8]> {
    section_of(smf).map(|section| section.data)
}

fn section_of<'d>(smf: &Smf<'d>) -> Option<Section<'d>> {
    let is_it = |section: &Section<'_>| {
        section.name == NAME
            && !section.is_compressed()
            && matches!(section.kind, SectionKind::Note | SectionKind::Unknown(0))
    };
    smf.sections().iter().find(is_it)
}

/// Checks what [`Smf::verify`] checks. If the payload of `smf` is of this version, it must consist of whole records,
/// each with a matching hash, whole frames, and valid relocations inside of the code. Readers skip a record that does not.
///
/// # Errors
/// [`ExtensionError::CachedCodeHeader`], [`ExtensionError::CachedCodeRecord`].
pub(crate) fn check(smf: &Smf<'_>) -> Result<()> {
    let Some(section) = section_of(smf) else { return Ok(()) };
    let (payload, at) = (section.data, section.offset);
    if is_foreign(payload) {
        return Ok(());
    }
    ensure(payload.starts_with(MAGIC), ExtensionError::CachedCodeHeader { at })?;
    let (mut index, mut end) = (0, HEADER);
    let broken = |index, start: usize| ExtensionError::CachedCodeRecord {
        index,
        at: at.saturating_add(start as u64),
    };
    for (start, record) in records(payload) {
        let is_sound = CachedCode::read(record).is_some_and(|code| code.is_sound());
        ensure(is_sound, broken(index, start))?;
        (index, end) = (index + 1, start.saturating_add(record.len()));
    }
    Ok(ensure(end == payload.len(), broken(index, end))?)
}

/// Whether a payload is of another version. A writer must not change it then.
pub fn is_foreign(payload: &[u8]) -> bool {
    payload.starts_with(MAGIC) && u32_at(payload, 4) != Some(VERSION)
}

/// The records of a payload with their offsets in it. Stops before a record with an impossible length.
pub fn records(payload: &[u8]) -> impl Iterator<Item = (usize, &[u8])> + Clone {
    let known = payload.starts_with(MAGIC) && u32_at(payload, 4) == Some(VERSION);
    let mut at = if known { HEADER } else { payload.len() };
    core::iter::from_fn(move || {
        let start = at;
        let len = usize::try_from(u32_at(payload, start)?).ok().filter(|len| *len >= RECORD)?;
        at = start.checked_add(len)?;
        Some((start, payload.get(start..at)?))
    })
}

/// Encodes a payload of these records.
///
/// # Errors
/// [`FormatError::OutOfMemory`](crate::format::FormatError::OutOfMemory) only.
#[cfg(feature = "alloc")]
pub fn encode<'r>(records: impl Iterator<Item = &'r [u8]> + Clone) -> Result<Vec<u8>> {
    let len = records.clone().map(<[u8]>::len).fold(HEADER, usize::saturating_add);
    let mut payload = try_with_capacity(len)?;
    payload.extend_from_slice(MAGIC);
    payload.extend(VERSION.to_le_bytes());
    records.for_each(|record| payload.extend_from_slice(record));
    Ok(payload)
}

impl<'d> CachedCode<'d> {
    /// Decodes a record; `None` if it is damaged.
    pub fn read(record: &'d [u8]) -> Option<Self> {
        let mut head = Cursor::new(record);
        let len = head.u32()?;
        let stated = head.u64()?;
        if u64::from(len) != record.len() as u64 || hash(head.rest()) != stated {
            return None;
        }
        let arch = Arch(head.u8()?);
        head.u8()?;
        let symbol = head.u16()?;
        let (body_hash, features) = (head.u64()?, head.u64()?);
        let compiler = head.u32()?;
        let [template, arguments, interface] = [head.u16()?, head.u16()?, head.u16()?];
        let frames = usize::from(head.u16()?);
        let code = usize::try_from(head.u32()?).ok()?;
        let mut text = |len: u16| head.take(usize::from(len));
        let (symbol, template) = (text(symbol)?, text(template)?);
        let (arguments, interface) = (text(arguments)?, text(interface)?);
        let (code, frames) = (head.take(code)?, head.take(frames)?);
        Some(Self {
            arch,
            features,
            compiler,
            body_hash,
            symbol,
            template,
            arguments,
            interface,
            code,
            frames,
            relocations: head.rest(),
        })
    }

    /// Whether the frames end with the last one, and every relocation is valid and inside of the code.
    fn is_sound(&self) -> bool {
        let frames = self.frames().fold(0, |len, of| len + FIXED_FRAMES + of.instructions.len());
        let is_inside = |reloc: CachedReloc<'_>| {
            u64::from(reloc.offset) + reloc.kind.width() <= self.code.len() as u64
        };
        frames == self.frames.len() && self.relocations().all(|reloc| reloc.is_some_and(is_inside))
    }

    /// The relocations. If the bytes of a relocation are invalid, the last item is `None`.
    pub fn relocations(&self) -> impl Iterator<Item = Option<CachedReloc<'d>>> + use<'d> {
        let mut rest = Cursor::new(self.relocations);
        core::iter::from_fn(move || {
            if rest.rest().is_empty() {
                return None;
            }
            let read = read_reloc(&mut rest);
            if read.is_none() {
                rest = Cursor::new(&[]);
            }
            Some(read)
        })
    }

    /// The frames of the functions whose frames are known. Ends at invalid bytes.
    pub fn frames(&self) -> impl Iterator<Item = CachedFrames<'d>> + use<'d> {
        let mut rest = Cursor::new(self.frames);
        core::iter::from_fn(move || {
            let (start, size, len) = (rest.u32()?, rest.u32()?, rest.u16()?);
            let instructions = rest.take(usize::from(len))?;
            Some(CachedFrames { start, size, instructions })
        })
    }

    /// The record with `relocations` and `frames` in place of its own. Returns `None` if a length does not fit its field, if a
    /// relocation kind has no number, or without memory.
    #[cfg(feature = "alloc")]
    pub fn encode(
        &self,
        relocations: &[CachedReloc<'_>],
        frames: &[CachedFrames<'_>],
    ) -> Option<Vec<u8>> {
        let texts = [self.symbol, self.template, self.arguments, self.interface, self.code];
        let frames_len = frames.iter().fold(0usize, |len, of| {
            len.saturating_add(of.instructions.len()).saturating_add(FIXED_FRAMES)
        });
        let fixed = frames_len.saturating_add(RECORD + FIXED);
        let len = texts.iter().fold(fixed, |len, text| len.saturating_add(text.len()));
        let len = relocations.iter().fold(len, |len, reloc| len.saturating_add(reloc.len()));
        let mut record = try_with_capacity(len).ok()?;
        record.extend([0; RECORD]);
        let small = |bytes: &[u8]| u16::try_from(bytes.len()).ok().map(u16::to_le_bytes);
        record.extend([self.arch.0, 0]);
        record.extend(small(self.symbol)?);
        record.extend(self.body_hash.to_le_bytes());
        record.extend(self.features.to_le_bytes());
        record.extend(self.compiler.to_le_bytes());
        for text in [self.template, self.arguments, self.interface] {
            record.extend(small(text)?);
        }
        record.extend(u16::try_from(frames_len).ok()?.to_le_bytes());
        record.extend(u32::try_from(self.code.len()).ok()?.to_le_bytes());
        texts.iter().for_each(|text| record.extend_from_slice(text));
        for CachedFrames { start, size, instructions } in frames {
            record.extend(start.to_le_bytes());
            record.extend(size.to_le_bytes());
            record.extend(small(instructions)?);
            record.extend_from_slice(instructions);
        }
        for reloc in relocations {
            let (target, name, arguments) = reloc.target.parts();
            record.extend(reloc.offset.to_le_bytes());
            record.extend(reloc.addend.to_le_bytes());
            record.extend([Layout::Native.reloc_number(reloc.kind)?, target]);
            let texts = [name, arguments, reloc.interface];
            for text in texts {
                record.extend(small(text)?);
            }
            texts.iter().for_each(|text| record.extend_from_slice(text));
        }
        let len = u32::try_from(record.len()).ok()?;
        let sum = hash(record.get(RECORD..)?);
        record.get_mut(..4)?.copy_from_slice(&len.to_le_bytes());
        record.get_mut(4..RECORD)?.copy_from_slice(&sum.to_le_bytes());
        Some(record)
    }

    /// Creates a record without relocations, for [`CachedCode::encode`].
    pub fn new(arch: Arch, symbol: &'d [u8], body_hash: u64, code: &'d [u8]) -> Self {
        Self {
            arch,
            features: 0,
            compiler: 0,
            body_hash,
            symbol,
            template: &[],
            arguments: &[],
            interface: &[],
            code,
            frames: &[],
            relocations: &[],
        }
    }
}

#[cfg(feature = "alloc")]
impl CachedReloc<'_> {
    /// The length in a record, in bytes.
    fn len(&self) -> usize {
        let (_, name, arguments) = self.target.parts();
        let texts = [name, arguments, self.interface];
        texts.iter().fold(FIXED_RELOC, |len, text| len.saturating_add(text.len()))
    }
}

#[cfg(feature = "alloc")]
impl<'d> CachedTarget<'d> {
    /// The number, the name and the type arguments.
    fn parts(self) -> (u8, &'d [u8], &'d [u8]) {
        match self {
            Self::Own => (0, &[], &[]),
            Self::Symbol(name) => (1, name, &[]),
            Self::Instance(template, arguments) => (2, template, arguments),
            Self::TrapHook => (3, &[], &[]),
        }
    }
}

fn read_reloc<'d>(from: &mut Cursor<'d>) -> Option<CachedReloc<'d>> {
    let (offset, addend) = (from.u32()?, from.u64()?.cast_signed());
    let kind = Layout::Native.reloc_kind(from.u8()?);
    if matches!(kind, RelocKind::Unknown(_)) {
        return None;
    }
    let target = from.u8()?;
    let lengths = [from.u16()?, from.u16()?, from.u16()?].map(usize::from);
    let [name, arguments, interface] = lengths;
    let (name, arguments) = (from.take(name)?, from.take(arguments)?);
    let interface = from.take(interface)?;
    let target = match target {
        0 => CachedTarget::Own,
        1 => CachedTarget::Symbol(name),
        2 => CachedTarget::Instance(name, arguments),
        3 => CachedTarget::TrapHook,
        _ => return None,
    };
    Some(CachedReloc { offset, kind, target, interface, addend })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::error::FormatError;
    use crate::testing::{cut, flipped};

    const FRAMES: [CachedFrames<'static>; 2] = [
        CachedFrames { start: 0, size: 3, instructions: &[0x41, 0x0e, 0x10] },
        CachedFrames { start: 16, size: 1, instructions: &[] },
    ];

    fn relocs() -> [CachedReloc<'static>; 4] {
        let reloc = |offset, target, interface| CachedReloc {
            offset,
            kind: RelocKind::Plt32,
            target,
            interface,
            addend: -4,
        };
        [
            reloc(1, CachedTarget::Own, b""),
            reloc(2, CachedTarget::Symbol(b"puts"), b""),
            reloc(3, CachedTarget::Instance(b"max", b"i64, f64"), b"SMTB\x01"),
            reloc(4, CachedTarget::TrapHook, b""),
        ]
    }

    fn record() -> Vec<u8> {
        let code = CachedCode::new(Arch::X86_64, b"fn$f$i64", 7, b"machine code");
        let code = CachedCode { template: b"f", arguments: b"i64", interface: b"SMTB", ..code };
        CachedCode { features: 5, compiler: 9, ..code }.encode(&relocs(), &FRAMES).unwrap()
    }

    #[test]
    fn writing_round_trips() {
        let record = record();
        let read = CachedCode::read(&record).unwrap();
        assert_eq!((read.arch, read.features, read.compiler), (Arch::X86_64, 5, 9));
        assert_eq!((read.body_hash, read.symbol, read.template), (7, &b"fn$f$i64"[..], &b"f"[..]));
        assert_eq!((read.arguments, read.interface), (&b"i64"[..], &b"SMTB"[..]));
        assert_eq!(read.code, b"machine code");
        assert!(read.relocations().eq(relocs().map(Some)));
        assert_eq!(read.encode(&relocs(), &FRAMES).unwrap(), record);
        assert!(read.frames().eq(FRAMES));
        // The record is allocated once, at its final length.
        assert_eq!(record.capacity(), record.len());
    }

    #[test]
    fn records_are_contiguous() {
        let (record, other) = (record(), CachedCode::new(Arch::AARCH64, b"g", 1, b"x"));
        let other = other.encode(&[], &[]).unwrap();
        let payload = encode([&record[..], &other].into_iter()).unwrap();
        let found: Vec<_> = records(&payload).collect();
        assert_eq!(found, [(HEADER, &record[..]), (HEADER + record.len(), &other[..])]);
        let mut newer = payload.clone();
        newer[4] = 2;
        assert!(is_foreign(&newer) && !is_foreign(&payload) && !is_foreign(b""));
        assert_eq!(records(&newer).count(), 0);
        for len in 0..payload.len() {
            let found: Vec<_> = records(&payload[..len]).collect();
            let whole = usize::from(len >= HEADER + record.len());
            assert_eq!(found.len(), whole, "{len}");
        }
    }

    #[test]
    fn damaged_payload_is_refused() {
        let record = record();
        for short in cut(&record) {
            assert_eq!(CachedCode::read(short), None, "{}", short.len());
        }
        for (bit, damaged) in flipped(&record) {
            assert_eq!(CachedCode::read(&damaged), None, "{bit}");
        }
    }

    /// Flips every bit of the section except those of the version. Before `verify` checked records, it accepted all of
    /// these files.
    #[test]
    fn verify_refuses_every_damaged_record() {
        use crate::format::write::module::{Module, NewSection, Payload};
        let (record, other) = (record(), CachedCode::new(Arch::AARCH64, b"g", 1, b"x"));
        let other = other.encode(&[], &[]).unwrap();
        let payload = encode([&record[..], &other].into_iter()).unwrap();
        let verify = |payload: &[u8]| {
            let code = NewSection::code(&[0xc3]);
            let note = NewSection::new(SectionKind::Note, NAME, Payload::Bytes(payload));
            let sections = [code, note];
            let (layout, header) = (Layout::Packed, Default::default());
            let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
            let file = module.to_vec().unwrap();
            let smf = Smf::parse(&file).unwrap();
            let at = smf.sections().named(NAME).unwrap().offset;
            (smf.verify(), at)
        };
        assert_eq!(verify(&payload).0, Ok(()));
        for (bit, damaged) in flipped(&payload) {
            let (verified, at) = verify(&damaged);
            let second = HEADER + record.len();
            let expected = match bit / 8 {
                0..4 => Err(FormatError::Extension(ExtensionError::CachedCodeHeader { at })),
                4..8 => Ok(()),
                byte if byte < second => {
                    Err(FormatError::Extension(ExtensionError::CachedCodeRecord {
                        index: 0,
                        at: at + HEADER as u64,
                    }))
                }
                _ => Err(FormatError::Extension(ExtensionError::CachedCodeRecord {
                    index: 1,
                    at: at + second as u64,
                })),
            };
            assert_eq!(verified, expected, "bit {bit}");
        }
        for len in HEADER..payload.len() {
            let is_whole = len == HEADER || len == HEADER + record.len();
            assert_eq!(verify(&payload[..len]).0.is_ok(), is_whole, "{len} bytes");
        }
        // The hash matches. The record ends with a relocation of 20 bytes, behind 3 others and the frames.
        let last = record.len() - FIXED_RELOC;
        let first = CachedCode::read(&record).unwrap().relocations.len();
        let frames = record.len() - first - FIXED_FRAMES;
        for (at, byte) in
            [(last, 9), (last + 3, 0xff), (last + 12, 200), (last + 13, 4), (frames + 8, 1)]
        {
            let mut record = record.clone();
            record[at] = byte;
            let sum = hash(&record[RECORD..]);
            record[4..RECORD].copy_from_slice(&sum.to_le_bytes());
            assert!(CachedCode::read(&record).is_some());
            let payload = encode([&record[..]].into_iter()).unwrap();
            assert!(
                matches!(
                    verify(&payload).0,
                    Err(FormatError::Extension(ExtensionError::CachedCodeRecord { index: 0, .. }))
                ),
                "{at}"
            );
        }
    }

    #[test]
    fn malformed_relocation_ends_the_list() {
        let code = CachedCode::new(Arch::X86_64, b"f", 0, b"");
        let parts = code.encode(&relocs(), &FRAMES).unwrap();
        let all = CachedCode::read(&parts).unwrap().relocations;
        for len in 0..all.len() {
            let cut = CachedCode { relocations: &all[..len], ..code };
            let found: Vec<_> = cut.relocations().collect();
            assert!(found.len() <= 4 && found.iter().rev().skip(1).all(Option::is_some));
        }
        // The kind and the target of the first relocation.
        for (at, number) in [(12, 200), (13, 4)] {
            let mut unknown = all.to_vec();
            unknown[at] = number;
            let unknown = CachedCode { relocations: &unknown, ..code };
            assert!(unknown.relocations().eq([None]), "{at}");
        }
    }

    #[test]
    fn inexpressible_code_is_not_written() {
        let long = [b'x'; 0x1_0000];
        assert_eq!(CachedCode::new(Arch::X86_64, &long, 0, b"").encode(&[], &[]), None);
        let code = CachedCode::new(Arch::X86_64, b"f", 0, b"");
        let [reloc, ..] = relocs();
        let odd = CachedReloc { kind: RelocKind::Abs32S, ..reloc };
        assert_eq!(code.encode(&[odd], &[]), None);
    }
}
