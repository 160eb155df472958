//! Calls of the C API in any order, with handles that are valid, of another kind, released or invented, compared with a
//! naive model of their results: an oracle for fuzzing, which ordinary tests run as well.
//!
//! * A call that the model permits succeeds; every other call fails with a reason.
//! * After each call the statistics of the library equal those of the model for the called part, and for all parts after every
//!   sixteenth call, so that a failure has no effect.
//!
//! A broken guarantee panics. Blocks and mappings are counted for the whole process: one thread makes calls at a time.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use smf_loader::ffi::{
    RuntimeValue, SmfCacheOptions, SmfCacheStatistics, SmfLoaderStatistics, rt_alloc_exec_memory,
    rt_alloc_rw_memory, rt_exec_memory_count, rt_exec_memory_total, rt_free_exec_memory,
    rt_make_executable, rt_mmap_file, rt_mmap_read_bytes, rt_set_protection, rt_write_exec_memory,
    smf_bytes_length, smf_bytes_new, smf_cache_close, smf_cache_evict, smf_cache_get,
    smf_cache_get_again, smf_cache_open, smf_cache_release, smf_cache_statistics, smf_clear_error,
    smf_last_error, smf_loader_close, smf_loader_find, smf_loader_load_bytes, smf_loader_open,
    smf_loader_statistics, smf_loader_unload, smf_mmap_unmap, smf_value_free,
};

/// The files to get from caches and to load: valid, malformed, and absent.
const FILES: [&str; 4] = ["packed.smf", "lib.smf", "bad/truncated.smf", "absent.smf"];
const MODULES: [&[u8]; 3] = [
    include_bytes!("../samples/packed.smf"),
    include_bytes!("../samples/lib.smf"),
    include_bytes!("../samples/bad/truncated.smf"),
];

/// The maximum number of open objects of each kind.
const MOST: usize = 6;

const PAGE: i64 = 4096;

/// A block that lives from one input to the next, or 0. Without it, freeing the last block of an input would unmap the
/// arena, and the next input would spend its time mapping another.
///
/// Locked while calls are made, so that concurrent tests do not count each other's blocks.
static BALLAST: Mutex<i64> = Mutex::new(0);

struct Cache {
    number: u64,
    /// The maximum number of files in the cache, including held ones.
    most: usize,
    /// The handle of each get that has not been released.
    held: Vec<u64>,
    /// The index of the path of each held file; `None` after its eviction.
    paths: HashMap<u64, Option<usize>>,
}

impl Cache {
    /// Whether the file is cached or can be inserted.
    fn has_room(&self, path: usize) -> bool {
        self.paths.len() < self.most || self.paths.values().any(|&held| held == Some(path))
    }

    /// Releases one hold of a file.
    fn release(&mut self, at: usize) -> u64 {
        let file = self.held.swap_remove(at);
        if !self.held.contains(&file) {
            self.paths.remove(&file);
        }
        file
    }
}

struct Loader {
    number: u64,
    modules: Vec<u64>,
}

#[derive(Default)]
struct Model {
    caches: Vec<Cache>,
    loaders: Vec<Loader>,
    /// Addresses of blocks, and the requested sizes.
    blocks: Vec<(i64, i64)>,
    mappings: Vec<(i64, i64)>,
    /// Byte arrays, and their lengths.
    values: Vec<(*mut RuntimeValue, i64)>,
    /// The number of blocks that outlive an input, and their bytes.
    ballast: (i64, i64),
    /// Every handle and address that was ever valid, to be tried again when it no longer is.
    seen: Vec<u64>,
}

/// One call: the function, the index of the object, and a number for it.
#[derive(Clone, Copy)]
struct Call {
    kind: u8,
    which: usize,
    number: u16,
}

fn path(which: usize) -> CString {
    let path = crate::directory().join(FILES[which % FILES.len()]);
    CString::new(path.into_os_string().into_encoded_bytes()).unwrap()
}

/// Asserts that a call succeeded exactly if the model says so, and that a failure has a reason.
#[track_caller]
fn expect(is_success: bool, is_possible: bool) {
    assert_eq!(is_success, is_possible, "{:?}", smf_last_error());
    assert!(is_success || smf_last_error().code != 0, "a failure without a reason");
}

impl Model {
    fn call(&mut self, call: Call) {
        smf_clear_error();
        match call.kind % 8 {
            0 => self.open_or_close(call),
            1 | 2 => self.cache(call),
            3 | 4 => self.loader(call),
            5 => self.block(call),
            6 => self.mapping(call),
            _ => self.value(call),
        }
    }

    /// Compares the state that a call of this kind can have changed with the model.
    fn check(&self, kind: u8) {
        match kind % 8 {
            0 => self.check_all(),
            1 | 2 => self.check_caches(),
            3 | 4 => self.check_loaders(),
            5 => self.check_blocks(),
            6 => {}
            _ => self.check_values(),
        }
    }

