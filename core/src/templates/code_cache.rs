//! The persistent code cache: compiled instances stored in a module's file.
//!
//! A record is valid if the template's body, the compiler, and the instruction set are those that it was
//! compiled for, the processor has the features that it needs, and everything it refers to has the same
//! signature as then. Invalid and malformed records are ignored.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};
use spin::Once;

use super::compiler::{
    CachePolicy, CodeReloc, CompileError, CompileRequest, Compiled, Environment, Result, Target,
};
use super::cpu_features::CpuFeatures;
use crate::alloc_util::sort::{sort, sort_by_key};
use crate::alloc_util::{AllocError, try_collect, try_copy_bytes, try_push, try_to_string};
use crate::codegen::registry::FunctionTables;
use crate::codegen::unwind_machine;
use crate::format::FormatError;
use crate::format::ext::cached_code::{
    CachedCode, CachedFrames, CachedReloc, CachedTarget, encode, hash, records,
};
use crate::trap::trap_hook;
use crate::types::{Type, TypeError, TypeList};

/// The maximum number of records of one symbol that a lookup examines. A writer leaves one for each
/// instruction set.
const MAX_RECORDS: usize = 64;

/// The name of a relocation target, by which another process finds it.
#[derive(Clone, Debug)]
pub(super) enum TargetName {
    Symbol(Box<[u8]>),
    /// The template and its type arguments as text.
    Instance(Box<[u8]>, String),
    TrapHook,
}

impl TargetName {
    pub(super) fn of_instance(template: &[u8], arguments: &[Type]) -> Result<Self, AllocError> {
        Ok(Self::Instance(try_copy_bytes(template)?, try_to_string(TypeList(arguments))?))
    }

    fn as_cached(&self) -> CachedTarget<'_> {
        match self {
            Self::Symbol(symbol) => CachedTarget::Symbol(symbol),
            Self::Instance(template, arguments) => {
                CachedTarget::Instance(template, arguments.as_bytes())
            }
            Self::TrapHook => CachedTarget::TrapHook,
        }
    }
}

/// The cache section of a file, indexed at the first lookup.
#[derive(Debug, Default)]
pub(super) struct CachedRecords {
    payload: Box<[u8]>,
    index: Once<Index>,
}

#[derive(Debug, Default)]
struct Index {
    hasher: DefaultHashBuilder,
    /// Ranges of the payload with the hashes of their symbols.
    ranges: HashTable<(u64, Range<usize>)>,
}

impl CachedRecords {
    pub(super) fn new(payload: &[u8]) -> Result<Self, AllocError> {
        Ok(Self { payload: try_copy_bytes(payload)?, index: Once::new() })
    }

    /// The well-formed records of a symbol. Empty if there is no memory for the index.
    pub(super) fn find<'k>(&'k self, symbol: &'k [u8]) -> impl Iterator<Item = CachedCode<'k>> {
        let index = self.index.try_call_once(|| Index::new(&self.payload)).ok();
        let ranges = index.into_iter().flat_map(move |index| {
            let hash = index.hasher.hash_one(symbol);
            index.ranges.iter_hash(hash).filter(move |range| range.0 == hash)
        });
        let read = ranges.filter_map(|range| CachedCode::read(self.payload.get(range.1.clone())?));
        read.filter(move |code| code.symbol == symbol).take(MAX_RECORDS)
    }
}

impl Index {
    fn new(payload: &[u8]) -> Result<Self, AllocError> {
        let mut index = Self::default();
        for (at, record) in records(payload) {
            let Some(code) = CachedCode::read(record) else { continue };
            let hash = index.hasher.hash_one(code.symbol);
            let range = (hash, at..at.saturating_add(record.len()));
            index.ranges.try_reserve(1, |range| range.0).map_err(|_| AllocError)?;
            index.ranges.insert_unique(hash, range, |range| range.0);
        }
        Ok(index)
    }
}

/// Whether `code` is the code that the compiler of `policy` would produce for `request`, and this processor can
/// run it.
pub(super) fn is_valid(
    code: &CachedCode<'_>,
    request: &CompileRequest<'_>,
    policy: CachePolicy,
) -> bool {
    code.arch == request.arch
        && code.compiler == policy.compiler
        && code.body_hash == hash(request.body)
        && code.template == request.template
        && TypeList(request.arguments).is_spelled(code.arguments)
        && CpuFeatures(code.features).are_available()
}

