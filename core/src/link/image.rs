//! A module placed in memory: every section has its address and its bytes, and nothing can run yet.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::error::{LinkError, Refusal};
use super::layout::{ImageLayout, Region, too_large};
use super::module::Module;
use super::preserved_data::{self, PreserveError, StateMigration};
use super::relocate;
use super::resolve::{Exports, Resolve};
use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{self, Shared};
use crate::format::{Arch, Layout, Platform, Section, SectionKind, Smf, functions};
use crate::memory::{PageCount, PagePool, Placement, Segment, WritablePages};

/// The system this loader runs on.
const HOST_PLATFORM: Platform = Platform::LINUX;

/// The instruction set this loader runs on.
pub const fn host_arch() -> Arch {
    if cfg!(target_arch = "x86_64") {
        Arch::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Arch::AARCH64
    } else {
        Arch::RISCV64
    }
}

/// A module whose addresses are fixed and whose pages are still writable.
pub struct Image<'d> {
    smf: Smf<'d>,
    /// What is linked of it, unless that is itself.
    object: Option<Box<Smf<'d>>>,
    plan: Box<ImageLayout<'d>>,
    pages: WritablePages,
    exports: Exports<'d>,
    pool: Option<Shared<PagePool>>,
}

impl<'d> Image<'d> {
    /// Gives every section of `smf` an address and copies it, or decompresses it, there.
    ///
    /// The symbols are checked on the way, and of the relocations all that it depends on how large the
    /// image is, so that an unverified file does no harm here. Addresses of 64 bits, which nearly all
    /// relocations are that a module comes with, are checked by [`Image::link`], as each is applied:
    /// looking at all of them twice takes a tenth of the time of loading.
    ///
    /// # Errors
    /// A module for another machine or system, or of a kind that cannot run; a file that is not
    /// sound; a relocation that this machine does not have; memory that cannot be had.
    pub fn place(smf: &Smf<'d>) -> Result<Self, LinkError> {
        Self::place_from(smf, None, Placement::Anywhere)
    }

    /// As [`Image::place`], with pages from a pool that gets them back when the module is unloaded. For
    /// who loads and unloads a lot: fresh pages take half of the time of loading.
    ///
    /// # Errors
    /// As [`Image::place`].
    pub fn place_in(smf: &Smf<'d>, pool: &Arc<PagePool>) -> Result<Self, LinkError> {
        Self::place_shared(smf, &Shared::Arc(pool.clone()))
    }

    /// As [`Image::place_in`], with a pool that need not be in an `Arc`.
    pub(crate) fn place_shared(smf: &Smf<'d>, pool: &Shared<PagePool>) -> Result<Self, LinkError> {
        Self::place_from(smf, Some(pool), Placement::Anywhere)
    }

    /// As [`Image::place_in`], with data left where an older version of the module has it, and the rest
    /// within reach of that if there is room.
    ///
    /// # Errors
    /// [`PreserveError`]; as [`Image::place_in`].
    pub(crate) fn place_keeping(
        smf: &Smf<'d>,
        pool: &Shared<PagePool>,
        data: &[StateMigration<'_>],
    ) -> Result<Self, PreserveError> {
        let first = data.first().and_then(|datum| usize::try_from(datum.address).ok());
        let placement = first.map_or(Placement::Anywhere, Placement::PreferNear);
        let mut image = Self::place_from(smf, Some(pool), placement)?;
        if !data.is_empty() {
            image.keep(data)?;
        }
        Ok(image)
    }

    #[cfg_attr(not(feature = "full"), inline(never))]
    fn place_from(
        smf: &Smf<'d>,
        pool: Option<&Shared<PagePool>>,
        placement: Placement,
    ) -> Result<Self, LinkError> {
        check_host(smf)?;
        let object = contents(smf)?;
        let linked = object.as_deref().unwrap_or(smf);
        let page = PageCount::one().bytes() as u64;
        let plan = ImageLayout::new(linked, page)?;
        let size = PageCount::covering(plan.size)?;
        let (pool, placement) =
            if plan.low { (None, Placement::Low2GiB) } else { (pool, placement) };
        let mut pages = match pool {
            Some(pool) => pool.take(size, placement)?,
            None => WritablePages::allocate(size, placement)?,
        };
        copy_sections(linked, &plan, &mut pages)?;
        let exports = Exports::new(linked.symbols(), addresses(&plan, &pages)?)?;
        Ok(Image { smf: *smf, object, plan, pages, exports, pool: pool.cloned() })
    }

    /// Leaves data where an older version of the module has it.
    ///
    /// # Errors
    /// [`PreserveError`]; the image is of no use then.
    fn keep(&mut self, data: &[StateMigration<'_>]) -> Result<(), PreserveError> {
        let linked = self.object.as_deref().unwrap_or(&self.smf);
        let kept = preserved_data::find(linked, data)?;
        preserved_data::apply(linked, &mut self.plan, &kept)?;
        let addresses = addresses(&self.plan, &self.pages)?;
        self.exports =
            Exports::with_kept(linked.symbols(), addresses, kept).map_err(LinkError::from)?;
        Ok(())
    }

    /// What the module exports: names and the addresses they will have.
    pub fn exports(&self) -> Exports<'d> {
        self.exports.clone()
    }

    /// Resolves the imports through `imports`, applies every relocation and publishes the pages.
    ///
    /// # Errors
    /// An import that is not weak and that nobody provides; a relocation that does not fit, or that is
    /// not sound and was not checked before; pages that the kernel will not protect. The image is gone then, and its memory given back.
    #[cfg_attr(not(feature = "full"), inline(never))]
    pub fn link(mut self, imports: &dyn Resolve) -> Result<Module<'d>, LinkError> {
        let linked = self.object.as_deref().unwrap_or(&self.smf);
        relocate::relocate(linked, &self.plan, &mut self.pages, imports)?;
        let regions = &self.plan.regions;
        let mut segments = alloc_util::try_with_capacity(regions.len())?;
        for region in regions {
            segments.push(segment(region)?);
        }
        let pages = self.pages.publish(&segments)?;
        Ok(Module::new(self.smf, self.object, pages, segments, self.exports, self.pool))
    }
}

