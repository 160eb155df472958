//! A model of the services of a process for loaded modules. It grants every request, asserts what the linker guarantees
//! about it, and counts grants until they are released.
//!
//! The unwinding tables are read as unwinders read them, through the memory file of the process, so that a table that leads
//! an unwinder out of its section is found without a crash. A broken guarantee panics.

use std::cell::RefCell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use smf_core::link::{
    HostServiceError, HostServices, InitFunctions, InitToken, LibraryError, LibraryToken, Module,
    TlsBlock, TlsTemplate,
};

/// The model. Grants belong to the thread that requests them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelServices;

/// What a thread has been granted and has not released.
#[derive(Debug, Default)]
struct Grants {
    next: u64,
    storage: Vec<u64>,
    libraries: Vec<u64>,
    init: Option<Vec<u64>>,
    /// The tables: address and size, and the code that they describe.
    unwinding: Option<(usize, usize, Vec<Range<usize>>)>,
}

impl Grants {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

std::thread_local! {
    static GRANTS: RefCell<Grants> = RefCell::default();
    static MEMORY: File = File::open("/proc/self/mem").expect("/proc is needed");
}

/// Asserts that the functions and the code that `module` has registered are its own.
///
/// # Panics
/// If they are not.
pub fn check(module: &Module<'_>) {
    let code: Vec<_> = module.code().collect();
    let is_code = |address: usize| code.iter().any(|range| range.contains(&address));
    GRANTS.with_borrow(|grants| {
        for function in grants.init.iter().flatten() {
            assert!(usize::try_from(*function).is_ok_and(is_code), "{function:#x} is not code");
        }
        for range in grants.unwinding.iter().flat_map(|(.., ranges)| ranges) {
            let last = range.end.max(range.start + 1) - 1;
            // A function without bytes may be at the end.
            let is_inside = range.is_empty() || is_code(range.start) && is_code(last);
            assert!(is_inside, "{range:x?} is not code");
        }
    });
}

/// Asserts that the thread has released all grants.
///
/// # Panics
/// If it has not.
pub fn assert_released() {
    GRANTS.with_borrow_mut(|grants| {
        let none = Grants { next: grants.next, ..Grants::default() };
        assert_eq!(format!("{grants:?}"), format!("{none:?}"), "grants were not released");
    });
}

impl HostServices for ModelServices {
    fn allocate_tls(&self, template: &TlsTemplate<'_>) -> Result<TlsBlock, HostServiceError> {
        assert!(template.alignment.is_power_of_two(), "{template:?}");
        assert!(template.initial.len() <= template.size, "{template:?}");
        Ok(grant_storage(template.is_static))
    }

    fn find_tls(
        &self,
        name: &[u8],
        is_static: bool,
        _: &[LibraryToken],
    ) -> Result<Option<TlsBlock>, HostServiceError> {
        assert!(!name.contains(&0));
        Ok((name.len() % 2 == 1).then(|| grant_storage(is_static)))
    }

    fn tls_descriptor_function(&self) -> Result<u64, HostServiceError> {
        Ok(1)
    }

    fn release_tls(&self, block: TlsBlock) {
        let token = block.token as u64;
        GRANTS.with_borrow_mut(|grants| remove(&mut grants.storage, token));
    }

    fn register_unwinding(&self, address: usize, size: usize) -> Result<usize, HostServiceError> {
        let described = MEMORY.with(|memory| read_tables(memory, address, size));
        GRANTS.with_borrow_mut(|grants| {
            assert!(grants.unwinding.replace((address, size, described)).is_none());
        });
        Ok(size ^ 1)
    }

    fn deregister_unwinding(&self, address: usize, size: usize, token: usize) {
        let granted = GRANTS.with_borrow_mut(|grants| grants.unwinding.take());
        let (at, bytes, described) = granted.expect("no tables are registered");
        assert_eq!((at, bytes, bytes ^ 1), (address, size, token));
        // The tables are still mapped and unchanged.
        assert_eq!(MEMORY.with(|memory| read_tables(memory, address, size)), described);
    }

    fn prepare_init(&self, functions: &InitFunctions<'_>) -> Result<InitToken, HostServiceError> {
        let all = [functions.constructors, functions.destructors].concat();
        GRANTS.with_borrow_mut(|grants| assert!(grants.init.replace(all).is_none()));
        Ok(InitToken(0))
    }

    fn release_init(&self, _: InitToken) {
        let granted = GRANTS.with_borrow_mut(|grants| grants.init.take());
        assert!(granted.is_some(), "no functions are prepared");
    }

