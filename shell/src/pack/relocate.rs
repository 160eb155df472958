//! Relocates fields of the module's sections, and collects the relocations for the loader.
//!
//! Distances within a module section are final. Distances between sections are written for the prelinked
//! image and kept as relocations in a table of their own, which a loader that maps the image may skip. So are aligned
//! 64-bit addresses in the module, to which such a loader adds the address of the image. The
//! native layout has no prelink note, so that its loaders apply every relocation.

use hashbrown::HashMap;

use smf_core::format::ext::tls::TlsImport;
use smf_core::format::{Layout, Reloc, RelocKind, SectionKind};
use smf_core::link::aarch64;

use super::aarch64::out_of_range;
use super::eh_frame::Piece;
use super::error::{PackError, Result};
use super::init_sections::Fragment;
use super::layout::{Address, ModuleLayout, SLOT};
use super::object::{GlobalId, InputReloc, SectionId, SymbolId};
use super::output::Segment;
use super::pack_reloc::{ABS64, PC32, PackReloc, RelocForm, RelocTarget, Rewrite, Stub};
use super::resolve::{Program, Resolution};

/// The contents and relocations of a module section, or of a part of one.
pub(super) struct SectionData<'b> {
    /// The offset of the bytes in the section.
    pub(super) start: u64,
    pub(super) bytes: &'b mut [u8],
    pub(super) relocs: OutputRelocs,
}

/// The relocations for the loader of a module section, or of a part of one.
#[derive(Default)]
pub(super) struct OutputRelocs {
    /// Those that the prelinked image satisfies already, if they are kept.
    pub(super) prelinked: Vec<Reloc>,
    /// Those that it satisfies at address 0, if they are kept: the loader adds its address.
    pub(super) relative: Vec<Reloc>,
    /// The offsets of the words to which the loader adds the address of the image.
    pub(super) relative_places: Vec<u64>,
    /// Those for the loader to apply.
    pub(super) pending: Vec<Reloc>,
}

impl OutputRelocs {
    /// Appends those of the next part.
    pub(super) fn append(&mut self, part: OutputRelocs) {
        self.prelinked.extend(part.prelinked);
        self.relative.extend(part.relative);
        self.relative_places.extend(part.relative_places);
        self.pending.extend(part.pending);
    }

    /// Sorts them by place.
    pub(super) fn sort(&mut self) {
        for relocs in [&mut self.prelinked, &mut self.relative, &mut self.pending] {
            relocs.sort_by_key(|reloc| reloc.offset);
        }
        self.relative_places.sort_unstable();
    }
}

/// The symbol numbers of exported data, by module section and offset. Relocations refer to such data by symbol
/// because a new version may place it elsewhere.
pub(super) type ExportedData = HashMap<(usize, u64), u32>;

/// The symbol numbers of exported weak and common symbols. Relocations refer to them by symbol, because a definition of another module
/// takes precedence once modules are merged.
#[derive(Default)]
pub(super) struct WeakSymbols {
    pub(super) numbers: HashMap<GlobalId, u32>,
    /// By definition, of which slots hold the address; without those that have a strong symbol too.
    pub(super) definitions: HashMap<Resolution, u32>,
}

/// Why a value cannot be written.
pub(super) enum RelocError {
    Range,
    Unsupported(&'static str),
}

impl RelocError {
    /// The error for a relocation of a section.
    pub(super) fn at(
        self,
        program: &Program<'_>,
        section: SectionId,
        input: InputReloc,
    ) -> PackError {
        let (place, kind) = (program.place(section), program.reloc_type(input));
        let (symbol, offset) = (program.symbol_title(input.symbol), input.offset);
        let why = match self {
            RelocError::Unsupported(why) => Some(why),
            RelocError::Range => out_of_range(input.kind),
        };
        match why {
            Some(why) => PackError::RelocKind { place, kind, symbol, why },
            None => PackError::RelocRange { place, kind, symbol, offset },
        }
    }
}

pub(super) type RelocResult<T = ()> = Result<T, RelocError>;

pub(super) const NO_TARGET: RelocError = RelocError::Unsupported("has no target in the module");

/// An offset in a module section.
#[derive(Clone, Copy)]
pub(super) struct OutputOffset {
    pub(super) output: usize,
    pub(super) offset: u64,
}

impl OutputOffset {
    /// `None` for an address outside the module sections.
    pub(super) fn of(address: Option<Address>) -> Option<OutputOffset> {
        let Address::Section { output, offset } = address? else { return None };
        Some(OutputOffset { output, offset: u64::try_from(offset).ok()? })
    }

