//! The image of a module: its sections at their final addresses, in pages that are still writable.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::error::{LinkError, Result};
use super::host::{HOST_PLATFORM, host_arch};
use super::layout::{ImageLayout, Region};
use super::module::{Module, Pages};
use super::preserved_data::{self, DataSymbol, PreserveError};
use super::relocate;
use super::resolve::{Exports, Resolve};
use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{TryArc, try_box, try_with_capacity};
use crate::format::{Layout, Platform, Section, SectionKind, Smf, functions};
use crate::memory::{PageCount, PagePool, Placement, Segment, WritablePages};

/// A module whose addresses are final and whose pages are still writable.
pub struct Image<'d> {
    smf: Smf<'d>,
    /// The ELF object in the code section, if the code is one.
    object: Option<Box<Smf<'d>>>,
    layout: Box<ImageLayout<'d>>,
    pages: WritablePages,
    exports: Exports<'d>,
    pool: Option<TryArc<PagePool>>,
}

impl<'d> Image<'d> {
    /// Assigns an address to every section of `smf` and copies or decompresses it there.
    ///
    /// `smf` need not be verified: symbols are checked here, and so are relocations that affect the size of the image.
    /// [`Image::link`] checks 64-bit absolute addresses, the most frequent relocations, when it applies them.
    ///
    /// # Errors
    /// [`LinkError`]: a module for another machine or system, or of a kind that cannot be linked; a malformed
    /// file; a relocation kind of another machine; a failed allocation.
    pub fn map(smf: &Smf<'d>) -> Result<Self> {
        Self::map_with(smf, None, Placement::Anywhere)
    }

    /// As [`Image::map`], with pages from `pool`, which they return to when the module is dropped.
    ///
    /// # Errors
    /// As [`Image::map`].
    pub fn map_in(smf: &Smf<'d>, pool: &TryArc<PagePool>) -> Result<Self> {
        Self::map_with(smf, Some(pool), Placement::Anywhere)
    }

    /// As [`Image::map_in`], with `data` left at its address in an older version of the module. The pages are
    /// allocated within reach of the first datum if possible.
    ///
    /// # Errors
    /// [`PreserveError`]; as [`Image::map_in`].
    pub(crate) fn map_preserving(
        smf: &Smf<'d>,
        pool: &TryArc<PagePool>,
        data: &[DataSymbol<'_>],
    ) -> Result<Self, PreserveError> {
        let first = data.first().and_then(|datum| usize::try_from(datum.address).ok());
        let placement = first.map_or(Placement::Anywhere, Placement::PreferNear);
        let mut image = Self::map_with(smf, Some(pool), placement)?;
        if !data.is_empty() {
            let linked = image.object.as_deref().unwrap_or(&image.smf);
            let preserved = preserved_data::find(linked, data)?;
            preserved_data::apply(linked, &mut image.layout, &preserved)?;
            let addresses = addresses(&image.layout, &image.pages)?;
            image.exports = Exports::new(linked.symbols(), addresses, preserved)?;
        }
        Ok(image)
    }

    fn map_with(
        smf: &Smf<'d>,
        pool: Option<&TryArc<PagePool>>,
        placement: Placement,
    ) -> Result<Self> {
        check_host(smf)?;
        let object = linked_object(smf)?;
        let linked = object.as_deref().unwrap_or(smf);
        let layout = ImageLayout::new(linked, PageCount::one().bytes() as u64)?;
        let size = PageCount::covering(layout.size)?;
        let (pool, placement) =
            if layout.needs_low_2gib { (None, Placement::Low2GiB) } else { (pool, placement) };
        let mut pages = match pool {
            Some(pool) => pool.take(size, placement)?,
            None => WritablePages::allocate(size, placement)?,
        };
        copy_sections(linked, &layout, &mut pages)?;
        let exports = Exports::new(linked.symbols(), addresses(&layout, &pages)?, Vec::new())?;
        Ok(Image { smf: *smf, object, layout, pages, exports, pool: pool.cloned() })
    }

    /// The exported symbols, with their final addresses.
    pub fn exports(&self) -> Exports<'d> {
        self.exports.clone()
    }

    /// Resolves the imports through `imports`, applies every relocation and publishes the pages.
    ///
    /// # Errors
    /// [`LinkError`]: an unresolved import that is not weak; a malformed relocation or one out of range; pages
    /// that the kernel refuses to protect. The image is dropped.
    pub fn link(mut self, imports: &dyn Resolve) -> Result<Module<'d>> {
        let linked = self.object.as_deref().unwrap_or(&self.smf);
        let base = self.pages.address() as u64;
        relocate::relocate(linked, &self.layout, base, self.pages.as_mut_slice(), imports)?;
        let regions = &self.layout.regions;
        let mut segments = try_with_capacity(regions.len())?;
        for region in regions {
            segments.push(segment(region)?);
        }
        let Image { smf, object, exports, pool, .. } = self;
        let pages = Pages { pages: Some(self.pages.publish(&segments)?), pool };
        Ok(Module { smf, object, pages, segments, exports })
    }
}