/// Resolves the relocation targets of cached code.
///
/// # Errors
/// [`CompileError`] if a target is not available, or its signature has changed.
pub(super) fn link(code: &CachedCode<'_>, environment: &mut dyn Environment) -> Result<Compiled> {
    let mut relocations = Vec::new();
    for reloc in code.relocations() {
        let CachedReloc { offset, kind, target, interface, addend } =
            reloc.ok_or_else(|| CompileError::because("malformed relocation in cached code"))?;
        let target = resolve(target, environment)?;
        if target != Target::OWN && environment.signature(target).unwrap_or(&[]) != interface {
            return Err(CompileError::because("the signature of a callee has changed"));
        }
        try_push(&mut relocations, CodeReloc { offset, kind, target, addend })?;
    }
    environment.declare_signature(try_copy_bytes(code.interface)?);
    if let Some(machine) = unwind_machine(code.arch).filter(|_| environment.needs_tables()) {
        for CachedFrames { start, size, instructions } in code.frames() {
            let frames = try_copy_bytes(instructions)?.into_vec();
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let tables = FunctionTables::of_frames(machine, frames, size).at(start);
            environment.declare_tables(tables)?;
        }
    }
    Ok(Compiled { code: try_copy_bytes(code.code)?.into_vec(), relocations })
}

fn resolve(target: CachedTarget<'_>, environment: &mut dyn Environment) -> Result<Target> {
    let malformed = || CompileError::because("malformed type arguments in cached code");
    match target {
        CachedTarget::Own => Ok(Target::OWN),
        CachedTarget::Symbol(symbol) => environment.symbol(symbol),
        CachedTarget::TrapHook => environment.absolute(trap_hook as *const () as usize as u64),
        CachedTarget::Instance(template, []) => environment.instance(template, &[]),
        CachedTarget::Instance(template, arguments) => {
            let text = core::str::from_utf8(arguments).map_err(|_| malformed())?;
            let types = Type::parse_arguments(text).map_err(|error| match error {
                TypeError::OutOfMemory(error) => error.into(),
                _ => malformed(),
            })?;
            environment.instance(template, &types)
        }
    }
}

/// Encodes the record of a compiled instance. `None` if a relocation target has no name, a field is too
/// large, or there is no memory.
pub(super) fn encode_record<'n>(
    request: &CompileRequest<'_>,
    compiled: &Compiled,
    policy: CachePolicy,
    (signature, tables): (&[u8], &[FunctionTables]),
    name_of: impl Fn(Target) -> Option<(&'n TargetName, &'n [u8])>,
) -> Option<Vec<u8>> {
    let mut relocations = Vec::new();
    for &CodeReloc { offset, kind, target, addend } in &compiled.relocations {
        let (target, interface) = match target {
            Target::OWN => (CachedTarget::Own, &[][..]),
            target => name_of(target).map(|(name, signature)| (name.as_cached(), signature))?,
        };
        try_push(&mut relocations, CachedReloc { offset, kind, target, interface, addend }).ok()?;
    }
    let arguments = try_to_string(TypeList(request.arguments)).ok()?;
    let mut code =
        CachedCode::new(request.arch, request.symbol, hash(request.body), &compiled.code);
    (code.compiler, code.features) = (policy.compiler, policy.features.0);
    (code.template, code.arguments) = (request.template, arguments.as_bytes());
    code.interface = signature;
    let frames = tables.iter().filter_map(|tables| {
        let (start, size, instructions) = tables.frames()?;
        let (start, size) = (u32::try_from(start).ok()?, u32::try_from(size).ok()?);
        Some(CachedFrames { start, size, instructions })
    });
    code.encode(&relocations, &try_collect(frames).ok()?)
}

/// The payload `old` with the records `new` added. Old records are dropped if they are malformed, replaced, or
/// belong to a template body that the module no longer has. `None` if all new records are present already.
pub(super) fn merge_records(
    old: &[u8],
    new: &[Vec<u8>],
    body_hash: impl Fn(&[u8]) -> Option<u64>,
) -> Result<Option<Vec<u8>>, FormatError> {
    let no_memory = |AllocError| FormatError::OutOfMemory;
    let mut known = try_collect(records(old).map(|(_, record)| record)).map_err(no_memory)?;
    sort(&mut known);
    if new.iter().all(|record| known.binary_search(&&record[..]).is_ok()) {
        return Ok(None);
    }
    // The file may have been replaced since the compilation.
    let is_current = |code: &CachedCode<'_>| body_hash(code.template) == Some(code.body_hash);
    // The last record of an instance wins.
    let added = new.iter().rev().filter_map(|record| {
        let code = CachedCode::read(record).filter(is_current)?;
        Some((key(&code), &record[..]))
    });
    let mut added = try_collect(added.zip(0..)).map_err(no_memory)?;
    sort_by_key(&mut added, |&((key, _), age)| (key, age));
    added.dedup_by_key(|&mut ((key, _), _)| key);
    let stays = |record: &&[u8]| {
        let code = CachedCode::read(record).filter(is_current);
        code.is_some_and(|code| {
            added.binary_search_by(|&((added, _), _)| added.cmp(&key(&code))).is_err()
        })
    };
    let old = records(old).map(|(_, record)| record).filter(stays);
    encode(old.chain(added.iter().map(|&((_, record), _)| record))).map(Some)
}

/// The symbol and the instruction set of a record.
fn key<'d>(code: &CachedCode<'d>) -> (&'d [u8], u8) {
    (code.symbol, code.arch.0)
}
