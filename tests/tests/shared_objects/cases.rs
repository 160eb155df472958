//! Series of damaged copies of a library.

use smf_tests::random::Random;

use crate::tables::{Kind, Object, Table, u16_at, u32_at, u64_at};

/// A library to damage.
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) object: Object,
    pub(crate) tables: Vec<Table>,
}

impl Library {
    pub(crate) fn new(name: &str, bytes: Vec<u8>) -> Self {
        let object = Object::new(bytes);
        let tables = object.tables();
        Self { name: name.to_owned(), object, tables }
    }

    fn table_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.bytes.len()).sum()
    }

    /// The offset in the file of a byte of the headers and tables, counted through all of them.
    fn place(&self, mut index: usize) -> usize {
        for table in &self.tables {
            match index.checked_sub(table.bytes.len()) {
                Some(rest) => index = rest,
                None => return table.bytes.start + index,
            }
        }
        panic!("no byte {index} of the tables");
    }
}

/// A series of damaged copies of a library.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// Each bit of the headers and tables, or one in `step` of them, is flipped.
    Flips { step: u32 },
    /// The copies are truncated, at `count` offsets.
    Truncations { count: u32 },
    /// Up to 8 bytes are changed, most of them in the headers and tables, and none that is
    /// [`trusted`].
    Mutations { count: u32, seed: u32 },
}

impl Plan {
    pub(crate) fn to_text(self) -> String {
        match self {
            Self::Flips { step } => format!("flips {step} 0"),
            Self::Truncations { count } => format!("truncations {count} 0"),
            Self::Mutations { count, seed } => format!("mutations {count} {seed}"),
        }
    }

    pub(crate) fn from_text(text: &str) -> Self {
        let [kind, first, second] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
        match kind {
            "flips" => Self::Flips { step: first },
            "truncations" => Self::Truncations { count: first },
            "mutations" => Self::Mutations { count: first, seed: second },
            other => panic!("no plan {other}"),
        }
    }

    /// The number of its cases.
    pub(crate) fn count(self, library: &Library) -> u32 {
        match self {
            Self::Flips { step } => (8 * library.table_bytes() as u32).div_ceil(step),
            Self::Truncations { count } | Self::Mutations { count, .. } => count,
        }
    }

    /// The offset and the number of the flipped bit.
    pub(crate) fn flip(self, library: &Library, case: u32) -> (usize, u32) {
        let Self::Flips { step } = self else { panic!("{self:?} flips no bits") };
        let index = case * step;
        (library.place((index / 8) as usize), index % 8)
    }

    /// The damaged copy.
    pub(crate) fn bytes(self, library: &Library, case: u32) -> Vec<u8> {
        let mut bytes = library.object.bytes.clone();
        match self {
            Self::Flips { .. } => {
                let (at, bit) = self.flip(library, case);
                bytes[at] ^= 1 << bit;
            }
            Self::Truncations { count } => {
                bytes.truncate(bytes.len() * case as usize / count as usize);
            }
            Self::Mutations { seed, .. } => mutate(library, &mut bytes, seed, case),
        }
        bytes
    }
}

fn mutate(library: &Library, bytes: &mut [u8], seed: u32, case: u32) {
    let mut random = Random(u64::from(seed) << 32 | u64::from(case));
    for _ in 0..=random.below(8) {
        let at = if random.below(8) == 0 {
            random.below(bytes.len())
        } else {
            library.place(random.below(library.table_bytes()))
        };
        let is_table = library.tables.iter().any(|table| table.bytes.contains(&at));
        let is_code = !is_table && library.object.code().any(|code| code.contains(&at));
        if is_code || trusted(library, at).is_some() {
            continue;
        }
        bytes[at] = match random.below(4) {
            0 => 0,
            1 => 0xff,
            2 => bytes[at].wrapping_add(1),
            _ => random.below(256) as u8,
        };
    }
}

/// The reason why a process may crash in code when a byte of the headers and tables is changed; `None` if it must not.
///
/// These bytes determine the entry points of the object and the changes of its data before them. The check confines
/// data to the object, and code to executable pages; the rest is as trusted as the code.
pub(crate) fn trusted(library: &Library, at: usize) -> Option<&'static str> {
    const PT_LOAD: u32 = 1;
    const PT_GNU_RELRO: u32 = 0x6474_e552;
    const CALLED: [u64; 4] = [12, 13, 25, 26];

    let bytes = &library.object.bytes;
    let table = library.tables.iter().find(|table| table.bytes.contains(&at))?;
    let offset = at - table.bytes.start;
    let entry = |size: usize| table.bytes.start + offset / size * size;
    match table.kind {
        Kind::ProgramHeaders => match (u32_at(bytes, entry(56)), offset % 56) {
            (PT_LOAD, 8..16) => Some("which unclaimed bytes of the file a segment holds"),
            (PT_LOAD, 40..48) => Some("how many zeroes there are for code behind a segment's data"),
            (PT_GNU_RELRO, 40..48) => Some("which of its own data code does not write to"),
            _ => None,
        },
        Kind::Dynamic if offset % 16 >= 8 && CALLED.contains(&u64_at(bytes, entry(16))) => {
            Some("DT_INIT, DT_FINI and the arrays: where functions are that the loader calls")
        }
        Kind::Symbols => match offset % 24 {
            0..4 if u16_at(bytes, entry(24) + 6) == 0 => {
                Some("the name of an import, which code calls")
            }
            8..16 => Some("the address of a symbol, which may be called for another one"),
            _ => None,
        },
        Kind::Relocations => Some("a place of the object that is relocated, and what is put there"),
        Kind::RelativeRelocations => Some("a place of the object that is relocated"),
        Kind::Functions => Some("the addresses of functions that the loader calls"),
        _ => None,
    }
}
