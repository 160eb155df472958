//! Writes the contents of the module's sections: copies and relocates the input sections, on as many threads as pay.
//!
//! Input sections are divided into runs of neighbours. A thread takes a run and writes its part of the output. The runs
//! depend on the input alone, and what they yield is put in order, so that the number of threads does not matter.

use smf_core::format::SectionKind;

use super::error::{PackError, PackWarning, Refusals, Result};
use super::init_sections::{InitSection, reversed};
use super::layout::ModuleLayout;
use super::object::{InputReloc, SectionId, SectionMap};
use super::output::Segment;
use super::pack_reloc::SectionRelocs;
use super::parallel;
use super::relocate::{
    NO_TARGET, OutputOffset, OutputRelocs, RelocContext, Relocator, SectionData,
};

/// The work of a run: bytes to copy, and [`RELOC_WORK`] for each relocation.
const RUN: u64 = 1 << 19;
/// How many bytes can be copied in the time of a relocation.
const RELOC_WORK: u64 = 64;

/// Copies and relocates the contents of all module sections. `buffers` are their bytes, all zero.
///
/// # Errors
/// A relocation that a module cannot express, or whose value does not fit.
pub(super) fn write<'e, 'd, 'b>(
    context: RelocContext<'e, 'd>,
    buffers: Vec<&'b mut [u8]>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Relocator<'e, 'd, 'b>> {
    let mut buffers = buffers;
    let items = items(context.addresses)?;
    let runs = divide(&items, context.addresses);
    let parts = buffers.iter_mut().map(|bytes| &mut **bytes).collect();
    let written = parallel::map(jobs(&runs, parts), |job| job.run(context));
    let written = written.into_iter().collect::<Option<Vec<_>>>().ok_or(PackError::TooLarge)?;
    let data = |bytes| SectionData { start: 0, bytes, relocs: OutputRelocs::default() };
    let mut relocator = Relocator::new(context, buffers.into_iter().map(data).collect());
    let (mut low, mut refused) = (Vec::new(), Vec::new());
    for run in written {
        relocator.low_addresses += run.low_addresses;
        relocator.needs_prelink |= run.needs_prelink;
        low.extend(run.found.low);
        refused.extend(run.found.refused);
        for (data, part) in relocator.contents.iter_mut().zip(run.relocs) {
            data.relocs.append(part);
        }
    }
    low.sort_unstable();
    let program = context.addresses.program;
    warnings.extend(low.into_iter().map(|id| PackWarning::LowAddress { place: program.place(id) }));
    refused.sort_by_key(|(place, _)| *place);
    let mut refusals = Refusals::default();
    refused.into_iter().for_each(|(_, error)| refusals.add(error));
    refusals.finish()?;
    // Stubs and slots are placed and within reach of each other if the module is not too large.
    relocator.add_own().map_err(|_| PackError::TooLarge)?;
    for data in &mut relocator.contents {
        data.relocs.sort();
    }
    Ok(relocator)
}

/// A part of a module section.
struct Item<'p> {
    at: OutputOffset,
    size: u64,
    source: Source<'p>,
}

/// What a part of a module section holds.
enum Source<'p> {
    Section {
        id: SectionId,
        relocs: Option<&'p SectionRelocs>,
        is_reversed: bool,
    },
    /// The unwinding tables.
    Frames,
}

impl Item<'_> {
    fn work(&self, addresses: &ModuleLayout<'_, '_>) -> u64 {
        let relocs = match self.source {
            Source::Section { relocs, .. } => relocs.map_or(0, |relocs| relocs.count),
            Source::Frames => addresses.plan.frames.iter().map(|relocs| relocs.count).sum(),
        };
        self.size.saturating_add((relocs as u64).saturating_mul(RELOC_WORK))
    }
}

