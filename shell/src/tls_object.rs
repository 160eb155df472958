//! An ELF shared object that makes the system's loader allocate or find thread-local storage.
//!
//! Only the system's loader can give existing threads storage, and it does so for shared objects. The object that
//! [`encode`] makes has no code, and needs no library but those in which a symbol is to be found. Its one loadable segment, readable and writable, contains three
//! words, called [`WORDS`], which the system's loader relocates:
//!
//! | word | relocation | value |
//! |---|---|---|
//! | 0 | DTPMOD64 | the module number of the storage |
//! | 1 | DTPOFF64 | the offset of the symbol in the storage; of own storage 0 |
//! | 2 | TPOFF64 | the offset from the thread pointer, the same in all threads; only if asked for |
//!
//! The storage is that of the object itself (a segment PT_TLS with the initial contents), or that of another shared
//! object which defines a symbol.
//!
//! Sources: System V ABI, chapters 4 and 5; Drepper, ELF Handling For Thread-Local Storage; AAELF64, 5.7.

use smf_core::alloc_util::AllocError;

/// The name of the words.
pub(crate) const WORDS: &str = "smf_tls";
/// The number of words.
pub(crate) const WORD_COUNT: usize = 3;

/// What the object asks for.
pub(crate) enum Request<'r> {
    /// Storage with these initial contents, followed by zeroes up to `size` bytes.
    Storage { initial: &'r [u8], size: u64, alignment: u64 },
    /// The storage of the symbol with this name, in the global scope or in these libraries, which are open; all words
    /// stay 0 if there is none.
    Symbol { name: &'r [u8], libraries: &'r [&'r [u8]] },
}

impl Request<'_> {
    /// The names in the string table behind [`WORDS`]: of the symbol, then of the libraries.
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let (symbol, libraries) = match self {
            Self::Storage { .. } => (None, &[][..]),
            Self::Symbol { name, libraries } => (Some(*name), *libraries),
        };
        symbol.into_iter().chain(libraries.iter().copied())
    }

    /// Entries of the dynamic section, with the final one.
    fn tags(&self) -> u64 {
        TAGS + (self.names().count() as u64).saturating_sub(1)
    }
}

/// The machine and its relocation types for the words.
struct Machine {
    number: u16,
    relocs: [u32; WORD_COUNT],
}

#[cfg(target_arch = "x86_64")]
const MACHINE: Option<Machine> = Some(Machine { number: 62, relocs: [16, 17, 18] });
#[cfg(target_arch = "aarch64")]
const MACHINE: Option<Machine> = Some(Machine { number: 183, relocs: [1028, 1029, 1030] });
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINE: Option<Machine> = None;

const ELF_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const SYMBOL: u64 = 24;
const RELOC: u64 = 24;
const DYNAMIC: u64 = 16;
const WORD: u64 = 8;

/// The alignment of the segment: the largest page of the supported machines.
const PAGE: u64 = 0x1_0000;

/// Program headers: PT_LOAD, PT_DYNAMIC, PT_GNU_STACK, PT_TLS.
const SEGMENTS: u64 = 4;
/// The null symbol, the words, and the symbol that is asked for or a copy of the null symbol.
const SYMBOLS: u64 = 3;
/// Entries of the dynamic section, without those for libraries, with the final one.
const TAGS: u64 = 10;

/// The offsets of all parts, which are also their addresses.
struct Layout {
    symbols: u64,
    hash: u64,
    relocs: u64,
    dynamic: u64,
    words: u64,
    strings: u64,
    strings_len: u64,
    storage: u64,
    end: u64,
}

impl Layout {
    fn new(request: &Request<'_>) -> Option<Self> {
        let symbols = ELF_HEADER + SEGMENTS * PROGRAM_HEADER;
        let hash = symbols + SYMBOLS * SYMBOL;
        // Bucket count, chain count, one bucket and the chains, in words of four bytes.
        let relocs = (hash + (3 + SYMBOLS) * 4).next_multiple_of(WORD);
        let dynamic = relocs + WORD_COUNT as u64 * RELOC;
        let words = dynamic + request.tags() * DYNAMIC;
        let strings = words + WORD_COUNT as u64 * WORD;
        let (initial, alignment) = match request {
            Request::Storage { initial, alignment, .. } => (initial.len(), *alignment),
            Request::Symbol { .. } => (0, 1),
        };
        // The empty name comes first.
        let mut strings_len = (1 + WORDS.len() + 1) as u64;
        for name in request.names() {
            strings_len = strings_len.checked_add(name.len() as u64)?.checked_add(1)?;
        }
        let storage = strings.checked_add(strings_len)?.checked_next_multiple_of(alignment)?;
        let end = storage.checked_add(u64::try_from(initial).ok()?)?;
        Some(Self { symbols, hash, relocs, dynamic, words, strings, strings_len, storage, end })
    }
}

/// The file being made. Capacity for all of it is reserved.
struct Encoder(Vec<u8>);

