//! Compiled instances that a module's file keeps: found by symbol, held against what would be compiled, and
//! gathered to be written.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use spin::Once;

use super::compiler::{CodeReloc, CompileError, Compiled, Environment, Request, Target};
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, try_collect, try_copy_bytes, try_push, try_to_string};
use crate::format::FormatError;
use crate::format::ext::cached_code::{
    CachedCode, CachedReloc, CachedTarget, encode, hash, records,
};
use crate::trap::trap_hook;
use crate::types::{Spelled, Type, TypeError};

/// The records of one symbol that are looked at.
const MOST: usize = 64;

/// What a compiler says of code that other processes may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Who compiles, and by which rules: another number whenever the same template may become other code,
    /// or code that is to be called or linked in another way.
    pub compiler: u32,
    /// What its code asks of the processor beside what every one of its instruction set has.
    pub features: CpuFeatures,
}

/// Abilities of a processor, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuFeatures(pub u64);

impl CpuFeatures {
    /// Nothing that not every processor of the instruction set has.
    pub const NONE: Self = Self(0);
    /// SSE 3 of x86-64.
    pub const SSE3: Self = Self(1);
    /// Its supplement.
    pub const SSSE3: Self = Self(1 << 1);
    /// SSE 4.1.
    pub const SSE4_1: Self = Self(1 << 2);
    /// SSE 4.2.
    pub const SSE4_2: Self = Self(1 << 3);
    /// `popcnt`.
    pub const POPCNT: Self = Self(1 << 4);
    /// `lzcnt`.
    pub const LZCNT: Self = Self(1 << 5);
    /// The first set of bit manipulation.
    pub const BMI1: Self = Self(1 << 6);
    /// The second.
    pub const BMI2: Self = Self(1 << 7);

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this processor has all of them. A bit without a meaning here is one that it does not have.
    pub fn are_here(self) -> bool {
        // Asking a processor may take microseconds where it is a virtual one.
        // Two threads may ask at once. None waits for another, which a child of fork might not have.
        static HERE: AtomicU64 = AtomicU64::new(UNKNOWN);
        const UNKNOWN: u64 = u64::MAX;
        if self == Self::NONE {
            return true;
        }
        let known = match HERE.load(Ordering::Relaxed) {
            UNKNOWN => {
                let found = here();
                HERE.store(found, Ordering::Relaxed);
                found
            }
            known => known,
        };
        self.0 & !known == 0
    }
}

/// What this processor has (Intel's manual, volume 2, CPUID; AMD's for leaf 0x8000_0001).
#[cfg(target_arch = "x86_64")]
fn here() -> u64 {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    let has = |word: u32, bit: u32, feature: CpuFeatures| {
        if word & (1 << bit) != 0 { feature.0 } else { 0 }
    };
    let (leaves, extended) = (__cpuid(0).eax, __cpuid(0x8000_0000).eax);
    let first = __cpuid(1).ecx;
    let seventh = if leaves >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
    let amd = if extended >= 0x8000_0001 { __cpuid(0x8000_0001).ecx } else { 0 };
    has(first, 0, CpuFeatures::SSE3)
        | has(first, 9, CpuFeatures::SSSE3)
        | has(first, 19, CpuFeatures::SSE4_1)
        | has(first, 20, CpuFeatures::SSE4_2)
        | has(first, 23, CpuFeatures::POPCNT)
        | has(amd, 5, CpuFeatures::LZCNT)
        | has(seventh, 3, CpuFeatures::BMI1)
        | has(seventh, 8, CpuFeatures::BMI2)
}

#[cfg(not(target_arch = "x86_64"))]
fn here() -> u64 {
    0
}

/// What a target of code is called, so that another process finds it.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Symbol(Box<[u8]>),
    Instance(Box<[u8]>, String),
    TrapHook,
}

impl Name {
    pub(super) fn of_symbol(symbol: &[u8]) -> Result<Self, AllocError> {
        try_copy_bytes(symbol).map(Self::Symbol)
    }

