//! Section arrays (`__start_NAME`, `__stop_NAME`) of modules.
//!
//! The elements of an array lie among other data of a module, so that those of several modules cannot be gathered as those
//! of objects are. Local symbols of a module name its arrays, and the packer warns where one would be incomplete.

use std::collections::BTreeSet;

use smf_core::format::{Binding, Smf};

use super::inputs::Inputs;
use crate::pack::error::PackWarning;
use crate::pack::object::text;
use crate::pack::resolve::Program;

/// What the name of the local symbol starts with that states an array of which the module has elements.
const ELEMENTS: &[u8] = b".smf.elements.";
/// The same for an array whose bounds code or data of the module refers to.
const BOUNDS: &[u8] = b".smf.bounds.";

/// The names of arrays.
#[derive(Default)]
struct SectionArrays<'a> {
    /// With elements.
    elements: BTreeSet<&'a [u8]>,
    /// With references to the bounds.
    bounds: BTreeSet<&'a [u8]>,
}

impl<'a> SectionArrays<'a> {
    fn of_module(smf: &Smf<'a>) -> Self {
        let mut arrays = Self::default();
        let symbols = smf.symbols().iter().filter_map(Result::ok);
        for symbol in symbols.filter(|symbol| symbol.binding == Binding::Local) {
            arrays.elements.extend(symbol.name().strip_prefix(ELEMENTS));
            arrays.bounds.extend(symbol.name().strip_prefix(BOUNDS));
        }
        arrays
    }

    /// The arrays of the objects of a program.
    fn of_objects(program: &'a Program<'_>) -> Self {
        Self { elements: program.arrays().collect(), bounds: program.bounded_arrays().collect() }
    }

    /// Whether elements that one of the two has are missing between bounds that the other one refers to.
    fn misses(&self, name: &[u8], other: &Self) -> bool {
        self.elements.contains(name) && other.bounds.contains(name)
            || self.bounds.contains(name) && other.elements.contains(name)
    }
}

impl Inputs<'_> {
    /// Warns of arrays of modules of which other inputs have further elements or refer to the bounds.
    pub(in crate::pack) fn warn_of_arrays(
        &self,
        program: &Program<'_>,
        warnings: &mut Vec<PackWarning>,
    ) {
        let modules = self.linked_modules(program);
        let arrays: Vec<_> = modules.iter().map(|m| SectionArrays::of_module(&m.smf)).collect();
        let of_objects = SectionArrays::of_objects(program);
        for (number, (module, own)) in modules.iter().zip(&arrays).enumerate() {
            let others = arrays.iter().enumerate().filter(|(other, _)| *other != number);
            let others: Vec<_> = others.map(|(_, arrays)| arrays).chain([&of_objects]).collect();
            let names = own.elements.union(&own.bounds);
            let apart = names.filter(|name| others.iter().any(|other| own.misses(name, other)));
            warnings.extend(apart.map(|name| PackWarning::SectionArrayApart {
                module: module.name.clone(),
                name: text(name),
            }));
        }
    }

    /// The names of the local symbols that state the arrays of a program.
    pub(in crate::pack) fn array_symbols(&self, program: &Program<'_>) -> BTreeSet<Vec<u8>> {
        let mut of_objects = SectionArrays::of_objects(program);
        let SectionArrays { elements, bounds } = &mut of_objects;
        // Bounds of an array without elements stay imports.
        bounds.retain(|name| elements.contains(name));
        let of_modules = self.linked_modules(program);
        let all = of_modules.iter().map(|module| SectionArrays::of_module(&module.smf));
        let mut symbols = BTreeSet::new();
        for arrays in all.chain([of_objects]) {
            symbols.extend(arrays.elements.iter().map(|name| [ELEMENTS, name].concat()));
            symbols.extend(arrays.bounds.iter().map(|name| [BOUNDS, name].concat()));
        }
        symbols
    }
}
