//! Thread-local storage from the system's loader, for the threads that exist and those to come.
//!
//! Each block belongs to a shared object that this program makes (see [`tls_object`]) and that stays open until the
//! block is released. The system's loader reuses static storage only if the block that it allocated last is closed first;
//! otherwise the storage is lost. Blocks of static storage therefore stay open until all later ones are released.
//! A reload allocates the block of the new version before it releases that of the old one, so that each reload of such a
//! module takes new storage until it is unloaded. A released block cannot serve another module meanwhile: only the
//! system's loader can write initial contents for the threads that exist, and it does so for new blocks alone.
#![allow(unsafe_code)]

use smf_core::alloc_util::try_box;
use smf_core::link::{HostService, HostServiceError, Resolve, TlsBlock, TlsTemplate};

use crate::fork::{HeldAtFork, ProcessLock};
use crate::host_symbols::{NO_SYSTEM_LOADER, has_system_loader, open_error};
use crate::shared_object::{SharedObject, SharedObjectError};
use crate::tls_object::{self, Request, WORD_COUNT, WORDS};

type Result<T> = std::result::Result<T, HostServiceError>;

/// Allocates storage.
///
/// # Errors
/// [`HostServiceError`].
pub(crate) fn allocate(template: &TlsTemplate<'_>) -> Result<TlsBlock> {
    let &TlsTemplate { initial, size, alignment, is_static } = template;
    let is_valid = alignment.is_power_of_two() && initial.len() <= size && size <= MAX_SIZE;
    if !is_valid {
        return Err(refused("its size, at most 1 GiB, or its alignment is invalid"));
    }
    // The system's loader ignores storage without bytes.
    let (size, alignment) = (size.max(1) as u64, alignment as u64);
    let request = Request::Storage { initial, size, alignment };
    if !is_static {
        return open(&request, false);
    }
    STATIC_BLOCKS.lock().opening += 1;
    let block = open(&request, true);
    let is_known = STATIC_BLOCKS.lock().add(block.as_ref().ok());
    let block = block.map_err(|error| match error {
        HostServiceError::Refused { reason: NO_STATIC, .. }
            if STATIC_BLOCKS.lock().has_released() =>
        {
            refused(STATIC_RETAINED)
        }
        error => error,
    });
    close_released();
    match block {
        Ok(block) if !is_known => {
            close(block.token);
            Err(HostServiceError::OutOfMemory)
        }
        block => block,
    }
}

/// Static storage that the system's loader has allocated.
struct StaticBlock {
    /// The distance from the thread pointer, which grows from block to block.
    distance: u64,
    token: usize,
    is_released: bool,
}

/// All static storage. The system's loader is called without the lock, because its own lock may be held around calls of
/// this library. Threads that open and close at the same moment may lose the storage of one block.
struct StaticBlocks {
    /// In the order of allocation.
    blocks: Vec<StaticBlock>,
    /// Threads that are opening a block. No block is closed meanwhile.
    opening: usize,
    /// Whether a thread is closing blocks.
    is_closing: bool,
}

static STATIC_BLOCKS: ProcessLock<StaticBlocks> =
    ProcessLock::new(StaticBlocks { blocks: Vec::new(), opening: 0, is_closing: false });

/// The locks of this module, for [`crate::fork`].
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&STATIC_BLOCKS];

impl StaticBlocks {
    /// Ends an opening and adds its block. Returns `false` if there is no memory.
    fn add(&mut self, block: Option<&TlsBlock>) -> bool {
        self.opening = self.opening.saturating_sub(1);
        let Some(block) = block else { return true };
        if self.blocks.try_reserve(1).is_err() {
            return false;
        }
        let (distance, token) = (block.offset.unwrap_or(0).unsigned_abs(), block.token);
        let at = self.blocks.partition_point(|other| other.distance < distance);
        self.blocks.insert(at, StaticBlock { distance, token, is_released: false });
        true
    }

