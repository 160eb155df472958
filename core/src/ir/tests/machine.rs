//! Links compiled instances in executable memory and calls them.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use super::super::*;
use crate::codegen::code::Relocation;
use crate::codegen::tests::harness::{Link, VENEER};
use crate::codegen::{NativeOptimizingCompiler, Options, TRAP_HOOK};
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};

std::thread_local! {
    static TRAP: Cell<Option<(u32, u32, [u64; 2])>> = const { Cell::new(None) };
}

extern "C" fn trap_hook(code: u32, at: u32, _function: u64, left: u64, right: u64) -> u64 {
    // The callers of the function go on, and may trap again.
    TRAP.set(TRAP.get().or(Some((code, at, [left, right]))));
    0
}

/// A template's name and its arguments.
type Name = (String, Vec<Scalar>);

/// A relocation of the code at an offset, against an instance or the address of a function of the host.
type Fix = (usize, Relocation, Result<Name, usize>);

/// Templates, functions of the host, and the code compiled from them.
pub(super) struct Machine<'t> {
    pub(super) templates: BTreeMap<&'t str, Verified<'t>>,
    pub(super) host: BTreeMap<&'static str, usize>,
    /// The names of the functions of the program by number.
    pub(super) program: Vec<&'t str>,
    /// The optimisation level.
    pub(super) level: u8,
    memory: CodeMemory,
    compiler: NativeOptimizingCompiler,
}

/// Callable code.
pub(super) struct Linked {
    block: ExecutableBlock,
}

/// The result of a call as bits, or the reason why it stopped.
pub(super) type Outcome = Result<u64, Stop>;

impl<'t> Machine<'t> {
    pub(super) fn new(templates: BTreeMap<&'t str, Verified<'t>>) -> Self {
        let (memory, compiler) = (CodeMemory::default(), NativeOptimizingCompiler::new());
        let (host, program) = (BTreeMap::new(), Vec::new());
        Self { templates, host, program, level: 0, memory, compiler }
    }

    /// Links the instance `name` of `arguments`, and all of its callees.
    pub(super) fn link(&mut self, name: &str, arguments: &[Scalar]) -> Linked {
        let mut places: BTreeMap<Name, usize> = BTreeMap::new();
        let mut wanted: Vec<Name> = std::vec![(name.to_string(), arguments.to_vec())];
        let (mut code, mut fixes) = (Vec::new(), Vec::new());
        while let Some(next) = wanted.pop() {
            if places.contains_key(&next) {
                continue;
            }
            let verified = &self.templates[next.0.as_str()];
            let given: Vec<Argument> = next.1.iter().map(|&scalar| scalar.into()).collect();
            let instance = verified.instance(Arguments::new(&given).unwrap()).unwrap();
            let made = self.compiler.compile(&instance, &Options::DEFAULT, self.level, &|_| None);
            let made = made.unwrap();
            code.resize(code.len().next_multiple_of(made.align as usize), 0xcc);
            places.insert(next.clone(), code.len());
            for relocation in made.relocations {
                let place = code.len() + relocation.offset as usize;
                if relocation.target == TRAP_HOOK {
                    fixes.push((place, *relocation, Err(trap_hook as *const () as usize)));
                    continue;
                }
                let index = u16::try_from(relocation.target).unwrap();
                let callee = verified.body().callee(index).unwrap();
                if callee.kind == CalleeKind::Host {
                    fixes.push((place, *relocation, Err(self.host[callee.name])));
                    continue;
                }
                if let CalleeKind::Function(number) = callee.kind {
                    let callee: Name = (self.program[number as usize].to_string(), Vec::new());
                    wanted.push(callee.clone());
                    fixes.push((place, *relocation, Ok(callee)));
                    continue;
                }
                let types = callee.types().map(|entry| match entry {
                    TypeEntry::Type(ty) => instance.scalar(ty.code()).unwrap(),
                    TypeEntry::Named { .. } => panic!("no types with names here"),
                });
                let callee: Name = (callee.name.to_string(), types.collect());
                wanted.push(callee.clone());
                fixes.push((place, *relocation, Ok(callee)));
            }
            code.extend_from_slice(made.bytes);
            code.resize(code.len().next_multiple_of(16), 0);
        }
        self.publish(code, &fixes, &places)
    }

