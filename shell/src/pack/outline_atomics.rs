//! The functions that compilers for aarch64 call for atomic operations unless told otherwise (`-moutline-atomics`).
//!
//! They are in the static part of the compiler's library alone, hidden, so that no process exports them. There they choose
//! the instructions of Armv8.1 where the processor has them. Here they are loops of exclusive loads and stores, which every
//! processor has. The packer defines them weakly, so that those of the inputs take precedence.
//!
//! Source: GCC, `libgcc/config/aarch64/lse.S`; Arm Architecture Reference Manual for A-profile, section C6.2.

use std::sync::OnceLock;

use ::object::elf;
use smf_core::format::ext::gnu_property;

use super::module::elf_writer::{ElfObject, ElfPlace, ElfSection, ElfSymbol};
use super::object::PROPERTY_SECTION;

/// The start of the names of these functions.
const PREFIX: &str = "__aarch64_";

/// Operations on memory. Apart from the first two, the instruction of four bytes from `w0` and `w16` to `w17`.
const OPERATIONS: [(&str, Operation); 6] = [
    ("cas", Operation::CompareAndSwap),
    ("swp", Operation::Swap),
    ("ldadd", Operation::Modify(0x0b10_0011)),
    ("ldclr", Operation::Modify(0x0a30_0011)),
    ("ldeor", Operation::Modify(0x4a10_0011)),
    ("ldset", Operation::Modify(0x2a10_0011)),
];

#[derive(Clone, Copy)]
enum Operation {
    /// Old value in `x0`, new one in `x1`, address in `x2`; of 16 bytes, in `x0` and `x1`, `x2` and `x3`, and `x4`.
    CompareAndSwap,
    /// New value in `x0`, address in `x1`.
    Swap,
    /// Operand in `x0`, address in `x1`.
    Modify(u32),
}

/// The orders of memory accesses.
const ORDERS: [(&str, Order); 5] = [
    ("relax", Order { acquires: 0, releases: 0, barrier: false }),
    ("acq", Order { acquires: 1, releases: 0, barrier: false }),
    ("rel", Order { acquires: 0, releases: 1, barrier: false }),
    ("acq_rel", Order { acquires: 1, releases: 1, barrier: false }),
    ("sync", Order { acquires: 1, releases: 1, barrier: true }),
];

#[derive(Clone, Copy)]
struct Order {
    acquires: u32,
    releases: u32,
    /// A barrier follows.
    barrier: bool,
}

/// An object that defines all of the functions, if `name` may be that of one.
pub(super) fn object(name: &[u8]) -> Option<&'static [u8]> {
    static OBJECT: OnceLock<Vec<u8>> = OnceLock::new();
    name.starts_with(PREFIX.as_bytes()).then(|| &**OBJECT.get_or_init(make))
}

fn make() -> Vec<u8> {
    let mut object =
        ElfObject { machine: elf::EM_AARCH64, sections: Vec::new(), symbols: Vec::new() };
    for (name, operation) in OPERATIONS {
        for (order_name, order) in ORDERS {
            let sizes = if name == "cas" { 5 } else { 4 };
            for size in 0..sizes {
                let name = format!("{PREFIX}{name}{}_{order_name}", 1 << size);
                let words = code(operation, size, order);
                let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
                object.symbols.push(ElfSymbol {
                    visibility: elf::STV_HIDDEN,
                    place: ElfPlace::Section(object.sections.len()),
                    size: bytes.len() as u64,
                    ..ElfSymbol::new(name.as_bytes(), elf::STB_WEAK, elf::STT_FUNC)
                });
                let flags = elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0;
                let name = format!(".text.{name}");
                let section = ElfSection::new(name.as_bytes(), elf::SHT_PROGBITS, flags, bytes);
                object.sections.push(section);
            }
        }
    }
    // All functions are landing pads for indirect branches, and none stores its return address.
    let kind = elf::GNU_PROPERTY_AARCH64_FEATURE_1_AND.0;
    let all = elf::GNU_PROPERTY_AARCH64_FEATURE_1_BTI | elf::GNU_PROPERTY_AARCH64_FEATURE_1_PAC;
    let note = gnu_property::encode(&[(kind, all)]).ok().flatten().unwrap_or_default();
    let flags = elf::SHF_ALLOC.0;
    object.sections.push(ElfSection::new(PROPERTY_SECTION, elf::SHT_NOTE, flags, note));
    object.to_vec()
}

/// The loop that compares and swaps 16 bytes. It stores the old value where that differs from the expected one, because
/// a load of a pair is atomic only if the store behind it succeeds.
fn compare_and_swap_pair(order: Order) -> [u32; 9] {
    [
        // mov x15, x0; mov x16, x1
        0xaa00_03ef,
        0xaa01_03f0,
        // ldxp x0, x1, [x4]
        0xc87f_0480 | order.acquires << 15,
        // cmp x0, x15; ccmp x1, x16, #0, eq
        0xeb0f_001f,
        0xfa50_0020,
        // csel x13, x2, x0, eq; csel x14, x3, x1, eq
        0x9a80_004d,
        0x9a81_006e,
        // stxp w17, x13, x14, [x4]
        0xc831_388d | order.releases << 15,
        // cbnz w17, to the load
        0x3500_0011 | (0x8_0000 - 6) << 5,
    ]
}

/// The instructions of a function on `1 << size` bytes.
fn code(operation: Operation, size: u32, order: Order) -> Vec<u32> {
    let Order { acquires, releases, barrier } = order;
    let wide = (size >> 1 & size) << 31;
    // To w0 from the address in a register.
    let load = |address: u32| 0x085f_7c00 | size << 30 | acquires << 15 | address << 5;
    // Of w0 and so on, with the status to another register.
    let store = |status: u32, value: u32, address: u32| {
        0x0800_7c00 | size << 30 | status << 16 | releases << 15 | address << 5 | value
    };
    // cbnz, a number of instructions back.
    let retry = |status: u32, back: u32| 0x3500_0000 | (0x8_0000 - back) << 5 | status;
    // mov w16, w0
    let keep = 0x2a00_03f0 | wide;
    // bti c
    let mut code = vec![0xd503_245f];
    match operation {
        Operation::CompareAndSwap if size == 4 => code.extend(compare_and_swap_pair(order)),
        Operation::CompareAndSwap => {
            let extended = match size {
                // uxtb w16, w0
                0 => 0x5300_1c10,
                // uxth w16, w0
                1 => 0x5300_3c10,
                _ => keep,
            };
            // cmp w0, w16; b.ne behind the loop
            let compare = [0x6b10_001f | wide, 0x5400_0061];
            code.extend([extended, load(2)].into_iter().chain(compare));
            code.extend([store(17, 1, 2), retry(17, 4)]);
        }
        Operation::Swap => code.extend([keep, load(1), store(17, 16, 1), retry(17, 2)]),
        Operation::Modify(modify) => {
            code.extend([keep, load(1), modify | wide, store(15, 17, 1), retry(15, 3)]);
        }
    }
    // dmb ish
    code.extend(barrier.then_some(0xd503_3bbf));
    // ret
    code.push(0xd65f_03c0);
    code
}
