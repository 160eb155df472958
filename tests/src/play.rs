//! Operations decoded from any bytes, each compared with a naive model of its result: oracles for fuzzing, which
//! ordinary tests run as well.
//!
//! A broken guarantee panics.

use std::cell::RefCell;

use smf_core::cache::{CacheError, Capacity, FileCache, Options, Policy};
use smf_core::format::{Limits, Smf};
use smf_core::link::{Host, Image, Resolve};
use smf_core::memory::code_alloc::{
    CodeMemory, CodeMemoryOptions, ExecutableBlock, Request, WritableBlock,
};

use crate::services::{self, ModelServices};
use crate::walk::walk;

/// Valid modules to mutate.
const BASES: [&[u8]; 13] = [
    include_bytes!("../samples/packed.smf"),
    include_bytes!("../samples/native.smf"),
    include_bytes!("../samples/app.smf"),
    include_bytes!("../samples/app-native.smf"),
    include_bytes!("../samples/elf-object.smf"),
    include_bytes!("../samples/compact.smf"),
    include_bytes!("../samples/bcod.smf"),
    include_bytes!("../samples/note-zero-size.smf"),
    include_bytes!("../samples/needed.smf"),
    include_bytes!("../samples/services.smf"),
    include_bytes!("../samples/relative.smf"),
    include_bytes!("../samples/properties.smf"),
    include_bytes!("../samples/without-relocs.smf"),
];

/// Low limits, so that modules with large requests cost little.
const LIMITS: Limits = Limits { virtual_size: 1 << 20, sections: 64, compression_ratio: u64::MAX };

/// A mutated sample: the first byte selects it, and each following three bytes are an offset and a new
/// value.
fn changed(data: &[u8]) -> Vec<u8> {
    let Some((first, changes)) = data.split_first() else { return Vec::new() };
    let mut file = BASES[usize::from(*first) % BASES.len()].to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % file.len();
        file[at] = change[2];
    }
    file
}

/// Walks a mutated sample.
///
/// # Panics
/// If `format` breaks a guarantee.
pub fn mutated(data: &[u8]) {
    if let Ok(smf) = Smf::parse(&changed(data)) {
        walk(&smf);
    }
}

/// Maps and links a mutated sample, with imports at addresses from the first eight bytes, and with a model of the
/// services of the process.
///
/// # Panics
/// If an export of the image has another address after linking, if a request for a service breaks a guarantee, or if what
/// was granted is not released.
pub fn linked(data: &[u8]) {
    link(data);
    services::assert_released();
}

fn link(data: &[u8]) {
    let Some((address, rest)) = data.split_first_chunk() else { return };
    let address = u64::from_le_bytes(*address);
    let file = changed(rest);
    let Ok(smf) = Smf::parse_within(&file, LIMITS) else { return };
    // Some imports are found and some are not; two names may have different addresses.
    let hostile = |name: &[u8]| match name.len() % 4 {
        0 => None,
        length => Some(address.wrapping_mul(length as u64)),
    };
    let Ok(image) = Image::map(&smf) else { return };
    let exports = image.exports();
    let Ok(module) = image.link_with(&hostile as &dyn Resolve, Host::new(&ModelServices)) else {
        return;
    };
    services::check(&module);
    for symbol in smf.symbols().iter().flatten() {
        let address = exports.resolve(symbol.name());
        assert!(address.is_none_or(|address| module.symbol(symbol.name()) == Some(address)));
    }
}