    /// Marks a block as released. Returns `false` if it is not one of these.
    fn release(&mut self, token: usize) -> bool {
        let known = self.blocks.iter_mut().rfind(|block| block.token == token);
        known.map(|block| block.is_released = true).is_some()
    }

    /// Whether a block is released and open.
    fn has_released(&self) -> bool {
        self.blocks.iter().any(|block| block.is_released)
    }

    /// Removes the last block if it can be closed, and returns its token.
    fn take_last_released(&mut self) -> Option<usize> {
        if self.opening != 0 || self.is_closing {
            return None;
        }
        let last = self.blocks.pop_if(|last| last.is_released)?;
        self.is_closing = true;
        Some(last.token)
    }
}

/// Closes the released blocks behind the last one in use.
fn close_released() {
    loop {
        let Some(token) = STATIC_BLOCKS.lock().take_last_released() else { return };
        close(token);
        STATIC_BLOCKS.lock().is_closing = false;
    }
}

/// The storage of the symbol `name` of a shared object of the process or of one of the open `libraries`; `None` if none
/// defines it.
///
/// # Errors
/// [`HostServiceError`].
pub(crate) fn find(name: &[u8], is_static: bool, libraries: &[&[u8]]) -> Result<Option<TlsBlock>> {
    if name.is_empty() || name.contains(&0) {
        return Ok(None);
    }
    let block = open(&Request::Symbol { name, libraries }, is_static)?;
    if block.module == 0 {
        release(block);
        return Ok(None);
    }
    Ok(Some(block))
}

/// Releases what [`allocate`] or [`find`] returned.
pub(crate) fn release(block: TlsBlock) {
    if block.offset.is_some() && STATIC_BLOCKS.lock().release(block.token) {
        close_released();
    } else {
        close(block.token);
    }
}

/// Closes the object with this token.
fn close(token: usize) {
    let object = std::ptr::with_exposed_provenance_mut::<SharedObject>(token);
    if !object.is_null() {
        // SAFETY: the token is the address of a box that `open` has leaked, and each block is released once.
        drop(unsafe { Box::from_raw(object) });
    }
}

/// The maximum size of storage: glibc ends the process if a thread cannot allocate its copy.
const MAX_SIZE: usize = 1 << 30;
const NOT_GRANTED: &str =
    "the system's loader does not grant it; it needs /proc, a free descriptor and memory";
#[cfg(target_arch = "x86_64")]
const NO_STATIC: &str = "no static storage left; compile with -fPIC, link the host with smf_tls_reserve.o, or raise glibc.rtld.optional_static_tls";
#[cfg(not(target_arch = "x86_64"))]
const NO_STATIC: &str =
    "no static storage left; compile with -fPIC, or raise glibc.rtld.optional_static_tls";
/// An alignment that the C library does not grant. It grants the largest one of the objects that the process was started with.
#[cfg(target_arch = "x86_64")]
const ALIGNMENT: &str = "the C library aligns static storage less in this process; compile with -fPIC, or link the host with smf_tls_reserve.o";
#[cfg(not(target_arch = "x86_64"))]
const ALIGNMENT: &str = "the C library aligns static storage less in this process; compile with -fPIC, or link the host with a thread-local variable of this alignment";
/// A variable of a library that was opened while the process ran.
const NO_STATIC_SYMBOL: &str = "its library was opened while the process ran, and has no static storage; compile with -fPIC, or link the host with the library";
/// Released blocks are open because of later ones.
const STATIC_RETAINED: &str = "no static storage left: it is freed in reverse order alone, and a reload loads first; compile with -fPIC, or unload such a module before it is loaded again";
const NO_MEMORY_FILE: &str = "no memory file can be made (memfd_create): the system forbids it, or a limit of descriptors or of file sizes is reached";
const NO_MACHINE: &str = "there is no support for this machine";

fn refused(reason: &'static str) -> HostServiceError {
    HostServiceError::Refused { service: HostService::ThreadLocalStorage, reason }
}