    fn open_libraries(&self, names: &[&[u8]]) -> Result<Vec<LibraryToken>, (usize, LibraryError)> {
        let open = |name: &&[u8]| {
            assert!(
                (1..256).contains(&name.len()) && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
            );
            GRANTS.with_borrow_mut(|grants| {
                let token = grants.number();
                grants.libraries.push(token);
                LibraryToken(token)
            })
        };
        Ok(names.iter().map(open).collect())
    }

    fn close_library(&self, library: LibraryToken) {
        GRANTS.with_borrow_mut(|grants| remove(&mut grants.libraries, library.0));
    }
}

fn grant_storage(is_static: bool) -> TlsBlock {
    GRANTS.with_borrow_mut(|grants| {
        let module = grants.number();
        grants.storage.push(module);
        let token = usize::try_from(module).unwrap();
        TlsBlock { module, block_offset: 0, offset: is_static.then_some(-64), token }
    })
}

/// Removes a token, which is the last one where grants are released in reverse order.
fn remove(tokens: &mut Vec<u64>, token: u64) {
    let at = tokens.iter().rposition(|other| *other == token);
    tokens.remove(at.expect("a grant is released twice"));
}

/// Reads unwinding tables as unwinders do: by their lengths, up to a zero word. Returns the code that they describe.
fn read_tables(memory: &File, start: usize, size: usize) -> Vec<Range<usize>> {
    let tables = Tables { memory, end: start + size };
    let (mut at, mut described) = (start, Vec::new());
    loop {
        let length = tables.word(at) as usize;
        if length == 0 {
            return described;
        }
        assert_ne!(length, 0xffff_ffff, "a 64-bit length at {at:#x}");
        let distance = tables.word(at + 4) as usize;
        if distance != 0 {
            let encoding = tables.encoding(at + 4 - distance);
            described.push(tables.range(at + 8, encoding));
        }
        at += 4 + length;
    }
}

/// Unwinding tables in the memory of the process.
struct Tables<'m> {
    memory: &'m File,
    end: usize,
}

impl Tables<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        assert!(at + N <= self.end, "a record leads to {at:#x}, behind the end");
        let mut bytes = [0; N];
        self.memory.read_exact_at(&mut bytes, at as u64).expect("the tables are mapped");
        bytes
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn byte(&self, at: usize) -> u8 {
        let [byte] = self.bytes(at);
        byte
    }

    /// The address behind a LEB128 number.
    fn behind_number(&self, mut at: usize) -> usize {
        while self.byte(at) >= 0x80 {
            at += 1;
        }
        at + 1
    }

    /// The encoding of addresses that a common record states.
    fn encoding(&self, common: usize) -> u8 {
        assert_eq!(self.word(common + 4), 0, "no common record at {common:#x}");
        let version = self.byte(common + 8);
        let mut letters = Vec::new();
        let mut at = common + 9;
        while self.byte(at) != 0 {
            letters.push(self.byte(at));
            at += 1;
        }
        at = self.behind_number(self.behind_number(at + 1));
        at = if version == 1 { at + 1 } else { self.behind_number(at) };
        if letters.first() != Some(&b'z') {
            return 0;
        }
        at = self.behind_number(at);
        for letter in &letters[1..] {
            let pointer = self.byte(at);
            match letter {
                b'R' => return pointer,
                b'L' => at += 1,
                b'P' => {
                    at += 1 + match pointer & 7 {
                        _ if pointer == 0xff => 0,
                        0 | 4 => 8,
                        2 => 2,
                        3 => 4,
                        _ => panic!("a pointer of the encoding {pointer:#x}"),
                    }
                }
                _ => {}
            }
        }
        0
    }

    /// The code that a function record describes.
    fn range(&self, at: usize, encoding: u8) -> Range<usize> {
        let wide = |at| usize::from_le_bytes(self.bytes(at));
        let (start, size) = match encoding & 0x0f {
            0x0b => {
                let distance = self.word(at).cast_signed() as isize;
                (distance.cast_unsigned(), self.word(at + 4) as usize)
            }
            0x00 | 0x0c => (wide(at), wide(at + 8)),
            _ => panic!("an address of the encoding {encoding:#x}"),
        };
        let base = if encoding & 0x70 == 0x10 { at } else { 0 };
        let start = start.wrapping_add(base);
        start..start.checked_add(size).expect("a range wraps")
    }
}