    fn publish(&self, mut code: Vec<u8>, fixes: &[Fix], places: &BTreeMap<Name, usize>) -> Linked {
        let request = Request::new(code.len() + fixes.len() * VENEER).aligned_to(4096);
        // An emulator does not notice new code at an address that it has executed, in memory that is mapped twice.
        let is_emulated = cfg!(not(target_arch = "x86_64"));
        let memory = if is_emulated { CodeMemory::default() } else { self.memory.clone() };
        let mut block = memory.allocate_with(request).unwrap();
        let mut link = Link::new(&mut code, block.address());
        for (place, relocation, target) in fixes {
            let target = match target {
                Ok(name) => Ok(places[name]),
                Err(address) => Err(*address),
            };
            link.apply(*place, relocation, target);
        }
        block.as_mut_slice()[..code.len()].copy_from_slice(&code);
        Linked { block: block.publish().unwrap() }
    }
}

/// Passes all argument registers and eight stack slots, of which a function may use any number.
#[cfg(target_arch = "aarch64")]
type Function<R> = extern "C" fn(
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    f64,
    f64,
    f64,
    f64,
    f64,
    f64,
    f64,
    f64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
) -> R;

/// Passes all argument registers and eight stack slots, of which a function may use any number.
#[cfg(target_arch = "x86_64")]
type Function<R> = extern "C" fn(
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    f64,
    f64,
    f64,
    f64,
    f64,
    f64,
    f64,
    f64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
) -> R;

/// The integers that are passed in registers.
const INTEGERS: usize = if cfg!(target_arch = "x86_64") { 6 } else { 8 };

impl Linked {
    /// Calls the function with arguments of these types.
    pub(super) fn call(&self, arguments: &[(Scalar, u64)], result: Option<Scalar>) -> Outcome {
        let (mut integers, mut floats, mut stack) = (Vec::new(), Vec::new(), Vec::new());
        for &(scalar, bits) in arguments {
            match scalar.is_float() {
                true if floats.len() < 8 => floats.push(f64::from_bits(bits)),
                false if integers.len() < INTEGERS => integers.push(bits),
                _ => stack.push(bits),
            }
        }
        assert!(stack.len() <= 8);
        // The upper bits of a narrow argument are undefined.
        integers.resize(INTEGERS, 0xdead_beef_dead_beef);
        floats.resize(8, -1.25);
        stack.resize(8, 0xdead_beef_dead_beef);
        TRAP.set(None);
        let bits = match result {
            Some(scalar) if scalar.is_float() => {
                self.run::<f64>(&integers, &floats, &stack).to_bits()
            }
            _ => self.run::<u64>(&integers, &floats, &stack),
        };
        if let Some((code, at, operands)) = TRAP.take() {
            return Err(Stop::Trap { code, at, operands });
        }
        // A narrow integer is extended to 32 bits; the upper 32 bits are undefined.
        let Some(scalar) = result else { return Ok(0) };
        if scalar.bits() < 32 {
            let shift = 32 - scalar.bits();
            let low = bits as u32;
            let again = match scalar.is_signed() {
                true => ((low << shift) as i32 >> shift) as u32,
                false => low << shift >> shift,
            };
            assert_eq!(low, again, "{scalar} is extended");
        }
        Ok(bits & (u64::MAX >> (64 - scalar.bits())))
    }

    /// Calls the function with these registers and stack slots; `R` is u64 or f64.
    fn run<R>(&self, i: &[u64], f: &[f64], s: &[u64]) -> R {
        // SAFETY: the block holds a function of the C convention, which outlives the call and reads
        // no further arguments.
        let function: Function<R> = unsafe { std::mem::transmute(self.block.as_ptr()) };
        #[cfg(target_arch = "aarch64")]
        return function(
            i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], f[0], f[1], f[2], f[3], f[4], f[5],
            f[6], f[7], s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7],
        );
        #[cfg(target_arch = "x86_64")]
        function(
            i[0], i[1], i[2], i[3], i[4], i[5], f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7],
            s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7],
        )
    }
}
