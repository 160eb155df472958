//! Extraction of functions with their relocations.

use alloc::vec::Vec;

use crate::alloc_util::hash::fnv1a_64;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{try_push, try_with_capacity};
use crate::extract::code_index::{CodeIndex, SectionOffset};
use crate::extract::error::ExtractError;
use crate::extract::recover::recover;
use crate::format::ext::prelink::Prelink;
use crate::format::{
    Arch, Binding, Reloc, RelocKind, Result, SectionKind, Smf, Symbol, SymbolKind,
};

/// The functions of a module, each of which can be extracted.
#[derive(Clone, Debug)]
pub struct FunctionExtractor<'d> {
    code: CodeIndex<'d>,
    /// The hash of each symbol's name and its number, sorted.
    names: Vec<(u64, u32)>,
    /// The starts of functions that cannot be extracted and the offset of the instruction that prevents it, sorted.
    refused: Vec<(SectionOffset, u64)>,
}

/// A function and its relocations.
#[derive(Clone, Copy, Debug)]
pub struct FunctionBody<'c, 'd> {
    /// The symbol. If it has no size, [`FunctionBody::bytes`] has the function's length.
    pub symbol: Symbol<'d>,
    /// The code. A function whose symbol has no size extends to the next symbol of its section, or to the end of the
    /// section.
    pub bytes: &'d [u8],
    /// The alignment of the section, in bytes. The alignment of the function follows from its offset in the section.
    pub alignment: u64,
    relocs: &'c [(u32, Reloc)],
    smf: &'c Smf<'d>,
}

/// A relocation of an extracted function.
#[derive(Clone, Copy, Debug)]
pub struct ExtractedReloc<'d> {
    /// The place, in bytes from the start of the function.
    pub offset: u64,
    /// The computation.
    pub kind: RelocKind,
    /// The addend.
    pub addend: i64,
    /// The symbol that the relocation refers to.
    pub symbol: Symbol<'d>,
}

impl<'d> FunctionBody<'_, 'd> {
    /// The relocations of the function, sorted by place.
    pub fn relocations(&self) -> impl ExactSizeIterator<Item = Result<ExtractedReloc<'d>>> + '_ {
        self.relocs.iter().map(|(_, reloc)| {
            let Reloc { offset, symbol, kind, addend } = *reloc;
            let offset = offset.saturating_sub(self.symbol.value);
            Ok(ExtractedReloc { offset, kind, addend, symbol: self.smf.symbols().get(symbol)? })
        })
    }
}

impl<'d> FunctionExtractor<'d> {
    /// Indexes the functions of `smf` and their relocations.
    ///
    /// # Errors
    /// An invalid module; [`ExtractError::Prelinked`] and [`ExtractError::Bytecode`]; no memory.
    pub fn new(smf: &Smf<'d>) -> Result<Self, ExtractError<'static>> {
        let prelink = check_module(smf)?;
        let smf = smf.linked()?;
        let mut code = CodeIndex::new(smf, prelink.as_ref())?;
        let mut names = try_with_capacity(smf.symbols().len())?;
        for symbol in smf.symbols().iter() {
            let symbol = symbol?;
            try_push(&mut names, (fnv1a_64(symbol.name()), symbol.index))?;
        }
        sort(&mut names);
        let mut refused = Vec::new();
        if has_decoder(smf.header().arch) {
            refused = recover(&mut code, prelink.is_some())?;
        }
        Ok(Self { code, names, refused })
    }

    /// The number of functions.
    pub fn len(&self) -> usize {
        self.code.functions.len()
    }

    /// Whether there are no functions.
    pub fn is_empty(&self) -> bool {
        self.code.functions.is_empty()
    }

    /// Every function, local ones included, sorted by section and offset. Each name of a function is one item.
    pub fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = Result<FunctionBody<'_, 'd>, ExtractError<'d>>> {
        self.code.functions.iter().map(|(_, index)| {
            let symbol = self.code.smf.symbols().get(*index)?;
            self.extract(symbol, symbol.name())
        })
    }

