//! Writing of modules: packed with the header as a trailer, or native with the header at the start.
//!
//! A [`Module`] describes the file and borrows all of its parts. [`Module::file_len`] returns the length of the file;
//! [`Module::write`] writes the file into a buffer of the caller. Nothing is allocated. A part that the layout cannot
//! express is an error that names it; nothing is dropped silently.
//!
//! Order of a packed file: stub, payloads, section table, symbols, strings, header. Order of a native file: header,
//! section table, payloads, symbols, strings. Payloads and tables are at multiples of 8 from the module's base. A
//! packed file is byte for byte that of the existing packed writer.

#[cfg(feature = "alloc")]
use crate::alloc_util::{self, AllocError};
use crate::format::error::ensure;
use crate::format::model::{
    Binding, Header, Reloc, SectionFlags, SectionKind, SymbolFlags, SymbolKind,
};
use crate::format::wire::name::is_name;
use crate::format::wire::{
    IMPORT_SECTION, Layout, MAX_ALIGNMENT, NATIVE_HEADER, NATIVE_SECTION, PACKED_HEADER,
    PACKED_SECTION, RELOC, SECTION_NAME, SYMBOL, note_name,
};
use crate::format::write::error::WriteError;

/// A description of a module for [`Module::write`].
///
/// ```
/// use smf_core::format::write::{Module, NewSection, NewSymbol, Place};
/// use smf_core::format::{Header, Layout, Smf};
///
/// // mov eax, 42; ret
/// let sections = [NewSection::code(&[0xb8, 42, 0, 0, 0, 0xc3])];
/// let answer = NewSymbol { name: b"answer", place: Place::Section(0), ..NewSymbol::default() };
/// let header = Header::default();
/// let (layout, symbols) = (Layout::Packed, &[answer][..]);
/// let file = Module { layout, header, stub: &[], sections: &sections, symbols }.to_vec()?;
/// assert_eq!(Smf::parse(&file)?.symbols().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// [`Layout::Packed`] or [`Layout::Native`].
    pub layout: Layout,
    /// The header. The writer fills in the stub length and the counts and offsets of tables. Without symbols,
    /// `symbol_count` is preserved (bytecode files store their number of functions in it).
    pub header: Header,
    /// The stub before the module; packed only.
    pub stub: &'a [u8],
    /// The sections, in order.
    pub sections: &'a [NewSection<'a>],
    /// The symbols, in order.
    pub symbols: &'a [NewSymbol<'a>],
}

/// A description of a section.
#[derive(Clone, Copy, Debug)]
pub struct NewSection<'a> {
    /// The kind of the contents.
    pub kind: SectionKind,
    /// The name, at most 16 bytes.
    pub name: &'a [u8],
    /// The permissions and the compression flag.
    pub flags: SectionFlags,
    /// The alignment: a power of two, 1 byte to 2 MiB.
    pub alignment: u64,
    /// The size in memory in bytes; `None` for the size in the file.
    pub virtual_size: Option<u64>,
    /// The contents.
    pub payload: Payload<'a>,
}

impl<'a> NewSection<'a> {
    /// A section `.text` of machine code, readable and executable, aligned to 16 bytes.
    pub fn code(bytes: &'a [u8]) -> Self {
        let flags = SectionFlags(SectionFlags::READ | SectionFlags::EXECUTE);
        Self { flags, ..Self::new(SectionKind::Code, b".text", Payload::Bytes(bytes)) }
    }