    pub(super) fn of_instance(template: &[u8], arguments: &[Type]) -> Result<Self, AllocError> {
        Ok(Self::Instance(try_copy_bytes(template)?, try_to_string(Spelled(arguments))?))
    }

    /// Of a place that a compiler knows itself; `None` for one that nobody finds again.
    pub(super) fn of_fixed(address: u64) -> Option<Self> {
        (address == trap_hook as *const () as usize as u64).then_some(Self::TrapHook)
    }

    fn target(&self) -> CachedTarget<'_> {
        match self {
            Self::Symbol(symbol) => CachedTarget::Symbol(symbol),
            Self::Instance(template, arguments) => {
                CachedTarget::Instance(template, arguments.as_bytes())
            }
            Self::TrapHook => CachedTarget::TrapHook,
        }
    }
}

/// The code that a file keeps.
#[derive(Debug, Default)]
pub(super) struct Kept {
    payload: Box<[u8]>,
    index: Once<Index>,
}

#[derive(Debug, Default)]
struct Index {
    hasher: DefaultHashBuilder,
    /// Where the records are, by the hashes of their symbols.
    places: HashTable<(u64, Range<usize>)>,
}

impl Kept {
    /// Of this payload, into which nobody looks before somebody asks.
    pub(super) fn new(payload: &[u8]) -> Result<Self, AllocError> {
        Ok(Self { payload: try_copy_bytes(payload)?, index: Once::new() })
    }

    /// The sound records of a symbol; none without memory for the index of them.
    pub(super) fn find<'k>(&'k self, symbol: &'k [u8]) -> impl Iterator<Item = CachedCode<'k>> {
        let index = self.index.try_call_once(|| Index::of(&self.payload)).ok();
        let places = index.into_iter().flat_map(move |index| {
            let hash = index.hasher.hash_one(symbol);
            index.places.iter_hash(hash).filter(move |place| place.0 == hash)
        });
        let read = places.filter_map(|place| CachedCode::read(self.payload.get(place.1.clone())?));
        // One for each instruction set is what a writer leaves.
        read.filter(move |code| code.symbol == symbol).take(MOST)
    }
}

impl Index {
    fn of(payload: &[u8]) -> Result<Self, AllocError> {
        let mut index = Self::default();
        for (at, record) in records(payload) {
            let Some(code) = CachedCode::read(record) else { continue };
            let hash = index.hasher.hash_one(code.symbol);
            let place = (hash, at..at.saturating_add(record.len()));
            index.places.try_reserve(1, |place| place.0).map_err(|_| AllocError)?;
            index.places.insert_unique(hash, place, |place| place.0);
        }
        Ok(index)
    }
}

/// Whether code is what a compiler would make of a request, and can run here.
pub(super) fn fits(code: &CachedCode<'_>, request: &Request<'_>, keep: CachePolicy) -> bool {
    code.arch == request.arch
        && code.compiler == keep.compiler
        && code.body_hash == hash(request.body)
        && code.template == request.template
        && Spelled(request.arguments).is(code.arguments)
        && CpuFeatures(code.features).are_here()
}