    /// A number that is invalid where it is used: released, of another kind, or invented.
    fn stray(&self, call: Call) -> u64 {
        let made_up = u64::from(call.number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let all = self.seen.get(usize::from(call.number) % (self.seen.len() + 1));
        all.copied().unwrap_or(made_up)
    }

    fn open_or_close(&mut self, call: Call) {
        match call.number % 5 {
            0 if self.caches.len() < MOST => {
                let files = i64::from(call.number >> 8) - 8;
                let options = SmfCacheOptions {
                    size: size_of::<SmfCacheOptions>() as i64,
                    files,
                    bytes: 1 << 20,
                    policy: (call.which % 3) as i32,
                    freshness: 0,
                };
                // SAFETY: `size` is the size of the options.
                let number = unsafe { smf_cache_open(&raw const options) };
                expect(number != 0, files > 0 && options.policy < 2);
                if number != 0 {
                    self.seen.push(number);
                    let most = usize::try_from(files).unwrap();
                    self.caches.push(Cache {
                        number,
                        most,
                        held: Vec::new(),
                        paths: HashMap::new(),
                    });
                }
            }
            1 if self.loaders.len() < MOST => {
                // SAFETY: null selects the default options.
                let number = unsafe { smf_loader_open(ptr::null()) };
                expect(number != 0, true);
                self.seen.push(number);
                self.loaders.push(Loader { number, modules: Vec::new() });
            }
            2 if !self.caches.is_empty() => {
                let at = call.which % self.caches.len();
                let is_free = self.caches[at].held.is_empty();
                expect(smf_cache_close(self.caches[at].number), is_free);
                if is_free {
                    self.caches.remove(at);
                }
            }
            3 if !self.loaders.is_empty() => {
                let closed = self.loaders.remove(call.which % self.loaders.len());
                expect(smf_loader_close(closed.number), true);
            }
            _ => {
                let stray = self.stray(call);
                let is_cache = self.caches.iter().any(|cache| cache.number == stray);
                if !is_cache {
                    expect(smf_cache_close(stray), false);
                }
                if !self.loaders.iter().any(|loader| loader.number == stray) {
                    expect(smf_loader_close(stray), false);
                }
            }
        }
    }

    fn cache(&mut self, call: Call) {
        let stray = self.stray(call);
        let index = call.which % self.caches.len().max(1);
        let Some(cache) = self.caches.get_mut(index) else {
            return expect(smf_cache_release(stray, stray), false);
        };
        let which = usize::from(call.number >> 4);
        let (path, file) = (path(which), which % FILES.len());
        match call.number % 8 {
            0 | 1 => {
                // SAFETY: the path ends with a NUL.
                let got = unsafe { smf_cache_get(cache.number, path.as_ptr()) };
                expect(got.file != 0, file != 3 && cache.has_room(file));
                if got.file != 0 {
                    assert!(got.length > 0 && !got.bytes.is_null());
                    self.seen.push(got.file);
                    cache.held.push(got.file);
                    cache.paths.insert(got.file, Some(file));
                }
            }
            2 if !cache.held.is_empty() => {
                let file = cache.held[which % cache.held.len()];
                expect(smf_cache_get_again(cache.number, file).file == file, true);
                cache.held.push(file);
            }
            3 | 4 if !cache.held.is_empty() => {
                let file = cache.release(which % cache.held.len());
                expect(smf_cache_release(cache.number, file), true);
            }
            5 => {
                // SAFETY: the path ends with a NUL.
                let was_there = unsafe { smf_cache_evict(cache.number, path.as_ptr()) };
                let held = cache.paths.values_mut().find(|held| **held == Some(file));
                assert!(was_there == 1 || was_there == 0 && held.is_none());
                // A held file stays, and so does its slot.
                held.into_iter().for_each(|held| *held = None);
            }
            6 => {
                // SAFETY: null is a path that is refused.
                let got = unsafe { smf_cache_get(cache.number, ptr::null()) };
                expect(got.file != 0, false);
            }
            _ if !cache.held.contains(&stray) => {
                expect(smf_cache_release(cache.number, stray), false);
            }
            _ => {}
        }
    }

    fn loader(&mut self, call: Call) {
        let stray = self.stray(call);
        let index = call.which % self.loaders.len().max(1);
        let Some(loader) = self.loaders.get_mut(index) else {
            return expect(smf_loader_unload(stray, stray), false);
        };
        let name = [b'a' + (call.number >> 8) as u8 % 4, 0];
        let name: *const c_char = name.as_ptr().cast();
        match call.number % 4 {
            0 => {
                let bytes = MODULES[usize::from(call.number >> 4) % MODULES.len()];
                // SAFETY: the name ends with a NUL.
                let found = unsafe { smf_loader_find(loader.number, name) };
                let is_sound = bytes.as_ptr() != MODULES[2].as_ptr();
                // SAFETY: as above, and the length is that of the bytes.
                let module = unsafe {
                    smf_loader_load_bytes(loader.number, name, bytes.as_ptr(), bytes.len() as i64)
                };
                let is_possible = found == 0 && is_sound && cfg!(target_arch = "x86_64");
                expect(module != 0, is_possible);
                if module != 0 {
                    self.seen.push(module);
                    loader.modules.push(module);
                }
            }
            1 if !loader.modules.is_empty() => {
                let at = usize::from(call.number >> 4) % loader.modules.len();
                expect(smf_loader_unload(loader.number, loader.modules.swap_remove(at)), true);
            }
            2 => {
                // SAFETY: the name ends with a NUL.
                let found = unsafe { smf_loader_find(loader.number, name) };
                expect(found != 0, loader.modules.contains(&found));
            }
            _ if !loader.modules.contains(&stray) => {
                expect(smf_loader_unload(loader.number, stray), false);
            }
            _ => {}
        }
    }

    fn block(&mut self, call: Call) {
        let size = i64::from(call.number) - 100;
        let at = call.which % self.blocks.len().max(1);
        match (call.kind >> 3, self.blocks.get(at).copied()) {
            (0..=7, _) if self.blocks.len() < 4 * MOST => {
                let is_code = call.kind & 8 == 0;
                let allocate = if is_code { rt_alloc_exec_memory } else { rt_alloc_rw_memory };
                let address = allocate(size);
                expect(address != 0, size > 0);
                if address != 0 {
                    self.blocks.push((address, size));
                }
            }
            (8..=15, Some((address, size))) => {
                expect(rt_free_exec_memory(address, size), true);
                self.blocks.remove(at);
            }
            (16..=19, Some((address, size))) => expect(rt_make_executable(address, size), true),
            (20..=23, Some((address, size))) => {
                let protection = i32::from(call.number % 10);
                // Writable and executable exclude each other, and there are three bits.
                let is_possible = protection & 6 != 6 && protection < 8;
                expect(rt_set_protection(address, size, protection), is_possible);
            }
            (24..=27, Some((address, size))) => self.write(address, size, call),
            (_, Some((address, size))) => {
                expect(rt_free_exec_memory(address + 1, size), false);
                expect(rt_free_exec_memory(address, size + 1), false);
                expect(rt_make_executable(address + PAGE / 2, size), false);
            }
            (_, None) => expect(rt_free_exec_memory(i64::from(call.number), PAGE), false),
        }
    }

    /// Writes bytes to code and data. A write outside a block fails.
    fn write(&self, address: i64, size: i64, call: Call) {
        let Some(&(value, length)) = self.values.get(call.which % self.values.len().max(1)) else {
            // SAFETY: null is not a value, and is refused.
            let written = unsafe { rt_write_exec_memory(address, ptr::null(), 0) };
            return expect(written >= 0, false);
        };
        let offset = i64::from(call.number);
        let room = (size + PAGE - 1) / PAGE * PAGE;
        // SAFETY: the value is alive.
        let written = unsafe { rt_write_exec_memory(address, value, offset) };
        assert!(written == length || written == -1);
        if offset + length > room {
            expect(written >= 0, false);
        }
    }

    fn mapping(&mut self, call: Call) {
        let at = call.which % self.mappings.len().max(1);
        match (call.kind >> 3, self.mappings.get(at).copied()) {
            (0..=9, _) if self.mappings.len() < MOST => {
                let path = path(call.which);
                let offset = i64::from(call.number & 1);
                let protection = i32::from(call.number >> 1 & 3);
                // SAFETY: the path ends with a NUL. 2 requests a copy of the file, 0 all of it.
                let mapping = unsafe { rt_mmap_file(path.as_ptr(), protection, 2, offset, 0) };
                expect(mapping.address != 0, offset == 0 && call.which % FILES.len() != 3);
                if mapping.address != 0 {
                    self.mappings.push((mapping.address, mapping.size));
                }
            }
            (10..=19, Some((address, size))) => {
                expect(smf_mmap_unmap(address, size), true);
                self.mappings.remove(at);
            }
            (_, Some((address, size))) => {
                expect(smf_mmap_unmap(address, size + PAGE), false);
                let length = i64::from(call.number);
                let value = rt_mmap_read_bytes(address, 0, length);
                assert!(value.is_null() || length <= size);
                if !value.is_null() {
                    self.values.push((value, length));
                }
            }
            (_, None) => expect(smf_mmap_unmap(i64::from(call.number) * PAGE, PAGE), false),
        }
    }

    fn value(&mut self, call: Call) {
        let at = call.which % self.values.len().max(1);
        match (call.kind >> 3, self.values.get(at).copied()) {
            (0..=15, _) if self.values.len() < 4 * MOST => {
                let length = i64::from(call.number) - 10;
                // SAFETY: a null pointer requests zeros.
                let value = unsafe { smf_bytes_new(ptr::null(), length) };
                expect(!value.is_null() || length != 0, true);
                if !value.is_null() {
                    self.values.push((value, length));
                }
            }
            (_, Some((value, _))) => {
                self.values.swap_remove(at);
                // SAFETY: it is alive, and is not used afterwards.
                expect(unsafe { smf_value_free(value) }, true);
            }
            (_, None) => {
                // SAFETY: without a runtime, pointers to values that are not alive are not dereferenced.
                expect(unsafe { smf_value_free(ptr::without_provenance_mut(64)) }, false);
            }
        }
    }

    /// Compares all statistics of the library with the model.
    fn check_all(&self) {
        self.check_caches();
        self.check_loaders();
        self.check_blocks();
        self.check_values();
    }

    fn check_caches(&self) {
        for cache in &self.caches {
            let mut now = SmfCacheStatistics {
                size: size_of::<SmfCacheStatistics>() as i64,
                // SAFETY: all fields are numbers, for which zero is valid.
                ..unsafe { std::mem::zeroed() }
            };
            // SAFETY: `size` is the size of the structure.
            assert!(unsafe { smf_cache_statistics(cache.number, &raw mut now) });
            assert_eq!(now.held, cache.held.len() as i64);
        }
    }

    fn check_loaders(&self) {
        for loader in &self.loaders {
            let mut now = SmfLoaderStatistics {
                size: size_of::<SmfLoaderStatistics>() as i64,
                modules: 0,
                retired: 0,
                kept_bytes: 0,
                held: 0,
                uncounted: 0,
                replaced_bytes: 0,
            };
            // SAFETY: as above.
            assert!(unsafe { smf_loader_statistics(loader.number, &raw mut now) });
            assert_eq!((now.modules, now.held), (loader.modules.len() as i64, 0));
        }
    }

    fn check_blocks(&self) {
        let (blocks, bytes) = self.ballast;
        let total: i64 = self.blocks.iter().map(|(_, size)| size).sum();
        let counted = (rt_exec_memory_count(), rt_exec_memory_total());
        assert_eq!(counted, (blocks + self.blocks.len() as i64, bytes + total));
    }

    fn check_values(&self) {
        for &(value, length) in &self.values {
            // SAFETY: it is alive.
            assert_eq!(unsafe { smf_bytes_length(value) }, length);
        }
    }

    /// Releases everything, in a permitted order.
    fn end(mut self) {
        for cache in &mut self.caches {
            let held = std::mem::take(&mut cache.held);
            held.iter().for_each(|&file| expect(smf_cache_release(cache.number, file), true));
            expect(smf_cache_close(cache.number), true);
        }
        self.loaders.iter().for_each(|loader| expect(smf_loader_close(loader.number), true));
        self.mappings.iter().for_each(|&(at, size)| expect(smf_mmap_unmap(at, size), true));
        self.blocks.iter().for_each(|&(at, size)| expect(rt_free_exec_memory(at, size), true));
        for &(value, _) in &self.values {
            // SAFETY: it is alive, and is not used afterwards.
            expect(unsafe { smf_value_free(value) }, true);
        }
        assert_eq!((rt_exec_memory_count(), rt_exec_memory_total()), self.ballast);
    }
}

/// Makes the calls that `data` encodes, four bytes each, and releases everything; for one input in 16 also the memory
/// of the blocks.
///
/// # Panics
/// If a result differs from the model.
pub fn called(data: &[u8]) {
    let mut ballast = BALLAST.lock().unwrap_or_else(PoisonError::into_inner);
    if *ballast == 0 {
        *ballast = rt_alloc_exec_memory(PAGE);
    }
    let mut model = Model { ballast: (1, PAGE), ..Model::default() };
    for (count, call) in data.chunks_exact(4).take(200).enumerate() {
        let number = u16::from_le_bytes([call[2], call[3]]);
        model.call(Call { kind: call[0], which: usize::from(call[1]), number });
        // All statistics now and then: a call may have changed unrelated state.
        model.check(if count % 16 == 15 { 0 } else { call[0] });
    }
    model.check_all();
    model.end();
    if (data.len() / 4).is_multiple_of(16) {
        expect(rt_free_exec_memory(*ballast, PAGE), true);
        *ballast = 0;
        assert_eq!((rt_exec_memory_count(), rt_exec_memory_total()), (0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn calls_in_any_order_match_the_model() {
        let mut random = Random(1);
        for _ in 0..300 {
            called(&random.bytes(400));
        }
    }
}