    /// A readable section, aligned to 16 bytes, with the same size in memory and in the file.
    pub fn new(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> Self {
        let flags = SectionFlags(SectionFlags::READ);
        Self { kind, name, flags, alignment: 16, virtual_size: None, payload }
    }
}

/// The payload of a section.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Plain bytes.
    Bytes(&'a [u8]),
    /// Relocations, encoded by the writer.
    Relocs(&'a [Reloc]),
    /// The names of the symbols. They are then not written after the symbol table.
    Strings,
    /// Space of this many bytes, which the writer leaves as it is. The caller fills it.
    Space(usize),
}

/// A description of a symbol.
#[derive(Clone, Copy, Debug)]
pub struct NewSymbol<'a> {
    /// The name, without a NUL; at most [`MAX_NAME`](crate::format::MAX_NAME) bytes.
    pub name: &'a [u8],
    /// The kind of entity that the symbol names.
    pub kind: SymbolKind,
    /// The visibility to other modules.
    pub binding: Binding,
    /// The location.
    pub place: Place,
    /// The visibility byte. A defined symbol that would decode as an import without it gets 1.
    pub visibility: u8,
    /// The layout phase and markers.
    pub flags: SymbolFlags,
    /// The offset from the start of the section, in bytes.
    pub value: u64,
    /// The length in bytes.
    pub size: u64,
    /// The type number.
    pub type_id: u32,
    /// The version.
    pub version: u32,
    /// The number of type parameters.
    pub template_params: u8,
    /// The offset of the template, as the writer defines it.
    pub template_offset: u64,
}

impl Default for NewSymbol<'_> {
    /// An exported function of length 0, in the default section.
    fn default() -> Self {
        NewSymbol {
            name: &[],
            kind: SymbolKind::Function,
            binding: Binding::Global,
            place: Place::Unstated,
            visibility: 1,
            flags: SymbolFlags(0),
            value: 0,
            size: 0,
            type_id: 0,
            version: 0,
            template_params: 0,
            template_offset: 0,
        }
    }
}

/// The location of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Defined in another module.
    Import,
    /// Defined in the section with this index.
    Section(u16),
    /// Defined in the default section of its kind: the code section or the data section.
    Unstated,
}

/// The type byte of a section; `None` if the layout does not define it. note.sdn, the symbol index and cached code are
/// identified by their names. The native layout has no notes; note.sdn has the type of template metadata there, the
/// others that of debugging information.
pub(crate) fn section_number(layout: Layout, kind: SectionKind, name: &[u8]) -> Option<u8> {
    let kind = match (layout, kind) {
        (Layout::Native, SectionKind::Note) if name == b"note.sdn" => SectionKind::TemplateMeta,
        (Layout::Native, SectionKind::Note) if note_name::is_own_note(name) => SectionKind::Debug,
        (_, kind) => kind,
    };
    layout.section_number(kind)
}

/// The default section kind for symbols of this kind.
pub(crate) fn default_section(kind: SymbolKind) -> Option<SectionKind> {
    match kind {
        SymbolKind::Function => Some(SectionKind::Code),
        SymbolKind::Data | SymbolKind::Constant => Some(SectionKind::Data),
        _ => None,
    }
}

/// The offsets of the parts of a file from the module's base, in bytes.
pub(crate) struct Plan {
    pub(crate) sections: u64,
    pub(crate) symbols: u64,
    pub(crate) strings: u64,
    pub(crate) header: u64,
    pub(crate) end: u64,
}

/// The size of a page of a file that is mapped.
const FILE_PAGE: u64 = 4096;

/// The size in bytes from which on adjacent read-only sections of one kind start on a page of the file, so that they can
/// be mapped. Their distances are those in the image of a prelinked module.
const MIN_MAPPED: u64 = 64 << 10;

/// Whether a section may be mapped from the file.
fn is_mappable(section: &NewSection<'_>) -> bool {
    let is_stored = section.flags.0 & SectionFlags::COMPRESSED == 0;
    is_stored && matches!(section.kind, SectionKind::Code | SectionKind::RoData)
}

const fn align(offset: u64) -> u64 {
    offset.next_multiple_of(8)
}

impl<'a> Module<'a> {
    /// The length of the file in bytes.
    ///
    /// # Errors
    /// A part that the layout cannot express.
    pub fn file_len(&self) -> Result<usize, WriteError> {
        Ok(self.checked_plan()?.1)
    }

    /// The offsets of the parts of the file, and the length of the file in bytes.
    fn checked_plan(&self) -> Result<(Plan, usize), WriteError> {
        self.check()?;
        let plan = self.plan();
        let len = usize::try_from(plan.end).ok().and_then(|end| end.checked_add(self.stub.len()));
        Ok((plan, len.ok_or(WriteError::TooLarge)?))
    }

    /// Writes the file into a new vector. A file of more sections than the default of
    /// [`Limits::sections`](crate::format::Limits::sections) is read with larger limits only.
    ///
    /// # Errors
    /// A part that the layout cannot express, or [`WriteError::OutOfMemory`].
    #[cfg(feature = "alloc")]
    pub fn to_vec(&self) -> Result<alloc::vec::Vec<u8>, WriteError> {
        let mut file = alloc_util::try_filled(self.file_len()?, &0)?;
        self.write(&mut file)?;
        Ok(file)
    }