/// Operations on a cache of few files, compared with a list of its expected files, the most recently used first.
///
/// # Panics
/// If the cache and the list differ.
pub fn cached(data: &[u8]) {
    const MOST: Capacity = Capacity { files: 5, bytes: 600 };
    let options = Options { policy: Policy::Lru, ..Options::default() };
    let Ok(cache) = FileCache::new(MOST, options) else { return };
    let mut list: Vec<(u8, Vec<u8>)> = Vec::new();
    for operation in data.chunks_exact(2) {
        let (number, size) = (operation[0] & 15, usize::from(operation[1]));
        let path = [b"/nowhere/at/all/".as_slice(), &[b'a' + number]].concat();
        let known = list.iter().position(|(name, _)| *name == number);
        match operation[0] >> 6 {
            0 | 1 if known.is_none() => {
                let bytes = vec![operation[1]; size];
                assert_eq!(&*cache.insert(&path, &bytes).unwrap(), &bytes[..]);
                list.insert(0, (number, bytes));
                let sum =
                    |list: &[(u8, Vec<u8>)]| list.iter().map(|(_, b)| b.len() as u64).sum::<u64>();
                while list.len() > 5 || sum(&list) > MOST.bytes {
                    list.pop();
                }
            }
            3 => assert_eq!(cache.evict(&path), known.map(|at| list.remove(at)).is_some()),
            _ => match (cache.get(&path), known) {
                (Ok(found), Some(at)) => {
                    let (name, bytes) = list.remove(at);
                    assert_eq!(&*found, &bytes[..]);
                    list.insert(0, (name, bytes));
                }
                (Err(CacheError::File(_)), None) => {}
                (found, known) => panic!("{known:?}, and {:?}", found.map(drop)),
            },
        }
        let statistics = cache.statistics();
        assert_eq!(statistics.files as usize, list.len());
        let bytes: usize = list.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(statistics.bytes, bytes as u64);
    }
}

/// A block, and the byte that fills it.
enum Block {
    Writable(WritableBlock, u8),
    Executable(ExecutableBlock),
}

impl Block {
    fn range(&self) -> (usize, usize) {
        match self {
            Block::Writable(block, _) => (block.address(), block.len()),
            Block::Executable(block) => (block.address(), block.len()),
        }
    }

    fn check(&self) {
        if let Block::Writable(block, fill) = self {
            assert!(block.as_slice().iter().all(|byte| byte == fill), "a block was written to");
        }
    }
}

/// The maximum number of live bytes of code.
const CODE_BYTES: u64 = 200_000;

fn code_memory() -> CodeMemory {
    let options = CodeMemoryOptions {
        arena_bytes: 1 << 20,
        ceiling_bytes: CODE_BYTES,
        ..CodeMemoryOptions::default()
    };
    CodeMemory::new(options).unwrap()
}

std::thread_local! {
    /// Reused for the next input, which would otherwise spend most of its time mapping memory.
    static CODE: RefCell<CodeMemory> = RefCell::new(code_memory());
}

/// Operations on executable memory, compared with a list of the live blocks: on memory reused from earlier inputs,
/// and for one input in 16 on new memory.
///
/// # Panics
/// If blocks overlap, change, or are miscounted.
pub fn coded(data: &[u8]) {
    if (data.len() / 4).is_multiple_of(16) {
        CODE.set(code_memory());
    }
    CODE.with_borrow(|memory| coded_in(memory, data));
}