/// The code with what it leads to, as if it had been compiled.
///
/// # Errors
/// [`CompileError`] for what cannot be had, or is not called as it was when the code was made.
pub(super) fn link(
    code: &CachedCode<'_>,
    environment: &mut dyn Environment,
) -> Result<Compiled, CompileError> {
    let mut relocations = Vec::new();
    for reloc in code.relocations() {
        let damaged = CompileError::because("a relocation of kept code is none");
        let CachedReloc { offset, kind, target, interface, addend } = reloc.ok_or(damaged)?;
        let target = match target {
            CachedTarget::Own => Target::OWN,
            CachedTarget::Symbol(symbol) => environment.symbol(symbol)?,
            CachedTarget::TrapHook => {
                environment.absolute(trap_hook as *const () as usize as u64)?
            }
            CachedTarget::Instance(template, arguments) => {
                let text = core::str::from_utf8(arguments).map_err(|_| damaged)?;
                let types = if text.is_empty() {
                    Vec::new()
                } else {
                    Type::parse_arguments(text).map_err(|error| match error {
                        TypeError::OutOfMemory => CompileError::OutOfMemory,
                        _ => damaged,
                    })?
                };
                environment.instance(template, &types)?
            }
        };
        if target != Target::OWN && environment.signature(target).unwrap_or(&[]) != interface {
            return Err(CompileError::because("what kept code calls is called otherwise now"));
        }
        try_push(&mut relocations, CodeReloc { offset, kind, target, addend })?;
    }
    environment.declare_signature(try_copy_bytes(code.interface)?);
    Ok(Compiled { code: try_copy_bytes(code.code)?.into_vec(), relocations })
}

/// The record of an instance that was compiled; `None` when something of it has no name that another
/// process would know, or more bytes than there is room or memory for.
pub(super) fn record<'n>(
    request: &Request<'_>,
    compiled: &Compiled,
    keep: CachePolicy,
    interface: &[u8],
    name_of: impl Fn(Target) -> Option<(&'n Name, &'n [u8])>,
) -> Option<Vec<u8>> {
    let mut relocations = Vec::new();
    for &CodeReloc { offset, kind, target, addend } in &compiled.relocations {
        let (target, interface) = match target {
            Target::OWN => (CachedTarget::Own, &[][..]),
            target => name_of(target).map(|(name, interface)| (name.target(), interface))?,
        };
        try_push(&mut relocations, CachedReloc { offset, kind, target, interface, addend }).ok()?;
    }
    let arguments = try_to_string(Spelled(request.arguments)).ok()?;
    let mut code =
        CachedCode::new(request.arch, request.symbol, hash(request.body), &compiled.code);
    (code.compiler, code.features) = (keep.compiler, keep.features.0);
    (code.template, code.arguments) = (request.template, arguments.as_bytes());
    code.interface = interface;
    code.encode(&relocations)
}

/// A payload with new records. Those of `old` stay that are sound, for other symbols or other instruction
/// sets, and of templates that the module still has; `None` when nothing is new.
pub(super) fn with_records(
    old: &[u8],
    new: &[Vec<u8>],
    body_of: impl Fn(&[u8]) -> Option<u64>,
) -> Result<Option<Vec<u8>>, FormatError> {
    let none = |AllocError| FormatError::OutOfMemory;
    let mut known = try_collect(records(old).map(|(_, record)| record)).map_err(none)?;
    sort(&mut known);
    if new.iter().all(|record| known.binary_search(&&record[..]).is_ok()) {
        return Ok(None);
    }
    // The file may hold another template by now than the one that was compiled.
    let is_current = |code: &CachedCode<'_>| body_of(code.template) == Some(code.body_hash);
    // Of several for one instance the last one counts.
    let fresh = new.iter().rev().filter_map(|record| {
        let code = CachedCode::read(record).filter(is_current)?;
        Some((key(&code), &record[..]))
    });
    let mut fresh = try_collect(fresh.zip(0..)).map_err(none)?;
    fresh.sort_unstable_by_key(|&((key, _), age)| (key, age));
    fresh.dedup_by_key(|&mut ((key, _), _)| key);
    let stays = |record: &&[u8]| {
        let code = CachedCode::read(record).filter(is_current);
        code.is_some_and(|code| {
            fresh.binary_search_by(|&((fresh, _), _)| fresh.cmp(&key(&code))).is_err()
        })
    };
    let old = records(old).map(|(_, record)| record).filter(stays);
    encode(old.chain(fresh.iter().map(|&((_, record), _)| record))).map(Some)
}

/// Which instance it is of, for which instruction set.
fn key<'d>(code: &CachedCode<'d>) -> (&'d [u8], u8) {
    (code.symbol, code.arch.0)
}