/// Where each section is; 0 for what is not loaded.
#[cfg_attr(not(feature = "full"), inline(never))]
fn addresses(plan: &ImageLayout<'_>, pages: &WritablePages) -> Result<Vec<u64>, Refusal> {
    let base = pages.address() as u64;
    let mut addresses = alloc_util::try_with_capacity(plan.sections().len())?;
    addresses.extend(plan.sections().map(|at| at.map_or(0, |at| base + at)));
    Ok(addresses)
}

fn segment(region: &Region) -> Result<Segment, Refusal> {
    Ok(Segment {
        offset: PageCount::exact(region.start)?,
        size: PageCount::exact(region.end - region.start)?,
        protection: region.protection,
    })
}

fn check_host(smf: &Smf<'_>) -> Result<(), Refusal> {
    let (module, host) = (smf.header().arch, host_arch());
    if module != host {
        return Err(LinkError::Arch { module, host }.into());
    }
    match smf.header().platform {
        Platform::ANY | HOST_PLATFORM => Ok(()),
        module => Err(LinkError::Platform { module, host: HOST_PLATFORM }.into()),
    }
}

/// What is linked of a module: `None` for itself, or the ELF object that its code is.
#[cfg_attr(not(feature = "full"), inline(never))]
fn contents<'d>(smf: &Smf<'d>) -> Result<Option<Box<Smf<'d>>>, Refusal> {
    if smf.layout() == Layout::Dynlib {
        return Err(LinkError::Dynlib.into());
    }
    let (mut has_code, mut object) = (false, None);
    for section in smf.sections().iter().filter(|section| section.kind.is_loaded()) {
        let index = section.index;
        if section.kind == SectionKind::Code {
            if section.is_compressed() {
                return Err(LinkError::CompressedCode { section: index }.into());
            }
            if functions::is_bytecode(section.data) {
                return Err(LinkError::Bytecode.into());
            }
            object = object.or_else(|| Some(section).filter(Section::holds_object));
            has_code |= section.size != 0;
        }
        // Before any memory is asked for.
        smf.check_compressed(&section)?;
    }
    if let Some(code) = object {
        return open_object(smf, &code).map(Some);
    }
    if has_code { Ok(None) } else { Err(LinkError::NoCode.into()) }
}

#[cold]
fn open_object<'d>(smf: &Smf<'d>, code: &Section<'d>) -> Result<Box<Smf<'d>>, Refusal> {
    let object = alloc_util::try_box(smf.object_in(code)?)?;
    let is_code = |section: Section<'_>| section.kind == SectionKind::Code && section.size != 0;
    if object.sections().iter().any(is_code) { Ok(object) } else { Err(LinkError::NoCode.into()) }
}

/// Copies every section to its place, in the order of the image, and makes sure of the zeroes between
/// them: the code comes first, and with it what a program needs to begin.
#[cfg_attr(not(feature = "full"), inline(never))]
fn copy_sections(
    smf: &Smf<'_>,
    plan: &ImageLayout<'_>,
    pages: &mut WritablePages,
) -> Result<(), Refusal> {
    let mut placed = alloc_util::try_with_capacity(plan.sections().len())?;
    for (at, section) in plan.sections().zip(smf.sections().iter()) {
        if let Some(at) = at
            && !section.data.is_empty()
        {
            placed.push((at, section));
        }
    }
    // Sorting is a good part of all the code that small programs have.
    let in_order = cfg!(feature = "full");
    if in_order {
        sort_by_key(&mut placed, |(at, _)| *at);
    }
    let usize_of = |number: u64| usize::try_from(number).map_err(|_| too_large());

    let is_used = pages.is_reused();
    if !is_used {
        // Zeroes at the end need no memory before somebody touches them.
        let last = if in_order { placed.last() } else { placed.iter().max_by_key(|(at, _)| *at) };
        let end = last.map_or(0, |(at, section)| at.saturating_add(written_size(section)));
        pages.prefault(usize_of(end)?)?;
    }
    let (memory, mut end) = (pages.as_mut_slice(), 0);
    let fills_gaps = is_used && in_order;
    if is_used && !in_order {
        memory.fill(0);
    }
    for (at, section) in placed {
        let (start, len) = (usize_of(at)?, usize_of(written_size(&section))?);
        let (before, place) = memory.split_at_mut_checked(start).ok_or_else(too_large)?;
        let place = place.get_mut(..len).ok_or_else(too_large)?;
        if section.is_compressed() {
            smf.decompress_into(&section, place)?;
        } else {
            place.copy_from_slice(section.data);
        }
        if fills_gaps {
            before.get_mut(end..).unwrap_or(&mut []).fill(0);
        }
        end = start + len;
    }
    if fills_gaps {
        // What is behind the image will be out of reach.
        let size = usize_of(plan.size)?;
        memory.get_mut(end..size).unwrap_or(&mut []).fill(0);
    }
    Ok(())
}

/// Bytes of a section's memory that the file says what to put there.
fn written_size(section: &Section<'_>) -> u64 {
    if section.is_compressed() { section.virtual_size } else { section.data.len() as u64 }
}