    /// The function called `name`: the global one, else the weak one, else the local one.
    ///
    /// # Errors
    /// [`ExtractError::Missing`], [`ExtractError::Import`] and [`ExtractError::NotAFunction`] if the name has no
    /// function; [`ExtractError::Ambiguous`] if none of several takes precedence; [`ExtractError::Instruction`],
    /// [`ExtractError::Edge`] and [`ExtractError::NoBytes`] if the function cannot be extracted.
    pub fn function<'n>(&self, name: &'n [u8]) -> Result<FunctionBody<'_, 'd>, ExtractError<'n>> {
        let (mut best, mut count, mut imported) = (None, 0u32, false);
        for symbol in self.named(name) {
            if symbol.is_import() {
                imported = true;
                continue;
            }
            match best.as_ref().map(precedence) {
                Some(other) if other > precedence(&symbol) => {}
                Some(other) if other == precedence(&symbol) => count += 1,
                _ => (best, count) = (Some(symbol), 1),
            }
        }
        match best {
            Some(_) if count > 1 => Err(ExtractError::Ambiguous { name }),
            Some(symbol) if symbol.kind == SymbolKind::Function => self.extract(symbol, name),
            Some(_) => Err(ExtractError::NotAFunction { name }),
            None if imported => Err(ExtractError::Import { name }),
            None => Err(ExtractError::Missing { name }),
        }
    }

    /// The symbols of a name.
    fn named<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = Symbol<'d>> + use<'_, 'd, 'n> {
        let hash = fnv1a_64(name);
        let first = self.names.partition_point(|(other, _)| *other < hash);
        let same = self.names.iter().skip(first).take_while(move |(other, _)| *other == hash);
        let symbols = same.filter_map(|(_, index)| self.code.smf.symbols().get(*index).ok());
        symbols.filter(move |symbol| symbol.name() == name)
    }

    fn extract<'n>(
        &self,
        symbol: Symbol<'d>,
        name: &'n [u8],
    ) -> Result<FunctionBody<'_, 'd>, ExtractError<'n>> {
        let smf = &self.code.smf;
        let no_bytes = ExtractError::NoBytes { name };
        let index = symbol.section.ok_or(no_bytes)?;
        let section = smf.section(index)?;
        symbol.check_place(section.memory_size())?;
        if section.kind != SectionKind::Code || section.is_compressed() {
            return Err(ExtractError::NotAFunction { name });
        }
        let (bytes, start, end) = self.code.function_bytes(&symbol, &section).ok_or(no_bytes)?;
        let refused = self.refused.binary_search_by_key(&(index, start), |(start, _)| *start);
        if let Some((_, offset)) = refused.ok().and_then(|at| self.refused.get(at)) {
            return Err(ExtractError::Instruction { name, offset: *offset });
        }
        let relocs = self
            .code
            .relocs_in(index, start, end)
            .map_err(|offset| ExtractError::Edge { name, offset })?;
        Ok(FunctionBody { symbol, bytes, alignment: section.alignment, relocs, smf })
    }
}

/// Refuses modules whose functions cannot be separated. Returns the prelink data of the module.
fn check_module<'d>(smf: &Smf<'d>) -> Result<Option<Prelink<'d>>, ExtractError<'static>> {
    if smf.functions()?.is_some() {
        return Err(ExtractError::Bytecode);
    }
    match Prelink::of(smf)? {
        Some(_) if !has_decoder(smf.header().arch) => Err(ExtractError::Prelinked),
        found => Ok(found),
    }
}

/// Whether there is a decoder for the machine.
fn has_decoder(arch: Arch) -> bool {
    matches!(arch, Arch::X86_64 | Arch::AARCH64)
}

/// The precedence of a symbol among those of one name.
fn precedence(symbol: &Symbol<'_>) -> u8 {
    match symbol.binding {
        Binding::Local => 0,
        Binding::Weak => 1,
        Binding::Global => 2,
    }
}