    pub(super) fn plus(self, offset: u64) -> Option<OutputOffset> {
        Some(OutputOffset { offset: self.offset.checked_add(offset)?, ..self })
    }
}

/// The address S + A that a field refers to. Loaders get the two separately.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) addend: i64,
}

/// What relocation depends on.
#[derive(Clone, Copy)]
pub(super) struct RelocContext<'e, 'd> {
    pub(super) addresses: &'e ModuleLayout<'e, 'd>,
    /// The number of the first imported symbol; the section symbols come first.
    pub(super) first_import: u32,
    /// The number of the symbol at the `__dso_handle` that the packer defines.
    pub(super) dso_handle: Option<u32>,
    pub(super) exported_data: &'e ExportedData,
    /// None unless relocations that the image satisfies are kept.
    pub(super) weak: &'e WeakSymbols,
    /// Whether relocations that the image satisfies are kept.
    pub(super) keeps_resolved: bool,
}

/// Sections while they are relocated.
pub(super) struct Relocator<'e, 'd, 'b> {
    pub(super) addresses: &'e ModuleLayout<'e, 'd>,
    context: RelocContext<'e, 'd>,
    /// Of each module section, in order.
    pub(super) contents: Vec<SectionData<'b>>,
    /// The module section of unwinding tables.
    eh_frame: Option<usize>,
    /// Fields that hold a 32-bit address.
    pub(super) low_addresses: u64,
    /// A field that only the image makes valid has no relocation.
    pub(super) needs_prelink: bool,
    refers_to: RefersTo,
}

/// What the current relocation refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RefersTo {
    /// A section of the module.
    Section,
    /// A global symbol.
    Symbol,
    /// The weak symbol with this number.
    Weak(u32),
    /// The `__dso_handle` of the packer. Relocations name its symbol, because it is that of another module once modules
    /// are merged.
    DsoHandle,
}

impl RefersTo {
    /// A definition, by a global symbol or not.
    fn new(resolution: Resolution, is_global: bool) -> Self {
        match resolution {
            Resolution::DsoHandle => RefersTo::DsoHandle,
            _ if is_global => RefersTo::Symbol,
            _ => RefersTo::Section,
        }
    }
}

impl<'e, 'd, 'b> Relocator<'e, 'd, 'b> {
    pub(super) fn new(context: RelocContext<'e, 'd>, contents: Vec<SectionData<'b>>) -> Self {
        let addresses = context.addresses;
        Relocator {
            addresses,
            context,
            contents,
            eh_frame: addresses.output_of(Segment::EhFrame),
            low_addresses: 0,
            needs_prelink: false,
            refers_to: RefersTo::Symbol,
        }
    }
}