fn coded_in(memory: &CodeMemory, data: &[u8]) {
    let mut blocks: Vec<Block> = Vec::new();
    let live = |blocks: &[Block]| blocks.iter().map(|block| block.range().1 as u64).sum::<u64>();
    for operation in data.chunks_exact(4) {
        let [kind, which, low, high] = [operation[0], operation[1], operation[2], operation[3]];
        let at = usize::from(which) % blocks.len().max(1);
        match kind & 3 {
            0 | 1 => {
                // Mostly the size of a function.
                let shift = [0, 4, 6, 8][usize::from(kind >> 2 & 3)];
                let size = usize::from(u16::from_le_bytes([low, high]) >> shift);
                let request = Request::new(size).aligned_to(1 << (kind >> 4));
                let Ok(mut block) = memory.allocate_with(request) else {
                    let may_be_refused = size == 0 || kind >> 4 > 12;
                    assert!(may_be_refused || live(&blocks) + size as u64 > CODE_BYTES);
                    continue;
                };
                let (start, len) = (block.address(), block.len());
                let is_apart = |(other, length): (usize, usize)| {
                    other + length <= start || start + len <= other
                };
                assert!(len == size && blocks.iter().all(|block| is_apart(block.range())));
                block.as_mut_slice().fill(which);
                blocks.push(Block::Writable(block, which));
            }
            2 if !blocks.is_empty() => {
                let block = match blocks.swap_remove(at) {
                    Block::Writable(block, _) => Block::Executable(block.publish().unwrap()),
                    block => block,
                };
                blocks.push(block);
            }
            _ if !blocks.is_empty() => blocks.swap_remove(at).check(),
            _ => memory.trim().unwrap(),
        }
    }
    blocks.iter().for_each(Block::check);
    let statistics = memory.statistics();
    assert_eq!(
        (statistics.live_bytes, statistics.live_blocks),
        (live(&blocks), blocks.len() as u64)
    );
    drop(blocks);
    assert_eq!(memory.statistics().live_bytes, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::scale::scale;

    fn bytes(seed: u64, len: usize) -> Vec<u8> {
        Random(seed).bytes(len)
    }

    #[test]
    fn any_bytes_match_the_models() {
        for seed in 0..2000 {
            let len = 8 + seed as usize % 60;
            mutated(&bytes(seed, len));
            linked(&bytes(seed, len));
            cached(&bytes(seed, 4 * len));
            if seed % 10 == 0 {
                coded(&bytes(seed, 8 * len));
            }
        }
    }

    /// Changes in the tables that services of the process read, which changes anywhere in the file seldom hit.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn changed_tables_for_services_of_the_process_are_refused_or_harmless() {
        let names: [&[u8]; 10] = [
            b".tdata",
            b".init_array",
            b".fini_array",
            b".eh_frame",
            b".got",
            b".rela.init_array",
            b".rela.got",
            b".smf.needed",
            b".smf.image",
            b".smf.debugaddr",
        ];
        let cases = play_changes(9, &names);
        assert!(cases > 8 * 1000, "{cases}");
    }

    /// Changes in the tables of relative relocations, and in the words that they apply to.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn changed_relative_relocations_are_refused_or_harmless() {
        let names: [&[u8]; 5] = [b".relro", b".data", b".rela.relro", b".rela.data", b".smf.image"];
        let cases = play_changes(10, &names);
        assert!(cases > 8 * 500, "{cases}");
    }

    /// The same in a module that has no relocations for these words.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn changed_places_without_relocations_are_refused_or_harmless() {
        let names: [&[u8]; 4] = [b".rodata", b".data", b".rela.rodata", b".smf.image"];
        let cases = play_changes(12, &names);
        assert!(cases > 8 * 500, "{cases}");
    }

    /// Changes every byte of these sections, and of their entries in the section table, to several values. Returns the
    /// number of changes, of which a part is tried.
    #[cfg(target_arch = "x86_64")]
    fn play_changes(base: u8, names: &[&[u8]]) -> usize {
        let file = changed(&[base]);
        let smf = Smf::parse(&file).unwrap();
        let mut cases = 0;
        for name in names {
            let section = smf.sections().named(name).unwrap();
            let entry = section.entry_offset..section.entry_offset + 64;
            let contents = section.offset..section.offset + section.data.len() as u64;
            for at in entry.chain(contents) {
                let [low, high] = u16::try_from(at).unwrap().to_le_bytes();
                for value in [0, 1, 4, 0x10, 0x1b, 0x7f, 0x80, 0xff] {
                    cases += 1;
                    if cases % scale(1, 7) == 0 {
                        let address = 0x1000u64.to_le_bytes();
                        mutated(&[base, low, high, value]);
                        linked(&[&address[..], &[base, low, high, value]].concat());
                    }
                }
            }
        }
        cases
    }

    #[test]
    fn unchanged_samples_are_sound() {
        for base in 0..BASES.len() {
            let file = changed(&[base as u8]);
            Smf::parse(&file).unwrap().verify().unwrap();
        }
    }
}