/// What is to be copied, in the order of the output.
fn items<'p>(addresses: &'p ModuleLayout<'_, '_>) -> Result<Vec<Item<'p>>> {
    let mut relocs = SectionMap::new();
    for found in &addresses.plan.sections {
        relocs.insert(found.id, found);
    }
    let mut items = Vec::with_capacity(addresses.order.len().saturating_add(1));
    for &id in &addresses.order {
        let Some(section) = addresses.program.section(id) else { continue };
        if section.is_zeroes() {
            continue;
        }
        let at = OutputOffset::of(addresses.section(id)).ok_or(PackError::TooLarge)?;
        let part = InitSection::array_part(section);
        let is_reversed = part.is_some_and(|part| part.is_reversed);
        let source = Source::Section { id, relocs: relocs.get(id).copied(), is_reversed };
        let size = addresses.merged.size(id, section);
        items.push(Item { at, size, source });
    }
    if let Some(output) = addresses.output_of(Segment::EhFrame) {
        let at = OutputOffset { output, offset: 0 };
        items.push(Item { at, size: addresses.eh_frame.size, source: Source::Frames });
    }
    items.sort_by_key(|item| (item.at.output, item.at.offset, item.size));
    Ok(items)
}

/// Divides the items into runs of about the same work.
fn divide<'i, 'p>(items: &'i [Item<'p>], addresses: &ModuleLayout<'_, '_>) -> Vec<&'i [Item<'p>]> {
    let mut runs = Vec::new();
    let (mut rest, mut work, mut len) = (items, 0u64, 0);
    for item in items {
        (work, len) = (work.saturating_add(item.work(addresses)), len + 1);
        if work >= RUN
            && let Some((run, others)) = rest.split_at_checked(len)
        {
            runs.push(run);
            (rest, work, len) = (others, 0, 0);
        }
    }
    runs.extend((!rest.is_empty() || runs.is_empty()).then_some(rest));
    runs
}

/// A run and its part of the output: from its first item, or the start, to the first item of the next run.
struct Job<'i, 'p, 'b> {
    items: &'i [Item<'p>],
    contents: Vec<SectionData<'b>>,
}

fn jobs<'i, 'p, 'b>(runs: &[&'i [Item<'p>]], buffers: Vec<&'b mut [u8]>) -> Vec<Job<'i, 'p, 'b>> {
    let mut rest: Vec<_> = buffers.into_iter().map(|bytes| (0, bytes)).collect();
    let starts = runs.iter().skip(1).map(|run| run.first().map(|item| item.at));
    let job = |(items, next): (&&'i [Item<'p>], Option<OutputOffset>)| {
        let part = |(output, rest): (usize, &mut (u64, &'b mut [u8]))| {
            let (start, bytes) = (rest.0, std::mem::take(&mut rest.1));
            let len = match next {
                Some(next) if output > next.output => 0,
                Some(next) if output == next.output => {
                    usize::try_from(next.offset.saturating_sub(start)).unwrap_or(usize::MAX)
                }
                _ => bytes.len(),
            };
            let (bytes, others) = bytes.split_at_mut(len.min(bytes.len()));
            *rest = (start.saturating_add(bytes.len() as u64), others);
            SectionData { start, bytes, relocs: OutputRelocs::default() }
        };
        Job { items, contents: rest.iter_mut().enumerate().map(part).collect() }
    };
    runs.iter().zip(starts.chain([None])).map(job).collect()
}

/// What a run yields besides the bytes.
struct Written {
    /// The relocations for the loader of each module section.
    relocs: Vec<OutputRelocs>,
    low_addresses: u64,
    needs_prelink: bool,
    found: Findings,
}

/// What relocations of a run are reported.
#[derive(Default)]
struct Findings {
    /// Sections that hold 32-bit addresses.
    low: Vec<SectionId>,
    refused: Vec<(InputOrder, PackError)>,
}

/// The order of errors: unwinding tables last, then by section and relocation.
type InputOrder = (bool, SectionId, usize);

impl Job<'_, '_, '_> {
    /// Writes the part of the output; `None` if a section is placed outside the output.
    fn run(self, context: RelocContext<'_, '_>) -> Option<Written> {
        let addresses = context.addresses;
        let mut found = Findings::default();
        let mut relocator = Relocator::new(context, self.contents);
        let trap = addresses.program.machine().isa().trap;
        for (number, data) in relocator.contents.iter_mut().enumerate() {
            if addresses.outputs.get(number)?.kind == SectionKind::Code {
                fill_gaps(data, self.items.iter().filter(|item| item.at.output == number), trap)?;
            }
        }
        for item in self.items {
            item.copy(&mut relocator)?;
            item.relocate(&mut relocator, &mut found);
        }
        let relocs = relocator.contents.into_iter().map(|data| data.relocs);
        Some(Written {
            relocs: relocs.collect(),
            low_addresses: relocator.low_addresses,
            needs_prelink: relocator.needs_prelink,
            found,
        })
    }
}