impl Relocator<'_, '_, '_> {
    /// The bytes of a module section from `at` on.
    fn bytes(&mut self, at: OutputOffset) -> Option<&mut [u8]> {
        let data = self.contents.get_mut(at.output)?;
        let start = usize::try_from(at.offset.checked_sub(data.start)?).ok()?;
        data.bytes.get_mut(start..)
    }

    /// Overwrites the bytes at `at`; `None` when they exceed the section's contents.
    pub(super) fn put(&mut self, at: OutputOffset, bytes: &[u8]) -> Option<()> {
        self.bytes(at)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// The instruction at `at`.
    pub(super) fn word(&mut self, at: OutputOffset) -> Option<u32> {
        self.bytes(at)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Copies a record of the unwinding tables, with its length and the distance of its common record.
    pub(super) fn copy_record(&mut self, piece: &Piece) -> Option<()> {
        let addresses = self.addresses;
        let bytes = addresses.program.section(piece.section)?.bytes;
        let bytes = bytes.get(usize::try_from(piece.start).ok()?..)?;
        let at = OutputOffset { output: self.eh_frame?, offset: piece.offset };
        self.put(at, bytes.get(..usize::try_from(piece.size).ok()?)?)?;
        let length = u32::try_from(piece.padded().checked_sub(4)?).ok()?;
        self.put(at, &length.to_le_bytes())?;
        let Some(common) = piece.common else { return Some(()) };
        let distance = u32::try_from((piece.offset + 4).checked_sub(common)?).ok()?;
        self.put(at.plus(4)?, &distance.to_le_bytes())
    }

    /// Writes what a relocation asks for into the field at `at`.
    pub(super) fn relocate(&mut self, reloc: &PackReloc, at: OutputOffset) -> RelocResult {
        let addresses = self.addresses;
        let of_table = |address: Option<Address>| Some((address?, reloc.addend));
        let found = match reloc.to {
            RelocTarget::Symbol(resolution) => {
                addresses.referent(reloc.input.symbol, resolution, reloc.addend)
            }
            RelocTarget::GotSlot(number) => of_table(addresses.slot(number)),
            RelocTarget::Stub(number) => of_table(addresses.stub(number)),
            RelocTarget::LandingStub(number) => of_table(addresses.landing_stub(number)),
            RelocTarget::Thunk(number) => of_table(addresses.thunk(number)),
            RelocTarget::Refused => return Ok(()),
        };
        let (address, addend) = found.ok_or(NO_TARGET)?;
        if let Some(rewrite) = reloc.rewrite {
            self.rewrite(at, rewrite).ok_or(NO_TARGET)?;
        }
        let resolution = match reloc.to {
            RelocTarget::Symbol(resolution) => Some(resolution),
            _ => None,
        };
        self.refer_to(reloc.input.symbol, resolution);
        self.write_value(at, reloc.form, Target { address, addend })
    }

    /// Notes what the next value refers to: a symbol of the input and its definition, if it is not replaced by a table
    /// entry.
    fn refer_to(&mut self, symbol: SymbolId, resolution: Option<Resolution>) {
        let depends_on_name =
            !self.context.exported_data.is_empty() || !self.context.weak.numbers.is_empty();
        let symbol = depends_on_name.then(|| self.addresses.program.symbol(symbol)).flatten();
        let global = symbol.and_then(|symbol| symbol.global);
        let weak = global.and_then(|global| self.context.weak.numbers.get(&global));
        self.refers_to = match (resolution, weak) {
            (Some(_), Some(&number)) => RefersTo::Weak(number),
            (Some(resolution), None) => RefersTo::new(resolution, global.is_some()),
            (None, _) if global.is_some() => RefersTo::Symbol,
            (None, _) => RefersTo::Section,
        };
    }

    /// Writes the code and the table entries that the packer adds.
    pub(super) fn add_own(&mut self) -> RelocResult {
        self.make_stubs()?;
        self.make_ifuncs()?;
        self.make_thunks()?;
        self.make_registrars()?;
        self.make_fragments()?;
        self.make_slots()
    }

    /// Changes the instruction whose operand is at `at`.
    fn rewrite(&mut self, at: OutputOffset, rewrite: Rewrite) -> Option<()> {
        let before = |count| Some(OutputOffset { offset: at.offset.checked_sub(count)?, ..at });
        match rewrite {
            Rewrite::MovToLea => self.put(before(2)?, &[0x8d]),
            Rewrite::LeaToMov => self.put(before(2)?, &[0x8b]),
            Rewrite::Call => self.put(before(2)?, &[0x67, 0xe8]),
            Rewrite::Jump => {
                self.put(before(1)?, &[0xe9])?;
                self.put(at.plus(4)?, &[0x90])
            }
            Rewrite::Thunk { nops, is_call } => {
                self.put(before(1)?, &[if is_call { 0xe8 } else { 0xe9 }])?;
                self.put(at.plus(4)?, [0x90; 16].get(..usize::from(nops))?)
            }
            Rewrite::LoadToAdd => {
                let word = aarch64::load_to_add(self.word(at)?)?;
                self.put(at, &word.to_le_bytes())
            }
            Rewrite::AddToLoad => {
                let word = aarch64::add_to_load(self.word(at)?)?;
                self.put(at, &word.to_le_bytes())
            }
        }
    }

    fn make_stubs(&mut self) -> RelocResult {
        let addresses = self.addresses;
        let isa = addresses.program.machine().isa();
        for (number, slot) in addresses.plan.stubs.iter().enumerate() {
            self.make_stub(isa.stub, addresses.stub(number), addresses.slot(*slot))?;
        }
        for (number, slot) in addresses.plan.landing_stubs.iter().enumerate() {
            let stub = addresses.landing_stub(number);
            self.make_stub(isa.landing_stub, stub, addresses.slot(*slot))?;
        }
        Ok(())
    }

    /// Writes a stub that jumps to the address in a slot.
    fn make_stub(&mut self, stub: Stub, at: Option<Address>, slot: Option<Address>) -> RelocResult {
        let at = OutputOffset::of(at).ok_or(NO_TARGET)?;
        self.put(at, stub.bytes).ok_or(NO_TARGET)?;
        self.write_operands(at, stub.operands, slot)
    }

    /// Writes operands that refer to an address into code of the packer at `at`.
    fn write_operands(
        &mut self,
        at: OutputOffset,
        operands: &[(u64, RelocForm, i64)],
        address: Option<Address>,
    ) -> RelocResult {
        let address = address.ok_or(NO_TARGET)?;
        for &(offset, form, addend) in operands {
            let operand = at.plus(offset).ok_or(NO_TARGET)?;
            self.write_value(operand, form, Target { address, addend })?;
        }
        Ok(())
    }

    /// Writes the stubs of indirect functions, and the addresses of their resolvers into the slots.
    fn make_ifuncs(&mut self) -> RelocResult {
        self.refers_to = RefersTo::Section;
        let addresses = self.addresses;
        let landing_stub = addresses.program.machine().isa().landing_stub;
        for (&(id, value), &number) in addresses.ifuncs {
            let (stub, slot) = addresses.ifunc(number).ok_or(NO_TARGET)?;
            self.make_stub(landing_stub, Some(stub), Some(slot))?;
            let slot = OutputOffset::of(Some(slot)).ok_or(NO_TARGET)?;
            let resolver = addresses.locate(Resolution::Section { id, value }).ok_or(NO_TARGET)?;
            self.write_value(slot, ABS64, Target { address: resolver, addend: 0 })?;
        }
        Ok(())
    }

    fn make_thunks(&mut self) -> RelocResult {
        let addresses = self.addresses;
        for (number, thunk) in addresses.plan.thunks.iter().enumerate() {
            let start = OutputOffset::of(addresses.thunk(number)).ok_or(NO_TARGET)?;
            self.put(start, &thunk.bytes).ok_or(NO_TARGET)?;
            let section = addresses.section(thunk.section);
            let back = i64::try_from(thunk.back).map_err(|_| NO_TARGET)?;
            let back = thunk.back_operand.map(|operand| (operand, section, back));
            let slot = (thunk.slot_operand, addresses.slot(thunk.slot), 0);
            for (operand, address, offset) in [slot].into_iter().chain(back) {
                let at = start.plus(operand).ok_or(NO_TARGET)?;
                let address = address.ok_or(NO_TARGET)?;
                self.write_value(at, PC32, Target { address, addend: offset - 4 })?;
            }
        }
        Ok(())
    }

    /// Writes the instructions that frame the fragments of `.init` and `.fini`, and the entries of the functions.
    fn make_fragments(&mut self) -> RelocResult {
        self.refers_to = RefersTo::Section;
        let addresses = self.addresses;
        for fragment in Fragment::ALL {
            let (code, array) = fragment.segments();
            let Some((start, size)) = addresses.segment(code) else { continue };
            self.frame_fragments(fragment, (start, size)).ok_or(NO_TARGET)?;
            let function = fragment.definition(addresses.program);
            let address = function.map_or(Some(start), |function| addresses.locate(function));
            let (entry, _) = addresses.segment(array).ok_or(NO_TARGET)?;
            let entry = OutputOffset::of(Some(entry)).ok_or(NO_TARGET)?;
            let to = Target { address: address.ok_or(NO_TARGET)?, addend: 0 };
            self.write_value(entry, ABS64, to)?;
        }
        Ok(())
    }

    /// Writes the instructions before, between and behind the fragments in `size` bytes at `start`.
    fn frame_fragments(&mut self, fragment: Fragment, (start, size): (Address, u64)) -> Option<()> {
        let addresses = self.addresses;
        let frame = addresses.fragment_frame(fragment);
        let (head, tail) = frame.map_or((&[][..], &[][..]), |frame| (frame.start, frame.end));
        let start = OutputOffset::of(Some(start))?;
        self.put(start, head)?;
        let mut end = start.plus(head.len() as u64)?;
        let tail_at = start.plus(size.checked_sub(tail.len() as u64)?)?;
        let is_part = |id: &&SectionId| {
            let section = addresses.program.section(**id);
            section.is_some_and(|section| Segment::of(section) == fragment.segments().0)
        };
        for id in addresses.order.iter().filter(is_part) {
            let at = OutputOffset::of(addresses.section(*id))?;
            self.fill(end, at)?;
            end = at.plus(addresses.program.section(*id)?.size)?;
        }
        self.fill(end, tail_at)?;
        self.put(tail_at, tail)
    }

    /// Fills a gap between fragments.
    fn fill(&mut self, from: OutputOffset, to: OutputOffset) -> Option<()> {
        let nop = self.addresses.program.machine().isa().fragments.nop;
        let len = usize::try_from(to.offset.checked_sub(from.offset)?).ok()?;
        self.put(from, &nop.iter().copied().cycle().take(len).collect::<Vec<u8>>())
    }

    fn make_registrars(&mut self) -> RelocResult {
        let addresses = self.addresses;
        for &registrar in &addresses.plan.registrars {
            let target = addresses.program.target_of(registrar).ok_or(NO_TARGET)?;
            let slot = addresses.plan.slots.get_index_of(&(target, 0)).ok_or(NO_TARGET)?;
            let handle = addresses.program.dso_handle();
            let at = addresses.locate(Resolution::Registrar(registrar));
            let at = OutputOffset::of(at).ok_or(NO_TARGET)?;
            let code = addresses.registrar_code(registrar).ok_or(NO_TARGET)?;
            self.put(at, code.bytes).ok_or(NO_TARGET)?;
            self.refers_to = RefersTo::new(handle, false);
            self.write_operands(at, code.handle, addresses.locate(handle))?;
            self.refers_to = RefersTo::Section;
            self.write_operands(at, code.slot, addresses.slot(slot))?;
        }
        Ok(())
    }

    fn make_slots(&mut self) -> RelocResult {
        let addresses = self.addresses;
        let form = RelocForm::Absolute { bytes: SLOT, signed: false };
        for (number, &(resolution, addend)) in addresses.plan.slots.iter().enumerate() {
            let slot = OutputOffset::of(addresses.slot(number)).ok_or(NO_TARGET)?;
            let address = addresses.locate(resolution).ok_or(NO_TARGET)?;
            let weak = self.context.weak.definitions.get(&resolution);
            let of_symbol = RefersTo::new(resolution, true);
            self.refers_to = weak.map_or(of_symbol, |&number| RefersTo::Weak(number));
            self.write_value(slot, form, Target { address, addend })?;
        }
        Ok(())
    }

    /// Writes a value, or emits a relocation for the loader.
    fn write_value(&mut self, at: OutputOffset, form: RelocForm, to: Target) -> RelocResult {
        let addend = i128::from(to.addend);
        match (form, to.address) {
            (RelocForm::Absolute { bytes, signed }, Address::Absolute(value)) => {
                self.number(at, i128::from(value) + addend, bytes, Some(signed))
            }
            (RelocForm::Absolute { bytes, signed }, _) => self.address(at, bytes, signed, to),
            (RelocForm::PcRelative { bytes }, _) => self.distance(at, bytes, to),
            (RelocForm::Instruction(operand), _) => self.operand(at, operand, to),
            (RelocForm::GotLoad15, _) => self.got_load(at, to),
            (RelocForm::GotRelative { bytes }, _) => self.got_distance(at, bytes, to),
        }
    }

    /// Writes the distance from the start of the GOT. One to another section is valid in the prelinked image only.
    fn got_distance(&mut self, at: OutputOffset, bytes: u64, to: Target) -> RelocResult {
        let (address, table) = (to.address, self.addresses.slot(0));
        let (
            Address::Section { output, offset },
            Some(Address::Section { output: table, offset: start }),
        ) = (address, table)
        else {
            return Err(RelocError::Unsupported(
                "is a distance from the GOT to another module, which a module cannot express; compile with the small code model",
            ));
        };
        let mut value = i128::from(offset) + i128::from(to.addend) - i128::from(start);
        if output != table || self.refers_to == RefersTo::DsoHandle {
            let (from, target) = self.image_distance(table, output, offset)?;
            value += i128::from(target) - i128::from(from);
        }
        self.number(at, value, bytes, None)
    }

    /// The offsets in the image of two module sections, of which the second contains the target of a distance that no
    /// relocation can express: the module is valid in its prelinked image only.
    fn image_distance(&mut self, from: usize, to: usize, offset: i64) -> RelocResult<(u64, u64)> {
        if self.exported_data(to, offset).is_some() {
            return Err(RelocError::Unsupported(
                "is a distance of 64 bits to data that a reloadable module may leave in its old version; compile with the small code model",
            ));
        }
        let offsets = self.image_offsets(from, to).ok_or(RelocError::Unsupported(
            "is a distance to another section in a field that is not of 32 bits, which the native layout cannot express",
        ))?;
        self.needs_prelink = true;
        Ok(offsets)
    }

    /// Writes a number if it fits; `signed` is `None` for distances.
    fn number(
        &mut self,
        at: OutputOffset,
        value: i128,
        bytes: u64,
        signed: Option<bool>,
    ) -> RelocResult {
        let bits = bytes * 8;
        let (negative, positive) = (-(1i128 << (bits - 1)), 1i128 << bits);
        let fits = match (bytes, signed) {
            (4, Some(false)) => (0..positive).contains(&value),
            (4, Some(true)) | (_, None) => (negative..-negative).contains(&value),
            // As in assemblers: the value has to fit as signed or as unsigned number.
            _ => (negative..positive).contains(&value),
        };
        let all = value.to_le_bytes();
        let low = all.get(..bytes as usize).filter(|_| fits).ok_or(RelocError::Range)?;
        self.put(at, low).ok_or(RelocError::Range)
    }

    /// Whether a reference is to the image, or at most 32 KiB before its start: `table - 8(,%rax,8)`.
    fn is_near_image(&self, to: Target) -> bool {
        let Address::Section { output, offset } = to.address else { return false };
        let start = self.addresses.outputs.get(output).and_then(|output| output.image);
        let last = self.addresses.outputs.last();
        let end = last.and_then(|last| Some(last.image?.saturating_add(last.size)));
        let at = i128::from(offset) + i128::from(to.addend) + i128::from(start.unwrap_or(0));
        (-0x8000..=i128::from(end.unwrap_or(0))).contains(&at)
    }

    fn address(&mut self, at: OutputOffset, bytes: u64, signed: bool, to: Target) -> RelocResult {
        let is_packed = self.addresses.layout == Layout::Packed;
        let why = match (bytes, signed) {
            (8, _) => return self.wide_address(at, to),
            (4, true) if matches!(to.address, Address::Tls { .. }) => {
                if is_packed {
                    return self.emit_reloc(at, RelocKind::Abs32, to);
                }
                "is a 32-bit offset from the thread pointer, which the native layout cannot express; compile with -fPIC"
            }
            (4, false) if is_packed && self.is_thread_value(to) => {
                return self.emit_reloc(at, RelocKind::Abs32, to);
            }
            // Modules with 32-bit addresses are placed below 2 GiB, where sign extension changes nothing, and above the
            // lowest 64 KiB, so that a reference may lie before the start of the image.
            (4, _) if is_packed => {
                self.low_addresses += 1;
                let is_plain = !signed || self.is_near_image(to);
                let kind = if is_plain { RelocKind::Abs32 } else { RelocKind::Abs32S };
                return self.emit_reloc(at, kind, to);
            }
            (4, _) => {
                "needs a 32-bit address, which the native layout cannot express; compile with -fPIC"
            }
            _ => "needs an address in fewer than 32 bits, which a module cannot express",
        };
        Err(RelocError::Unsupported(why))
    }

    /// Writes an address of 64 bits for an image at address 0 if the loader can add the address of the image to it.
    fn wide_address(&mut self, at: OutputOffset, to: Target) -> RelocResult {
        let Some(value) = self.image_address(at, to) else {
            return self.emit_reloc(at, RelocKind::Abs64, to);
        };
        let reloc = self.resolved_reloc(at, RelocKind::Abs64, to)?;
        self.put(at, &value.to_le_bytes()).ok_or(RelocError::Range)?;
        let relocs = &mut self.contents.get_mut(at.output).ok_or(NO_TARGET)?.relocs;
        relocs.relative.extend(reloc);
        relocs.relative_places.push(at.offset);
        Ok(())
    }

    /// The address of a target in an image at address 0; `None` if no relative relocation can stand for it at `at`.
    fn image_address(&self, at: OutputOffset, to: Target) -> Option<i64> {
        let Address::Section { output, offset } = to.address else { return None };
        let (place, target) = self.image_offsets(at.output, output)?;
        let kind = self.addresses.outputs.get(at.output)?.kind;
        let is_data = matches!(kind, SectionKind::RoData | SectionKind::Data);
        let is_aligned = place.checked_add(at.offset)?.is_multiple_of(SLOT);
        let value = i64::try_from(target).ok()?.checked_add(offset)?.checked_add(to.addend);
        value.filter(|_| is_data && is_aligned)
    }

    /// Whether the target is an import that denotes thread-local storage, as input modules have them.
    fn is_thread_value(&self, to: Target) -> bool {
        let Address::Import(id) = to.address else { return false };
        let global = self.addresses.program.global(id);
        global.is_some_and(|global| TlsImport::parse(global.name).is_some())
    }

    fn distance(&mut self, at: OutputOffset, bytes: u64, to: Target) -> RelocResult {
        let unsupported = |why| Err(RelocError::Unsupported(why));
        let (output, offset) = match to.address {
            Address::Section { output, offset } => (output, offset),
            Address::Import(_) if bytes == 4 => return self.emit_reloc(at, RelocKind::Pc32, to),
            Address::Import(_) => {
                return unsupported(
                    "is a distance to another module in a field that is not of 32 bits, which a module cannot express",
                );
            }
            Address::Absolute(_) | Address::Tls { .. } => return Err(ABSOLUTE_DISTANCE),
        };
        let value = i128::from(offset) + i128::from(to.addend) - i128::from(at.offset);
        if Some(at.output) == self.eh_frame
            && let Some((from, target)) = self.image_offsets(at.output, output)
        {
            // Without a relocation: only a reader that uses the image registers the tables.
            return self.number(at, value + i128::from(target) - i128::from(from), bytes, None);
        }
        let is_handle = self.refers_to == RefersTo::DsoHandle;
        let may_move = self.exported_data(output, offset).is_some() || self.refers_to_weak();
        if output == at.output && !(may_move && bytes == 4) && !is_handle {
            return self.number(at, value, bytes, None);
        }
        if bytes == 8 {
            let (from, target) = self.image_distance(at.output, output, offset)?;
            return self.number(at, value + i128::from(target) - i128::from(from), bytes, None);
        }
        if bytes != 4 {
            return unsupported(
                "is a distance to another section in a field that is not of 32 bits, which a module cannot express",
            );
        }
        let Some((from, target)) = self.image_offsets(at.output, output) else {
            return self.emit_reloc(at, RelocKind::Pc32, to);
        };
        self.number(at, value + i128::from(target) - i128::from(from), bytes, None)?;
        self.add_prelinked(at, RelocKind::Pc32, to)
    }

    /// Adds a relocation that the prelinked image satisfies.
    pub(super) fn add_prelinked(
        &mut self,
        at: OutputOffset,
        kind: RelocKind,
        to: Target,
    ) -> RelocResult {
        let reloc = self.resolved_reloc(at, kind, to)?;
        self.contents.get_mut(at.output).ok_or(NO_TARGET)?.relocs.prelinked.extend(reloc);
        Ok(())
    }

    /// A relocation that the image satisfies; `None` if such relocations are not kept.
    fn resolved_reloc(
        &mut self,
        at: OutputOffset,
        kind: RelocKind,
        to: Target,
    ) -> RelocResult<Option<Reloc>> {
        if self.context.keeps_resolved {
            return self.reloc(at, kind, to).map(Some);
        }
        self.needs_prelink = true;
        Ok(None)
    }

    /// The offsets of two module sections in the image, if the layout has one.
    pub(super) fn image_offsets(&self, one: usize, other: usize) -> Option<(u64, u64)> {
        let begin = |output: usize| self.addresses.outputs.get(output)?.image;
        begin(one).zip(begin(other))
    }

    /// Emits a relocation for the loader.
    pub(super) fn emit_reloc(
        &mut self,
        at: OutputOffset,
        kind: RelocKind,
        to: Target,
    ) -> RelocResult {
        let reloc = self.reloc(at, kind, to)?;
        self.contents.get_mut(at.output).ok_or(NO_TARGET)?.relocs.pending.push(reloc);
        Ok(())
    }

    /// A relocation against a section symbol, an exported datum or an import.
    fn reloc(&self, at: OutputOffset, kind: RelocKind, to: Target) -> RelocResult<Reloc> {
        let (symbol, addend) = match to.address {
            Address::Section { .. } if self.refers_to == RefersTo::DsoHandle => {
                (self.context.dso_handle, Some(to.addend))
            }
            Address::Section { .. } if let RefersTo::Weak(number) = self.refers_to => {
                (Some(number), Some(to.addend))
            }
            Address::Section { output, offset } => match self.exported_data(output, offset) {
                Some(symbol) => (Some(symbol), Some(to.addend)),
                None if output >= self.addresses.symbol_outputs => (None, None),
                None => (u32::try_from(output).ok(), to.addend.checked_add(offset)),
            },
            Address::Import(global) => {
                let number = self.addresses.plan.imports.get_index_of(&global);
                let number = number.and_then(|number| u32::try_from(number).ok());
                (number.and_then(|n| n.checked_add(self.context.first_import)), Some(to.addend))
            }
            Address::Tls { import, offset } => {
                let number = u32::try_from(self.addresses.plan.imports.len() + import).ok();
                let number =
                    number.and_then(|number| number.checked_add(self.context.first_import));
                (number, to.addend.checked_add(offset))
            }
            Address::Absolute(_) => (None, None),
        };
        let (Some(symbol), Some(addend)) = (symbol, addend) else { return Err(RelocError::Range) };
        Ok(Reloc { offset: at.offset, symbol, kind, addend })
    }

    /// Whether the current relocation is kept by the name of its symbol.
    pub(super) fn refers_to_weak(&self) -> bool {
        matches!(self.refers_to, RefersTo::Weak(_))
    }

    fn exported_data(&self, output: usize, offset: i64) -> Option<u32> {
        let place = (output, u64::try_from(offset).ok()?);
        let is_global = matches!(self.refers_to, RefersTo::Symbol | RefersTo::Weak(_));
        self.context.exported_data.get(&place).copied().filter(|_| is_global)
    }
}

/// Relocatable modules have no fixed distance to an absolute address.
pub(super) const ABSOLUTE_DISTANCE: RelocError = RelocError::Unsupported(
    "is a distance to an absolute address, which a relocatable module cannot express",
);