impl Encoder {
    fn half(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn xwords(&mut self, values: &[u64]) {
        for value in values {
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn pad_to(&mut self, offset: u64) {
        self.0.resize(usize::try_from(offset).unwrap_or(0).max(self.0.len()), 0);
    }

    fn elf_header(&mut self, machine: u16) {
        // 64 bits, little-endian, version 1, System V.
        self.0.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        self.half(3); // ET_DYN
        self.half(machine);
        self.word(1); // version
        self.xwords(&[0, ELF_HEADER, 0]); // entry point, program headers, section headers
        self.word(0); // flags
        for half in [ELF_HEADER as u16, PROGRAM_HEADER as u16, SEGMENTS as u16, 0, 0, 0] {
            self.half(half);
        }
    }

    /// `range`: offset, size in the file and size in memory.
    fn segment(&mut self, kind: u32, flags: u32, range: [u64; 3], alignment: u64) {
        let [offset, file, memory] = range;
        self.word(kind);
        self.word(flags);
        self.xwords(&[offset, offset, offset, file, memory, alignment]);
    }

    fn segments(&mut self, at: &Layout, request: &Request<'_>) {
        const READ: u32 = 4;
        const WRITE: u32 = 2;
        // The system's loader changes the dynamic section in place.
        self.segment(1, READ | WRITE, [0, at.end, at.end], PAGE);
        let dynamic = request.tags() * DYNAMIC;
        self.segment(2, READ | WRITE, [at.dynamic, dynamic, dynamic], WORD);
        // Without this one the system's loader would make all stacks executable.
        self.segment(0x6474_e551, READ | WRITE, [0, 0, 0], 16);
        match request {
            Request::Storage { size, alignment, .. } => {
                self.segment(7, READ, [at.storage, at.end - at.storage, *size], *alignment);
            }
            Request::Symbol { .. } => self.segment(0, 0, [0, 0, 0], 1),
        }
    }

    /// `info` holds binding and kind.
    fn symbol(&mut self, name: u32, info: u8, section: u16, range: [u64; 2]) {
        self.word(name);
        self.0.extend_from_slice(&[info, 0]);
        self.half(section);
        self.xwords(&range);
    }

    fn symbols(&mut self, at: &Layout, request: &Request<'_>) {
        self.symbol(0, 0, 0, [0, 0]);
        // Global, an object, in a section other than SHN_UNDEF.
        self.symbol(1, 0x11, 1, [at.words, WORD_COUNT as u64 * WORD]);
        match request {
            Request::Storage { .. } => self.symbol(0, 0, 0, [0, 0]),
            // Weak, thread-local, undefined.
            Request::Symbol { .. } => self.symbol(WORDS.len() as u32 + 2, 0x26, 0, [0, 0]),
        }
        // One bucket; symbol 1, then 2, then the end.
        for word in [1, SYMBOLS as u32, 1, 0, 2, 0] {
            self.word(word);
        }
    }

    fn relocs(&mut self, at: &Layout, machine: &Machine, request: &Request<'_>, is_static: bool) {
        let symbol = match request {
            Request::Storage { .. } => 0,
            Request::Symbol { .. } => 2,
        };
        let count = reloc_count(is_static);
        for (number, kind) in (0u64..).zip(machine.relocs).take(count) {
            self.xwords(&[at.words + number * WORD, symbol << 32 | u64::from(kind), 0]);
        }
    }

    fn dynamic(&mut self, at: &Layout, request: &Request<'_>, is_static: bool) {
        const STATIC_TLS: u64 = 0x10;
        let mut name_at = WORDS.len() as u64 + 2;
        for (number, name) in request.names().enumerate() {
            if number != 0 {
                self.xwords(&[1, name_at]); // DT_NEEDED
            }
            name_at += name.len() as u64 + 1;
        }
        self.xwords(&[
            4,
            at.hash, // DT_HASH
            5,
            at.strings, // DT_STRTAB
            6,
            at.symbols, // DT_SYMTAB
            10,
            at.strings_len, // DT_STRSZ
            11,
            SYMBOL, // DT_SYMENT
            7,
            at.relocs, // DT_RELA
            8,
            reloc_count(is_static) as u64 * RELOC, // DT_RELASZ
            9,
            RELOC, // DT_RELAENT
            30,
            if is_static { STATIC_TLS } else { 0 }, // DT_FLAGS
            0,
            0, // DT_NULL
        ]);
    }
}

/// The number of relocations, and of words that get a value.
fn reloc_count(is_static: bool) -> usize {
    if is_static { WORD_COUNT } else { WORD_COUNT - 1 }
}

/// The shared object for a request, or `None` if this machine is not supported or the object would be too large.
/// `is_static`: the offset from the thread pointer is needed.
///
/// # Errors
/// [`AllocError`].
pub(crate) fn encode(
    request: &Request<'_>,
    is_static: bool,
) -> Result<Option<Vec<u8>>, AllocError> {
    let Some((machine, at)) = MACHINE.zip(Layout::new(request)) else { return Ok(None) };
    let Ok(len) = usize::try_from(at.end) else { return Ok(None) };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| AllocError)?;
    let mut file = Encoder(bytes);
    file.elf_header(machine.number);
    file.segments(&at, request);
    file.symbols(&at, request);
    file.pad_to(at.relocs);
    file.relocs(&at, &machine, request, is_static);
    file.pad_to(at.dynamic);
    file.dynamic(&at, request, is_static);
    // The words.
    file.pad_to(at.strings);
    for name in [&b""[..], WORDS.as_bytes()].into_iter().chain(request.names()) {
        file.0.extend_from_slice(name);
        file.0.push(0);
    }
    file.pad_to(at.storage);
    if let Request::Storage { initial, .. } = request {
        file.0.extend_from_slice(initial);
    }
    Ok(Some(file.0))
}