/// The address of each section; 0 if it is not loaded.
fn addresses(layout: &ImageLayout<'_>, pages: &WritablePages) -> Result<Vec<u64>> {
    let base = pages.address() as u64;
    let mut addresses = try_with_capacity(layout.sections.len())?;
    addresses.extend(layout.sections.iter().map(|at| at.map_or(0, |at| base + at)));
    Ok(addresses)
}

fn segment(region: &Region) -> Result<Segment> {
    Ok(Segment {
        offset: PageCount::exact(region.start)?,
        size: PageCount::exact(region.end - region.start)?,
        protection: region.protection,
    })
}

fn check_host(smf: &Smf<'_>) -> Result<()> {
    let (module, host) = (smf.header().arch, host_arch());
    if module != host {
        return Err(LinkError::Arch { module, host });
    }
    match smf.header().platform {
        Platform::ANY | HOST_PLATFORM => Ok(()),
        module => Err(LinkError::Platform { module, host: HOST_PLATFORM }),
    }
}

/// The ELF object in the code section, if the code is one. Checks that the module has code that can be linked.
fn linked_object<'d>(smf: &Smf<'d>) -> Result<Option<Box<Smf<'d>>>> {
    if smf.layout() == Layout::Dynlib {
        return Err(LinkError::Dynlib);
    }
    let (mut has_code, mut object) = (false, None);
    for section in smf.sections().iter().filter(|section| section.kind.is_loaded()) {
        if section.kind == SectionKind::Code {
            if section.is_compressed() {
                return Err(LinkError::CompressedCode { section: section.index });
            }
            if functions::is_bytecode(section.data) {
                return Err(LinkError::Bytecode);
            }
            object = object.or_else(|| Some(section).filter(Section::holds_object));
            has_code |= section.size != 0;
        }
        // Before any page is allocated.
        smf.check_compressed(&section)?;
    }
    let Some(code) = object else {
        return if has_code { Ok(None) } else { Err(LinkError::NoCode) };
    };
    let object = try_box(smf.object_in(&code)?)?;
    let is_code = |section: Section<'_>| section.kind == SectionKind::Code && section.size != 0;
    if object.sections().iter().any(is_code) { Ok(Some(object)) } else { Err(LinkError::NoCode) }
}

/// Copies every section to its place in ascending order and zeroes the gaps in reused pages.
fn copy_sections(smf: &Smf<'_>, layout: &ImageLayout<'_>, pages: &mut WritablePages) -> Result<()> {
    let mut sections = try_with_capacity(layout.sections.len())?;
    for (at, section) in layout.sections.iter().zip(smf.sections().iter()) {
        if let Some(at) = *at
            && !section.data.is_empty()
        {
            sections.push((at, section));
        }
    }
    sort_by_key(&mut sections, |(at, _)| *at);
    let to_usize = |number: u64| usize::try_from(number).map_err(|_| LinkError::TooLarge);
    let is_used = pages.is_reused();
    if !is_used {
        // Fresh pages behind the last section stay untouched until they are used.
        let end = sections.last().map_or(0, |(at, section)| at.saturating_add(file_size(section)));
        pages.prefault(to_usize(end)?)?;
    }
    let (memory, mut end) = (pages.as_mut_slice(), 0);
    for (at, section) in sections {
        let (start, len) = (to_usize(at)?, to_usize(file_size(&section))?);
        let (before, place) = memory.split_at_mut_checked(start).ok_or(LinkError::TooLarge)?;
        let place = place.get_mut(..len).ok_or(LinkError::TooLarge)?;
        if section.is_compressed() {
            smf.decompress_into(&section, place)?;
        } else {
            place.copy_from_slice(section.data);
        }
        if is_used {
            before.get_mut(end..).unwrap_or(&mut []).fill(0);
        }
        end = start + len;
    }
    if is_used {
        // Pages behind the image become inaccessible and need no zeroes.
        let size = to_usize(layout.size)?;
        memory.get_mut(end..size).unwrap_or(&mut []).fill(0);
    }
    Ok(())
}

/// The bytes of a section that come from the file, after decompression.
fn file_size(section: &Section<'_>) -> u64 {
    if section.is_compressed() { section.virtual_size } else { section.data.len() as u64 }
}
