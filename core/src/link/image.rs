//! A module placed in memory: every section has its address and its bytes, and nothing can run yet.

use alloc::sync::Arc;

use super::error::LinkError;
use super::module::Module;
use super::plan::{Plan, Region};
use super::relocate;
use super::resolve::{Exports, Resolve};
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
    /// What is linked of it.
    linked: Smf<'d>,
    plan: Plan<'d>,
    pages: WritablePages,
    exports: Exports<'d>,
    pool: Option<Arc<PagePool>>,
}

impl<'d> Image<'d> {
    /// Gives every section of `smf` an address and copies it there.
    ///
    /// The symbols and the relocations are checked on the way, so that an unverified file does no
    /// harm here.
    ///
    /// # Errors
    /// A module for another machine or system, or of a kind that cannot run; a file that is not
    /// sound; a relocation that this machine does not have; memory that cannot be had.
    pub fn place(smf: &Smf<'d>) -> Result<Self, LinkError> {
        Self::place_from(smf, None)
    }

    /// As [`Image::place`], with pages from a pool that gets them back when the module is unloaded. For
    /// who loads and unloads a lot: fresh pages take half of the time of loading.
    ///
    /// # Errors
    /// As [`Image::place`].
    pub fn place_in(smf: &Smf<'d>, pool: &Arc<PagePool>) -> Result<Self, LinkError> {
        Self::place_from(smf, Some(pool))
    }

    fn place_from(smf: &Smf<'d>, pool: Option<&Arc<PagePool>>) -> Result<Self, LinkError> {
        check_host(smf)?;
        let linked = contents(smf)?;
        let page = PageCount::one().bytes() as u64;
        let plan = Plan::new(&linked, page)?;
        let size = PageCount::covering(plan.size)?;
        let pool = pool.filter(|_| !plan.low);
        let mut pages = match pool {
            _ if plan.low => WritablePages::allocate(size, Placement::Low2GiB)?,
            Some(pool) => pool.take(size)?,
            None => WritablePages::allocate(size, Placement::Anywhere)?,
        };
        copy_sections(&linked, &plan, &mut pages)?;
        let base = pages.address() as u64;
        let addresses = plan.sections.iter().map(|at| at.map_or(0, |at| base + at)).collect();
        let exports = Exports::new(linked.symbols(), addresses);
        Ok(Image { smf: *smf, linked, plan, pages, exports, pool: pool.cloned() })
    }

    /// What the module exports: names and the addresses they will have.
    pub fn exports(&self) -> Exports<'d> {
        self.exports.clone()
    }

    /// Resolves the imports through `imports`, applies every relocation and publishes the pages.
    ///
    /// # Errors
    /// An import that is not weak and that nobody provides; a relocation that does not fit; pages
    /// that the kernel will not protect. The image is gone then, and its memory given back.
    pub fn link(mut self, imports: &dyn Resolve) -> Result<Module<'d>, LinkError> {
        relocate::relocate(&self.linked, &self.plan, &mut self.pages, imports)?;
        let mut segments = alloc::vec::Vec::new();
        let regions = &self.plan.regions;
        segments.try_reserve_exact(regions.len()).map_err(|_| LinkError::OutOfMemory)?;
        for region in regions {
            segments.push(segment(region)?);
        }
        let pages = self.pages.publish(&segments)?;
        Ok(Module::new(self.smf, self.linked, pages, segments, self.exports, self.pool))
    }
}

fn segment(region: &Region) -> Result<Segment, LinkError> {
    Ok(Segment {
        offset: PageCount::exact(region.start)?,
        size: PageCount::exact(region.end - region.start)?,
        protection: region.protection,
    })
}

fn check_host(smf: &Smf<'_>) -> Result<(), LinkError> {
    let (module, host) = (smf.header().arch, host_arch());
    if module != host {
        return Err(LinkError::Arch { module, host });
    }
    match smf.header().platform {
        Platform::ANY | HOST_PLATFORM => Ok(()),
        module => Err(LinkError::Platform { module, host: HOST_PLATFORM }),
    }
}

/// What is linked of a module: itself, or the ELF object that its code is.
fn contents<'d>(smf: &Smf<'d>) -> Result<Smf<'d>, LinkError> {
    if smf.layout() == Layout::Dynlib {
        return Err(LinkError::Dynlib);
    }
    let (mut has_code, mut has_object) = (false, false);
    for section in smf.sections().iter().filter(|section| section.kind.is_loaded()) {
        let index = section.index;
        if section.is_compressed() {
            return Err(LinkError::Compressed { section: index });
        }
        if section.kind == SectionKind::Code {
            if functions::is_bytecode(section.data) {
                return Err(LinkError::Bytecode);
            }
            has_object |= section.holds_object();
            has_code |= section.size != 0;
        }
    }
    if has_object {
        return object(smf);
    }
    if has_code { Ok(*smf) } else { Err(LinkError::NoCode) }
}

#[cold]
fn object<'d>(smf: &Smf<'d>) -> Result<Smf<'d>, LinkError> {
    let object = smf.linked()?;
    let is_code = |section: Section<'_>| section.kind == SectionKind::Code && section.size != 0;
    if object.sections().iter().any(is_code) { Ok(object) } else { Err(LinkError::NoCode) }
}

fn copy_sections(
    smf: &Smf<'_>,
    plan: &Plan<'_>,
    pages: &mut WritablePages,
) -> Result<(), LinkError> {
    // Zeroes at the end need no memory before somebody touches them.
    let placed = || plan.sections.iter().zip(smf.sections().iter());
    let ends = placed().filter_map(|(at, s)| at.map(|at| at.saturating_add(s.data.len() as u64)));
    let written = ends.max().unwrap_or(0);
    pages.prefault(usize::try_from(written).map_err(|_| LinkError::TooLarge)?)?;
    let memory = pages.as_mut_slice();
    for (at, section) in placed() {
        let Some(at) = at.filter(|_| !section.data.is_empty()) else { continue };
        let start = usize::try_from(at).map_err(|_| LinkError::TooLarge)?;
        let place = memory.get_mut(start..).and_then(|m| m.get_mut(..section.data.len()));
        place.ok_or(LinkError::TooLarge)?.copy_from_slice(section.data);
    }
    Ok(())
}