/// Why the system's loader has no static storage for a request.
fn no_static(request: &Request<'_>) -> &'static str {
    match request {
        Request::Symbol { .. } => NO_STATIC_SYMBOL,
        Request::Storage { alignment, .. } => {
            match max_static_alignment().is_some_and(|max| max < *alignment) {
                true => ALIGNMENT,
                false => NO_STATIC,
            }
        }
    }
}

/// The maximum alignment of static storage, in bytes; `None` if the C library does not state it.
fn max_static_alignment() -> Option<u64> {
    type GetStaticInfo = unsafe extern "C" fn(size: *mut usize, alignment: *mut usize);
    // SAFETY: a handle of dlsym(3) and a NUL-terminated name.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_get_tls_static_info".as_ptr()) };
    if function.is_null() {
        return None;
    }
    // SAFETY: glibc exports the function with this type for its own libraries and for debugging tools.
    let function = unsafe { std::mem::transmute::<*mut std::ffi::c_void, GetStaticInfo>(function) };
    let (mut size, mut alignment) = (0, 0);
    // SAFETY: both results are writable.
    unsafe { function(&raw mut size, &raw mut alignment) };
    Some(alignment as u64)
}

/// Opens the object of a request and reads its words.
fn open(request: &Request<'_>, is_static: bool) -> Result<TlsBlock> {
    let bytes = tls_object::encode(request, is_static)?.ok_or_else(|| refused(NO_MACHINE))?;
    // SAFETY: the object is well-formed and has no code; the libraries that it needs are open.
    let object = unsafe { SharedObject::open_data(&bytes) };
    let object = object.map_err(|error| match error {
        SharedObjectError::MemoryFile(_) => refused(NO_MEMORY_FILE),
        _ if !has_system_loader() => refused(NO_SYSTEM_LOADER),
        // "cannot allocate memory in static TLS block" of glibc; other errors are those of opening a file.
        SharedObjectError::Open(error)
            if is_static && open_error(&error).to_string().contains("TLS") =>
        {
            refused(no_static(request))
        }
        _ => refused(NOT_GRANTED),
    })?;
    let words = object.resolve(WORDS.as_bytes()).and_then(|words| usize::try_from(words).ok());
    let words = words.ok_or_else(|| refused(NOT_GRANTED))?;
    let words = std::ptr::with_exposed_provenance::<[u64; WORD_COUNT]>(words);
    // SAFETY: the symbol denotes these words, at a multiple of 8, which nothing writes after the object is open.
    let [module, block_offset, offset] = unsafe { words.read() };
    let offset = is_static.then_some(offset.cast_signed());
    if module == 0 && matches!(request, Request::Storage { .. }) {
        return Err(refused(NOT_GRANTED));
    }
    let token = Box::into_raw(try_box(object)?).expose_provenance();
    Ok(TlsBlock { module, block_offset, offset, token })
}

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tests {
    use super::*;
    use crate::tls_descriptor;
    use smf_core::link::LinkError;
    use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
    use std::thread;

    /// The address of `offset` in the storage of `module` in the calling thread.
    fn address(module: u64, offset: u64) -> *mut u8 {
        let index = [module, offset];
        // SAFETY: the module number is that of a block that is not released.
        unsafe { tls_descriptor::__tls_get_addr(&raw const index) }.cast()
    }

    fn contents(block: &TlsBlock, size: usize) -> Vec<u8> {
        // SAFETY: the block has this size.
        unsafe { std::slice::from_raw_parts(address(block.module, 0), size) }.to_vec()
    }

    fn template(initial: &[u8], size: usize, alignment: usize) -> TlsTemplate<'_> {
        TlsTemplate { initial, size, alignment, is_static: false }
    }

    /// The surplus of static storage belongs to the process.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thread_pointer() -> u64 {
        let pointer: u64;
        // SAFETY: reads the thread pointer.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!("mov {}, fs:0", out(reg) pointer);
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer);
        }
        pointer
    }

    /// Error texts of the C API have at most 255 bytes, and begin with the name of the module.
    #[test]
    fn refusal_is_a_short_sentence() {
        for reason in [
            NOT_GRANTED,
            NO_STATIC,
            ALIGNMENT,
            NO_STATIC_SYMBOL,
            STATIC_RETAINED,
            NO_MEMORY_FILE,
            NO_MACHINE,
            NO_SYSTEM_LOADER,
        ] {
            let (section, size, alignment) = (10, MAX_SIZE as u64, 4096);
            let error = LinkError::ThreadLocalStorage { section, size, alignment, reason };
            assert!(error.to_string().len() < 230, "{error}");
        }
    }

    #[test]
    fn threads_before_and_after_have_initial_contents_of_their_own() {
        let (start, started) = mpsc::channel::<TlsBlock>();
        let older = thread::spawn(move || {
            let block = started.recv().unwrap();
            assert_eq!(contents(&block, 6), b"abc\0\0\0");
            // SAFETY: the block has six bytes.
            unsafe { address(block.module, 5).write(7) };
            assert_eq!(contents(&block, 6), b"abc\0\0\x07");
        });
        let block = allocate(&template(b"abc", 6, 1)).unwrap();
        start.send(block).unwrap();
        older.join().unwrap();
        assert_eq!(contents(&block, 6), b"abc\0\0\0");
        thread::spawn(move || assert_eq!(contents(&block, 6), b"abc\0\0\0")).join().unwrap();
        release(block);
    }

    #[test]
    fn alignment_is_respected_in_every_thread() {
        for alignment in [1, 8, 64, 256, 4096] {
            let block = allocate(&template(&[1; 100], 5000, alignment)).unwrap();
            let check = move || {
                let at = address(block.module, 0).addr();
                assert!(at.is_multiple_of(alignment), "{at:#x} at {alignment}");
                let found = contents(&block, 5000);
                assert!(found[..100] == [1; 100] && found[100..] == [0; 4900]);
            };
            check();
            thread::spawn(check).join().unwrap();
            release(block);
        }
    }

    #[test]
    fn static_storage_has_one_offset_in_all_threads() {
        let _alone = alone();
        let (start, started) = mpsc::channel::<TlsBlock>();
        let check = |block: TlsBlock| {
            let at = thread_pointer().wrapping_add_signed(block.offset.unwrap());
            assert_eq!(address(block.module, 0).addr() as u64, at);
            assert_eq!(contents(&block, 16), b"0123456789\0\0\0\0\0\0");
        };
        let older = thread::spawn(move || check(started.recv().unwrap()));
        let template = TlsTemplate { is_static: true, ..template(b"0123456789", 16, 16) };
        let block = allocate(&template).unwrap();
        start.send(block).unwrap();
        older.join().unwrap();
        check(block);
        thread::spawn(move || check(block)).join().unwrap();
        release(block);
    }

    #[test]
    fn static_storage_beyond_the_surplus_is_refused() {
        let _alone = alone();
        let size = 1 << 20;
        let template = TlsTemplate { is_static: true, ..template(b"", size, 16) };
        let error = allocate(&template).unwrap_err().to_string();
        assert!(error.starts_with("thread-local storage: "), "{error}");
        assert!(error.contains("-fPIC"), "{error}");
        release(allocate(&TlsTemplate { is_static: false, ..template }).unwrap());
    }

    #[test]
    fn static_storage_of_an_alignment_beyond_that_of_the_process_is_refused_as_such() {
        let _alone = alone();
        let template = |alignment| TlsTemplate { is_static: true, ..template(b"", 8, alignment) };
        let max = usize::try_from(max_static_alignment().unwrap()).unwrap();
        release(allocate(&template(max)).unwrap());
        let error = allocate(&template(max * 2)).unwrap_err().to_string();
        assert!(error.contains(ALIGNMENT) && !error.contains("optional_static_tls"), "{error}");
    }

    #[test]
    fn static_storage_is_reused_in_any_order_of_release() {
        let _alone = alone();
        let template = TlsTemplate { is_static: true, ..template(b"abc", 64, 8) };
        // Without a guarantee of the order, the surplus lasts for a few dozen blocks.
        for _ in 0..200 {
            let [one, two, three] = [0; 3].map(|_| allocate(&template).unwrap());
            for block in [two, one, three] {
                assert_eq!(contents(&block, 4), b"abc\0");
                release(block);
            }
        }
    }

    /// As reloads allocate: the new version first.
    #[test]
    fn static_storage_of_replaced_versions_is_freed_with_the_last_one() {
        let _alone = alone();
        let template = TlsTemplate { is_static: true, ..template(b"abc", 64, 8) };
        for _ in 0..3 {
            let mut version = allocate(&template).unwrap();
            let mut reloads = 0;
            let error = loop {
                match allocate(&template) {
                    Ok(next) => release(std::mem::replace(&mut version, next)),
                    Err(error) => break error.to_string(),
                }
                reloads += 1;
                // The remaining version has contents of its own.
                assert_eq!(contents(&version, 4), b"abc\0");
                assert!(reloads < 100_000, "the storage is reused: no error is needed");
            };
            assert!(reloads > 5, "{reloads}");
            for part in ["a reload loads first", "-fPIC", "unload such a module"] {
                assert!(error.contains(part), "{error}");
            }
            release(version);
        }
        let blocks = [0; 10].map(|_| allocate(&template).unwrap());
        blocks.into_iter().for_each(release);
    }

    #[test]
    fn two_thousand_rounds_reuse_the_slot() {
        let _alone = alone();
        let first = allocate(&template(b"x", 64, 64)).unwrap();
        let mut modules = std::collections::HashSet::new();
        for round in 0..2000u32 {
            let initial = round.to_le_bytes();
            let is_static = round % 2 == 0;
            let block = allocate(&TlsTemplate { is_static, ..template(&initial, 64, 8) }).unwrap();
            assert_eq!(contents(&block, 4), initial);
            modules.insert(block.module);
            release(block);
        }
        release(first);
        // Other tests allocate as well.
        assert!(modules.len() < 20, "{modules:?}");
    }

    #[test]
    fn symbol_of_a_shared_object_is_found() {
        assert_eq!(find(b"no_such_symbol_anywhere", false, &[]), Ok(None));
        assert_eq!(find(b"no_such_symbol_anywhere", true, &[]), Ok(None));
        assert_eq!((find(b"", false, &[]), find(b"a\0b", false, &[])), (Ok(None), Ok(None)));
        unsafe extern "C" {
            fn __errno_location() -> *mut i32;
        }
        for is_static in [false, true] {
            let block = find(b"errno", is_static, &[]).unwrap().unwrap();
            let check = move || {
                // SAFETY: returns the address of `errno` of the calling thread.
                let errno = unsafe { __errno_location() }.addr();
                assert_eq!(address(block.module, block.block_offset).addr(), errno);
                let offset = errno.wrapping_sub(usize::try_from(thread_pointer()).unwrap());
                let is_same = |found: i64| found == offset.cast_signed() as i64;
                assert!(block.offset.is_none_or(is_same), "{block:?}");
            };
            check();
            thread::spawn(check).join().unwrap();
            release(block);
        }
    }

    #[test]
    fn invalid_template_is_refused() {
        for (initial, size, alignment) in
            [(&b"abc"[..], 2, 1), (b"", 8, 3), (b"", 8, 0), (b"", usize::MAX, 1)]
        {
            let wrong = template(initial, size, alignment);
            assert!(allocate(&wrong).is_err());
        }
        release(allocate(&template(b"", 0, 1)).unwrap());
    }
}
