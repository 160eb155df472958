//! Links compiled instances in executable memory and calls them.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use super::super::*;
use crate::codegen::{Options, TRAP_HOOK, X64Compiler};
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};

std::thread_local! {
    static TRAP: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
}

extern "C" fn trap_hook(code: u32, at: u32, _function: u64) -> u64 {
    TRAP.set(Some((code, at)));
    0
}

/// A template's name and its arguments.
type Name = (String, Vec<Scalar>);

/// `mov r11, address; jmp r11`
const VENEER: usize = 13;

/// Templates, functions of the host, and the code compiled from them.
pub(super) struct Machine<'t> {
    pub(super) templates: BTreeMap<&'t str, Verified<'t>>,
    pub(super) host: BTreeMap<&'static str, usize>,
    memory: CodeMemory,
    compiler: X64Compiler,
}

/// Callable code.
pub(super) struct Linked {
    block: ExecutableBlock,
}

/// The result of a call as bits, or the reason why it stopped.
pub(super) type Outcome = Result<u64, Stop>;

impl<'t> Machine<'t> {
    pub(super) fn new(templates: BTreeMap<&'t str, Verified<'t>>) -> Self {
        let (memory, compiler) = (CodeMemory::default(), X64Compiler::new());
        Self { templates, host: BTreeMap::new(), memory, compiler }
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
            code.resize(code.len().next_multiple_of(16), 0xcc);
            places.insert(next.clone(), code.len());
            let verified = &self.templates[next.0.as_str()];
            let given: Vec<Argument> = next.1.iter().map(|&scalar| scalar.into()).collect();
            let instance = verified.instance(Arguments::new(&given).unwrap()).unwrap();
            let made = self.compiler.compile(&instance, &Options::default()).unwrap();
            for relocation in made.relocations {
                let place = code.len() + relocation.offset as usize;
                if relocation.target == TRAP_HOOK {
                    fixes.push((place, Err(trap_hook as *const () as usize)));
                    continue;
                }
                let index = u16::try_from(relocation.target).unwrap();
                let callee = verified.body().callee(index).unwrap();
                if callee.kind == CalleeKind::Host {
                    fixes.push((place, Err(self.host[callee.name])));
                    continue;
                }
                let types = callee.types().map(|entry| match entry {
                    TypeEntry::Type(ty) => instance.scalar(ty.code()).unwrap(),
                    TypeEntry::Named { .. } => panic!("no types with names here"),
                });
                let callee: Name = (callee.name.to_string(), types.collect());
                wanted.push(callee.clone());
                fixes.push((place, Ok(callee)));
            }
            code.extend_from_slice(made.bytes);
        }
        self.publish(code, &fixes, &places)
    }

    fn publish(
        &self,
        mut code: Vec<u8>,
        fixes: &[(usize, Result<Name, usize>)],
        places: &BTreeMap<Name, usize>,
    ) -> Linked {
        let request = Request::new(code.len() + fixes.len() * VENEER).aligned_to(16);
        let mut block = self.memory.allocate_with(request).unwrap();
        for (place, target) in fixes {
            let target = match target {
                Ok(name) => places[name],
                Err(address) => {
                    let veneer = code.len();
                    code.extend([0x49, 0xbb]);
                    code.extend(address.to_le_bytes());
                    code.extend([0x41, 0xff, 0xe3]);
                    veneer
                }
            };
            let distance = target as i64 - *place as i64 - 4;
            let distance = i32::try_from(distance).unwrap().to_le_bytes();
            code[*place..*place + 4].copy_from_slice(&distance);
        }
        block.as_mut_slice()[..code.len()].copy_from_slice(&code);
        Linked { block: block.publish().unwrap() }
    }
}

/// Passes all argument registers and eight stack slots, of which a function may use any number.
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

impl Linked {
    /// Calls the function with arguments of these types.
    pub(super) fn call(&self, arguments: &[(Scalar, u64)], result: Option<Scalar>) -> Outcome {
        let (mut integers, mut floats, mut stack) = (Vec::new(), Vec::new(), Vec::new());
        for &(scalar, bits) in arguments {
            match scalar.is_float() {
                true if floats.len() < 8 => floats.push(f64::from_bits(bits)),
                false if integers.len() < 6 => integers.push(bits),
                _ => stack.push(bits),
            }
        }
        assert!(stack.len() <= 8);
        // The upper bits of a narrow argument are undefined.
        integers.resize(6, 0xdead_beef_dead_beef);
        floats.resize(8, -1.25);
        stack.resize(8, 0xdead_beef_dead_beef);
        TRAP.set(None);
        let bits = match result {
            Some(scalar) if scalar.is_float() => {
                self.run::<f64>(&integers, &floats, &stack).to_bits()
            }
            _ => self.run::<u64>(&integers, &floats, &stack),
        };
        if let Some((code, at)) = TRAP.take() {
            return Err(Stop::Trap { code, at });
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
        function(
            i[0], i[1], i[2], i[3], i[4], i[5], f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7],
            s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7],
        )
    }
}