/// Fills the bytes between items.
fn fill_gaps<'i, 'p: 'i>(
    data: &mut SectionData<'_>,
    items: impl Iterator<Item = &'i Item<'p>>,
    fill: u8,
) -> Option<()> {
    let within = |offset: u64| usize::try_from(offset.checked_sub(data.start)?).ok();
    let mut filled = 0;
    for item in items {
        let start = within(item.at.offset)?;
        data.bytes.get_mut(filled..start)?.fill(fill);
        filled = within(item.at.offset.checked_add(item.size)?)?;
    }
    data.bytes.get_mut(filled..)?.fill(fill);
    Some(())
}

impl Item<'_> {
    fn copy(&self, relocator: &mut Relocator<'_, '_, '_>) -> Option<()> {
        let addresses = relocator.addresses;
        let Source::Section { id, is_reversed, .. } = self.source else {
            return addresses
                .eh_frame
                .pieces
                .iter()
                .try_for_each(|piece| relocator.copy_record(piece));
        };
        let section = addresses.program.section(id)?;
        let bytes = section.bytes;
        if let Some(mut kept) = addresses.merged.kept(id, section) {
            return kept.try_for_each(|piece| relocator.put(self.at.plus(piece.at)?, piece.bytes));
        }
        if !is_reversed {
            return relocator.put(self.at, bytes);
        }
        // Entries without a relocation.
        for (offset, entry) in (0u64..).step_by(8).zip(bytes.chunks(8)) {
            relocator.put(self.at.plus(reversed(offset, self.size)?)?, entry)?;
        }
        Some(())
    }

    /// Applies the relocations.
    fn relocate(&self, relocator: &mut Relocator<'_, '_, '_>, found: &mut Findings) {
        let addresses = relocator.addresses;
        match self.source {
            Source::Section { relocs: None, .. } => {}
            Source::Section { id, relocs: Some(relocs), is_reversed } => {
                let Some(section) = addresses.program.section(id) else { return };
                let inputs = section.relocs(id.object);
                let offset = |at| if is_reversed { reversed(at, self.size) } else { Some(at) };
                self.apply(relocator, relocs, inputs, found, offset);
            }
            Source::Frames => {
                let table = addresses.eh_frame;
                for (relocs, (_, inputs)) in addresses.plan.frames.iter().zip(&table.relocs) {
                    let offset = table.offsets(relocs.id);
                    self.apply(relocator, relocs, inputs.iter().copied(), found, offset);
                }
            }
        }
    }

    /// Applies relocations of an input section. `offset` gives the offset in the item of one in the section; it is
    /// called in the order of the relocations.
    fn apply(
        &self,
        relocator: &mut Relocator<'_, '_, '_>,
        relocs: &SectionRelocs,
        inputs: impl Iterator<Item = InputReloc>,
        found: &mut Findings,
        mut offset: impl FnMut(u64) -> Option<u64>,
    ) {
        let addresses = relocator.addresses;
        let before = relocator.low_addresses;
        for reloc in addresses.plan.of_section(addresses.program, relocs, inputs) {
            let at = offset(reloc.input.offset).and_then(|offset| self.at.plus(offset));
            let at = at.filter(|at| self.contains(*at, reloc.form.bytes())).ok_or(NO_TARGET);
            if let Err(error) = at.and_then(|at| relocator.relocate(&reloc, at)) {
                let order = (matches!(self.source, Source::Frames), relocs.id, reloc.index);
                let error = error.at(addresses.program, relocs.id, reloc.input);
                found.refused.push((order, error));
            }
        }
        if relocator.low_addresses != before {
            found.low.push(relocs.id);
        }
    }

    /// Whether a field of the output lies in the item.
    fn contains(&self, at: OutputOffset, bytes: u64) -> bool {
        let within = at.offset.checked_sub(self.at.offset);
        let end = within.and_then(|within| within.checked_add(bytes));
        at.output == self.at.output && end.is_some_and(|end| end <= self.size)
    }
}