    /// Writes the file to the start of `out` and returns its length. [`Payload::Space`] is filled with zeroes.
    ///
    /// # Errors
    /// A part that the layout cannot express, or a buffer that is too short. `out` is then unchanged.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, WriteError> {
        let ((plan, needed), given) = (self.checked_plan()?, out.len());
        let file = out.get_mut(..needed).ok_or(WriteError::Buffer { needed, given })?;
        file.fill(0);
        self.put(file, &plan);
        Ok(needed)
    }

    /// Writes the file around the sections of [`Payload::Space`] that `file` contains already, at the offsets of
    /// [`Self::payload_offset`]. The other bytes of `file` up to its length must be zero.
    ///
    /// # Errors
    /// A part that the layout cannot express, or [`WriteError::OutOfMemory`]. `file` is then unchanged.
    #[cfg(feature = "alloc")]
    pub fn write_around(&self, file: &mut alloc::vec::Vec<u8>) -> Result<(), WriteError> {
        let (plan, len) = self.checked_plan()?;
        file.try_reserve_exact(len.saturating_sub(file.len())).map_err(|_| AllocError)?;
        file.resize(len, 0);
        self.put(file, &plan);
        Ok(())
    }

    /// The offset of a section's payload from the start of the file; `None` without a section of that index.
    /// It depends on the payloads before it and, in the native layout, on the number of sections.
    pub fn payload_offset(&self, index: usize) -> Option<u64> {
        let (offset, _) = self.placed().nth(index)?;
        offset.checked_add(self.stub.len() as u64)
    }

    fn check(&self) -> Result<(), WriteError> {
        match self.layout {
            Layout::Packed => {}
            Layout::Native if self.stub.is_empty() => {}
            Layout::Native => return Err(WriteError::StubInNative),
            other => return Err(WriteError::Layout(other)),
        }
        let fits = self.sections.len() < usize::from(IMPORT_SECTION)
            && u32::try_from(self.symbols.len()).is_ok()
            && u32::try_from(self.stub.len()).is_ok();
        ensure(fits, WriteError::TooLarge)?;
        let entry = self.header.entry_point;
        let code = self.sections.iter().find(|section| section.kind == SectionKind::Code);
        let size = code.map(|code| code.virtual_size.unwrap_or_else(|| self.payload_len(code)));
        let is_inside = entry == 0 || size.is_some_and(|size| entry < size);
        ensure(is_inside, WriteError::EntryPoint(entry))?;
        for (index, section) in (0u32..).zip(self.sections) {
            self.check_section(index, section)?;
        }
        (0u32..).zip(self.symbols).try_for_each(|(index, symbol)| self.check_symbol(index, symbol))
    }

    fn check_section(&self, index: u32, section: &NewSection<'_>) -> Result<(), WriteError> {
        let kind = section.kind;
        self.section_number(section).ok_or(WriteError::SectionKind(index, kind))?;
        let is_name = section.name.len() <= SECTION_NAME && !section.name.contains(&0);
        ensure(is_name, WriteError::SectionName(index))?;
        let alignment = section.alignment;
        let is_alignment = alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT;
        ensure(is_alignment, WriteError::SectionAlignment(index, alignment))?;
        let fits = section.virtual_size.is_none_or(|memory| self.payload_len(section) <= memory);
        ensure(fits, WriteError::SectionSize(index))?;
        let Payload::Relocs(relocs) = section.payload else { return Ok(()) };
        for (number, reloc) in (0u32..).zip(relocs) {
            let kind = WriteError::RelocKind(index, number, reloc.kind);
            self.layout.reloc_number(reloc.kind).ok_or(kind)?;
            let is_there = u64::from(reloc.symbol) < self.symbols.len() as u64;
            ensure(is_there, WriteError::RelocSymbol(index, number, reloc.symbol))?;
        }
        Ok(())
    }

    fn check_symbol(&self, index: u32, symbol: &NewSymbol<'_>) -> Result<(), WriteError> {
        let kind = WriteError::SymbolKind(index, symbol.kind);
        self.layout.symbol_number(symbol.kind).ok_or(kind)?;
        ensure(is_name(symbol.name), WriteError::SymbolName(index))?;
        let sayable = match (symbol.place, self.layout) {
            (Place::Section(section), Layout::Native) => {
                self.default_section(symbol.kind) == Some(usize::from(section))
            }
            (Place::Section(section), _) => usize::from(section) < self.sections.len(),
            // Without a marker, a local symbol, or one with a value or a size, decodes as defined.
            (Place::Import, Layout::Native) => {
                symbol.binding != Binding::Local && symbol.value == 0 && symbol.size == 0
            }
            (Place::Import | Place::Unstated, _) => true,
        };
        ensure(sayable, WriteError::SymbolPlace(index))
    }

    /// The index of the default section for symbols of this kind.
    fn default_section(&self, kind: SymbolKind) -> Option<usize> {
        let wanted = default_section(kind)?;
        self.sections.iter().position(|section| section.kind == wanted)
    }

    pub(crate) fn section_number(&self, section: &NewSection<'_>) -> Option<u8> {
        section_number(self.layout, section.kind, section.name)
    }

    pub(crate) fn payload_len(&self, section: &NewSection<'_>) -> u64 {
        match section.payload {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Relocs(relocs) => relocs.len() as u64 * RELOC as u64,
            Payload::Strings => self.strings_len(),
            Payload::Space(len) => len as u64,
        }
    }

    /// The length of the string table: a NUL, then each name with its NUL.
    fn strings_len(&self) -> u64 {
        self.symbols.iter().fold(1, |len, symbol| len + symbol.name.len() as u64 + 1)
    }

    pub(crate) fn has_strings_section(&self) -> bool {
        self.sections.iter().any(|section| matches!(section.payload, Payload::Strings))
    }

    /// The sections with the offsets of their payloads.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (u64, &'a NewSection<'a>)> + '_ {
        let mut next = self.payloads_start();
        // The kind of the adjacent sections that this one belongs to, and whether their first starts on a page.
        let (mut run, mut is_mapped) = (None, false);
        self.sections.iter().enumerate().map(move |(index, section)| {
            let kind = Some(section.kind).filter(|_| is_mappable(section));
            let is_first = kind != run;
            if is_first {
                (run, is_mapped) = (kind, self.mappable_len(index) >= MIN_MAPPED);
            }
            let offset = match (is_mapped, is_first) {
                (true, true) => next.next_multiple_of(FILE_PAGE),
                (true, false) => next.next_multiple_of(section.alignment.max(8)),
                (false, _) => align(next),
            };
            next = offset + self.payload_len(section);
            (offset, section)
        })
    }

    /// The bytes of the section `index` and of those of the same kind behind it that may be mapped; 0 if it may not.
    fn mappable_len(&self, index: usize) -> u64 {
        let sections = self.sections.get(index..).unwrap_or_default();
        let Some(first) = sections.first() else { return 0 };
        let run = sections.iter().take_while(|s| s.kind == first.kind && is_mappable(s));
        run.fold(0, |len, section| len + self.payload_len(section))
    }

    fn payloads_start(&self) -> u64 {
        match self.layout {
            Layout::Native => (NATIVE_HEADER + NATIVE_SECTION * self.sections.len()) as u64,
            _ => 0,
        }
    }

    fn plan(&self) -> Plan {
        let end_of = |(offset, section)| offset + self.payload_len(section);
        let payloads = self.placed().last().map_or(self.payloads_start(), end_of);
        let (sections, symbols) = match self.layout {
            Layout::Native => (NATIVE_HEADER as u64, align(payloads)),
            _ => {
                let table = align(payloads);
                let symbols = table + (PACKED_SECTION * self.sections.len()) as u64;
                // Offset 0 means that there is no symbol table.
                (table, if self.symbols.is_empty() { symbols } else { symbols.max(8) })
            }
        };
        let strings = symbols + (SYMBOL * self.symbols.len()) as u64;
        let is_implied = !self.symbols.is_empty() && !self.has_strings_section();
        let end = strings + if is_implied { self.strings_len() } else { 0 };
        match self.layout {
            Layout::Native => Plan { sections, symbols, strings, header: 0, end },
            _ => Plan { sections, symbols, strings, header: end, end: end + PACKED_HEADER as u64 },
        }
    }
}

impl NewSymbol<'_> {
    /// Whether the symbol is visible to other modules.
    pub fn is_export(&self) -> bool {
        self.place != Place::Import && self.binding != Binding::Local
    }
}
