//! `.smf.hash`: a hash index of the exported names, for lookups without a scan of the symbol table.
//!
//! The symbol table is in no order that helps a search, and its own hashes are hints that one writer
//! leaves out. This section leads from a name to the number of its symbol. It is a hint: a reader compares the
//! symbol's name and checks that it is an export. A file without the section,
//! or with one that a reader does not understand, is looked up in another way.
//!
//! An extension of this project, in a Note section called [`NAME`] (in the native layout, which has no
//! notes, the section has the number of Debug, and its name wins). Never compressed. All numbers are
//! little-endian, and nothing is aligned:
//!
//! | at | type | what |
//! |---|---|---|
//! | 0 | 4 bytes | `HASH` |
//! | 4 | u32 | version: 1. A reader of another version skips the section |
//! | 8 | u32 | symbols of the file's table, exported or not; if this differs, a writer without support for the index
//! changed the table, and the section is skipped |
//! | 12 | u32 | names in the index |
//! | 16 | u32 | b, the number of buckets, a power of two |
//! | 20 | 40 bytes each | buckets 0 to b-1 |
//!
//! A bucket has eight slots, filled from the first on:
//!
//! | at | type | what |
//! |---|---|---|
//! | 0 | u8 each | tag of slot 0 to 7; 0 when it is empty |
//! | 8 | u32 each | number of the symbol in slot 0 to 7; 0 when it is empty |
//!
//! With h the [`hash`] of a name, its tag is the top byte of h, or 1 where that is 0, and its slot is the
//! first empty one of bucket h mod b or, where that is full, of the next bucket, the one behind the last
//! being bucket 0. No name is farther away than [`PROBES`] buckets, counting the first, nor behind
//! more than three slots with its tag. Each exported name (global or weak) is there once, with
//! the symbol that counts: the first global one, else the first weak one.
//!
//! So the eight tags are a filter and an index at once. A lookup compares them in one step; for a name
//! that is not there, one load of one word nearly always says so, and for one that is, it nearly
//! always leads to the one symbol. The classic form (a Bloom filter, then chains of hashes, then
//! symbols) takes a load more for both, and as many bytes.
//!
//! With a wrong index names are lost: a lookup in an unverified file trusts a miss. It never
//! finds a symbol of another name or one that is not exported, and never does more than a bounded amount
//! of work. [`SymbolIndex::verify`] refuses every index that does not find what a walk finds.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

#[cfg(feature = "alloc")]
use crate::alloc_util::{AllocError, try_collect, try_with_capacity};
use crate::format::error::{HashIndexError, Result, ensure};
use crate::format::model::{Binding, SectionKind};
use crate::format::read::symbol::{Found, Symbol, Symbols};
use crate::format::wire::{LOW, SECTION_NAME, note_name, u32_at, u64_at, zero_bytes};
#[cfg(feature = "alloc")]
use crate::format::write::module::NewSymbol;
use crate::format::write::module::{NewSection, Payload};

/// The name of the section.
pub const NAME: &[u8] = note_name::HASH_INDEX;
/// The buckets that a lookup looks at, at most.
pub const PROBES: usize = 8;
/// The least number of exported names for which an index pays off.
pub const WORTHWHILE: usize = 8;

const MAGIC: &[u8; 4] = b"HASH";
const VERSION: u32 = 1;
const HEADER: usize = 20;
const SLOTS: usize = 8;
const BUCKET: usize = SLOTS + SLOTS * 4;
/// The slots with the tag of a name that a lookup follows, at most.
const CANDIDATES: usize = 4;

/// The first 192 bits of the fraction of pi: numbers without a purpose of their own.
const PI: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];

/// The hash of a name, fixed for good.
///
/// `fold(x, y)` is the product of x and y in 128 bits, its upper half xor its lower half. The state
/// begins as `PI[0] ^ length`. While more than 16 bytes are left, the next 16 are taken as two u64,
/// a and b, and the state becomes `fold(a ^ state, b ^ PI[1])`. Of the bytes left, a and b are made:
/// from 8 bytes on the first eight and the last eight; from 4 on the first four and the last four;
/// below, a is the first, the middle (number length / 2 of those left) and the last byte, from the
/// lowest byte up, and b is 0; both are 0 when nothing is left. The hash is
/// `fold(fold(a ^ state, b ^ PI[1]), PI[2])`.
#[inline]
pub fn hash(name: &[u8]) -> u64 {
    let mut state = PI[0] ^ name.len() as u64;
    let mut rest = name;
    while rest.len() > 16 {
        let Some((block, behind)) = rest.split_first_chunk::<16>() else { break };
        state = step(state, u64_at(block, 0).unwrap_or(0), u64_at(block, 8).unwrap_or(0));
        rest = behind;
    }
    let (a, b) = ends(rest);
    fold(step(state, a, b), PI[2])
}

#[inline]
fn step(state: u64, a: u64, b: u64) -> u64 {
    fold(a ^ state, b ^ PI[1])
}

#[inline]
fn fold(x: u64, y: u64) -> u64 {
    let (low, high) = x.carrying_mul(y, 0);
    low ^ high
}

/// At most 16 bytes as two numbers.
#[inline]
fn ends(rest: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        return (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
    }
    match (rest.first(), rest.get(rest.len() / 2), rest.last()) {
        (Some(&first), Some(&middle), Some(&last)) => {
            (u64::from(u32::from_le_bytes([first, middle, last, 0])), 0)
        }
        _ => (0, 0),
    }
}

/// The tag of a name with this hash.
#[inline]
const fn tag(hash: u64) -> u8 {
    let [.., top] = hash.to_le_bytes();
    if top == 0 { 1 } else { top }
}

/// The index of a file's exported names. A view.
#[derive(Clone, Copy, Debug)]
pub struct SymbolIndex<'d> {
    symbols: Symbols<'d>,
    buckets: &'d [[u8; BUCKET]],
    /// As the section says.
    names: u32,
    /// Where the payload begins in the file.
    at: u64,
}

impl<'d> SymbolIndex<'d> {
    /// The index that the file of `symbols` brings; `None` when it brings none, or one that this
    /// reader passes over: of another version, or for another number of symbols.
    ///
    /// # Errors
    /// As [`SymbolIndex::parse`].
    pub fn of(symbols: Symbols<'d>) -> Result<Option<Self>> {
        match symbols.sections.note(NAME) {
            Some(section) => Self::parse(section.data, section.offset, symbols),
            None => Ok(None),
        }
    }

    /// Reads the payload of the section, which begins at `at` in the file of `symbols`, in constant
    /// time; `None` for one of another version or for another number of symbols. Whether it finds what
    /// is there is for [`SymbolIndex::verify`] to say.
    ///
    /// # Errors
    /// [`HashIndexError::Header`].
    pub fn parse(payload: &'d [u8], at: u64, symbols: Symbols<'d>) -> Result<Option<Self>> {
        let broken = HashIndexError::Header { at };
        let version = u32_at(payload, 4).filter(|_| payload.starts_with(MAGIC)).ok_or(broken)?;
        if version != VERSION {
            return Ok(None);
        }
        let index = Self::split(payload, at, symbols).ok_or(broken)?;
        let stated = u32_at(payload, 8).map(u64::from);
        Ok((stated == Some(symbols.len() as u64)).then_some(index))
    }

    fn split(payload: &'d [u8], at: u64, symbols: Symbols<'d>) -> Option<Self> {
        let names = u32_at(payload, 12)?;
        let count = u32_at(payload, 16).filter(|count| count.is_power_of_two())?;
        let buckets = usize::try_from(count).ok()?.checked_mul(BUCKET)?;
        let buckets = payload.get(HEADER..)?.get(..buckets)?.as_chunks().0;
        Some(SymbolIndex { symbols, buckets, names, at })
    }

    /// How many names it has, as it says itself.
    pub fn names(&self) -> u32 {
        self.names
    }

    /// How many buckets it has.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// The exported symbol of this name: in a file that verifies, what [`Symbols::find_export`] finds;
    /// in another, one that it might find. Takes constant time but for comparing names.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Found> {
        let hash = hash(name);
        let bucket = self.buckets.get(first_bucket(hash, self.buckets.len()))?;
        let tags = u64_at(bucket, 0)?;
        let matches = slots_with(tags, hash);
        if matches == 0 && is_open(tags) {
            return None;
        }
        // Nearly every name that is there is the first that its tag leads to.
        if matches != 0
            && let Some(found) = self.symbols.export(symbol_in(bucket, matches), name)
        {
            return Some(found);
        }
        self.find_on(name, hash)
    }

    /// The whole search, of which [`SymbolIndex::find`] is the first step.
    fn find_on(&self, name: &[u8], hash: u64) -> Option<Found> {
        let mut at = first_bucket(hash, self.buckets.len());
        let mut candidates = 0;
        for _ in 0..PROBES {
            let bucket = self.buckets.get(at)?;
            let tags = u64_at(bucket, 0)?;
            let mut matches = slots_with(tags, hash);
            while matches != 0 {
                if let Some(found) = self.symbols.export(symbol_in(bucket, matches), name) {
                    return Some(found);
                }
                candidates += 1;
                if candidates == CANDIDATES {
                    return None;
                }
                matches &= matches - 1;
            }
            if is_open(tags) {
                return None;
            }
            at = next_bucket(at, self.buckets.len());
        }
        None
    }

    /// Checks the index against the symbols: every slot is the one that its symbol's name leads to, and
    /// every exported name leads to the symbol that counts. Time is linear in both.
    ///
    /// # Errors
    /// [`HashIndexError::Slot`], [`HashIndexError::NameCount`], [`HashIndexError::Symbol`], or what
    /// is wrong with a symbol.
    pub fn verify(&self) -> Result<()> {
        let mut found = 0u64;
        for (bucket, base) in self.buckets.iter().zip((self.at + HEADER as u64..).step_by(BUCKET)) {
            for slot in 0..SLOTS {
                let at = base + SLOTS as u64 + slot as u64 * 4;
                found += u64::from(self.verify_slot(bucket, slot, at)?);
            }
        }
        let (stated, at) = (self.names, self.at + 12);
        ensure(found == stated.into(), HashIndexError::NameCount { stated, found, at })?;
        for symbol in self.symbols.iter() {
            self.verify_symbol(&symbol?)?;
        }
        Ok(())
    }

    /// Whether the slot is taken.
    fn verify_slot(&self, bucket: &[u8; BUCKET], slot: usize, at: u64) -> Result<bool> {
        let tag = bucket.get(slot).copied().unwrap_or(0);
        let before = slot.checked_sub(1).and_then(|before| bucket.get(before));
        let number = symbol_at(bucket, slot);
        let wrong = HashIndexError::Slot { symbol: number, at };
        if tag == 0 {
            ensure(number == 0, wrong)?;
            return Ok(false);
        }
        let symbol = self.symbols.get(number).map_err(|_| wrong)?;
        let own_tag = self::tag(hash(symbol.name())) == tag;
        let filled = before != Some(&0);
        let leads_here = || self.find(symbol.name()).is_some_and(|found| found.index == number);
        ensure(own_tag && filled && leads_here(), wrong)?;
        Ok(true)
    }

    /// That the symbol, if it is an export, is found, or one of its name that counts before it.
    fn verify_symbol(&self, symbol: &Symbol<'_>) -> Result<()> {
        if !symbol.is_export() {
            return Ok(());
        }
        let rank = |binding, number| (binding == Binding::Weak, number);
        let own = rank(symbol.binding, symbol.index);
        let found = self.find(symbol.name());
        let is_first = found.is_some_and(|found| rank(found.binding, found.index) <= own);
        let (index, at) = (symbol.index, symbol.entry_offset);
        Ok(ensure(is_first, HashIndexError::Symbol { index, at })?)
    }
}

/// The bucket that a name with this hash begins at, of `buckets`, a power of two.
#[inline]
fn first_bucket(hash: u64, buckets: usize) -> usize {
    usize::try_from(hash & (buckets as u64).wrapping_sub(1)).unwrap_or(0)
}

fn next_bucket(at: usize, buckets: usize) -> usize {
    (at + 1) & buckets.wrapping_sub(1)
}

/// The highest bit of each byte of `tags` that is the tag of a name with this hash.
#[inline]
fn slots_with(tags: u64, hash: u64) -> u64 {
    zero_bytes(tags ^ (u64::from(tag(hash)) * LOW))
}

/// The symbol in the first slot of `matches`, in which there is one.
#[inline]
fn symbol_in(bucket: &[u8; BUCKET], matches: u64) -> u32 {
    let slot = usize::try_from(matches.trailing_zeros() / 8).unwrap_or(0);
    symbol_at(bucket, slot)
}

/// The number in a slot, which is one of the eight.
#[inline]
fn symbol_at(bucket: &[u8; BUCKET], slot: usize) -> u32 {
    u32_at(bucket, SLOTS + slot * 4).unwrap_or(0)
}

/// Whether a bucket with these tags has a slot left, so that no name had to go on to the next.
#[inline]
fn is_open(tags: u64) -> bool {
    tags >> 56 == 0
}

/// A name to be put into an index.
#[cfg(feature = "alloc")]
struct Name {
    hash: u64,
    number: u32,
    weak: bool,
}

/// The most names a bucket, on average.
#[cfg(feature = "alloc")]
const MOST_NAMES: usize = 5;

/// How often the buckets are doubled when a name finds no place.
#[cfg(feature = "alloc")]
const DOUBLINGS: u32 = 2;

/// The payload of the section for a module with these symbols; the same for the same symbols. `None`
/// when a name would be out of the reach of a lookup, which takes names that were made to collide, and when
/// there is no memory for it: the module is then better written without an index.
#[cfg(feature = "alloc")]
pub fn encode(symbols: &[NewSymbol<'_>]) -> Option<Vec<u8>> {
    let count = u32::try_from(symbols.len()).ok()?;
    let names = names_of(symbols).ok()?;
    // At most five names a bucket, so that few of them are full: of eight at the most one. To go
    // by fewer would nearly double the index of some files, which each load reads.
    let buckets = names.len().div_ceil(MOST_NAMES).checked_next_power_of_two()?;
    (0..=DOUBLINGS).find_map(|doublings| {
        let buckets = buckets.checked_shl(doublings)?;
        let len = buckets.checked_mul(BUCKET)?.checked_add(HEADER)?;
        let mut payload = try_with_capacity(len).ok()?;
        payload.extend_from_slice(MAGIC);
        for number in [VERSION, count, names.len().try_into().ok()?, buckets.try_into().ok()?] {
            payload.extend_from_slice(&number.to_le_bytes());
        }
        payload.resize(len, 0);
        let places = payload.get_mut(HEADER..)?.as_chunks_mut().0;
        names.iter().try_for_each(|name| put(places, name))?;
        Some(payload)
    })
}

/// The exported names, each once, with the symbol that counts.
#[cfg(feature = "alloc")]
fn names_of(symbols: &[NewSymbol<'_>]) -> Result<Vec<Name>, AllocError> {
    let text = |name: &Name| {
        let number = usize::try_from(name.number).ok();
        number.and_then(|number| symbols.get(number)).map_or(&[][..], |symbol| symbol.name)
    };
    let exports = (0..).zip(symbols).filter(|(_, symbol)| symbol.is_export());
    let mut names = try_collect(exports.map(|(number, symbol)| {
        let weak = symbol.binding == Binding::Weak;
        Name { hash: hash(symbol.name), number, weak }
    }))?;
    names.sort_unstable_by(|a, b| {
        let same = a.hash.cmp(&b.hash).then_with(|| text(a).cmp(text(b)));
        same.then_with(|| (a.weak, a.number).cmp(&(b.weak, b.number)))
    });
    names.dedup_by(|later, first| later.hash == first.hash && text(later) == text(first));
    Ok(names)
}

/// Puts a name into the first slot that a lookup of it finds empty; `None` when it finds none.
#[cfg(feature = "alloc")]
fn put(buckets: &mut [[u8; BUCKET]], name: &Name) -> Option<()> {
    let own = tag(name.hash);
    let mut at = first_bucket(name.hash, buckets.len());
    let mut candidates = 0;
    for _ in 0..PROBES {
        let bucket = buckets.get_mut(at)?;
        for slot in 0..SLOTS {
            let place = bucket.get_mut(slot)?;
            if *place == 0 {
                *place = own;
                let number = bucket.get_mut(SLOTS + slot * 4..)?.first_chunk_mut()?;
                *number = name.number.to_le_bytes();
                return Some(());
            }
            candidates += usize::from(*place == own);
            if candidates == CANDIDATES {
                return None;
            }
        }
        at = next_bucket(at, buckets.len());
    }
    None
}

/// The payload of a section without an index, which every reader skips. It preserves the section numbers of a file
/// that cannot be indexed.
#[cfg(feature = "alloc")]
pub(crate) const NO_INDEX: &[u8] = b"HASH\0\0\0\0";

/// The section with this payload, to be written.
pub fn section(payload: &[u8]) -> NewSection<'_> {
    NewSection { alignment: 8, ..NewSection::new(SectionKind::Note, NAME, Payload::Bytes(payload)) }
}

const _: () = assert!(NAME.len() < SECTION_NAME && SLOTS == size_of::<u64>());

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec;

    use super::*;

    /// The hash as its documentation tells it, with nothing read twice or at once.
    fn hash_as_told(name: &[u8]) -> u64 {
        let fold = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            (product as u64) ^ ((product >> 64) as u64)
        };
        let number = |bytes: &[u8]| {
            bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (mut state, mut left) = (PI[0] ^ name.len() as u64, name);
        while left.len() > 16 {
            state = fold(number(&left[..8]) ^ state, number(&left[8..16]) ^ PI[1]);
            left = &left[16..];
        }
        let len = left.len();
        let (a, b) = match len {
            0 => (0, 0),
            1..4 => (number(&[left[0], left[len / 2], left[len - 1]]), 0),
            4..8 => (number(&left[..4]), number(&left[len - 4..])),
            _ => (number(&left[..8]), number(&left[len - 8..])),
        };
        fold(fold(a ^ state, b ^ PI[1]), PI[2])
    }

    #[test]
    fn the_hash_is_what_is_told_of_it() {
        let bytes: Vec<u8> = (0..200u8).map(|byte| byte.wrapping_mul(167) ^ 0x5a).collect();
        for len in 0..bytes.len() {
            assert_eq!(hash(&bytes[..len]), hash_as_told(&bytes[..len]), "{len} bytes");
        }
    }

    /// These never change: files in the field depend on them.
    #[test]
    fn the_hash_is_fixed_for_good() {
        for (name, expected) in [
            (&b""[..], 0x9ba9_bea0_cd04_dfde),
            (b"a", 0x6980_9bd2_a286_6e9e),
            (b"add", 0xd387_c88c_4830_1b90),
            (b"main", 0x5488_0963_a2a5_71be),
            (b"function_1", 0x9c8d_a3ec_f57a_4d27),
            (b"sixteen_letters_", 0x2f33_dea8_bca7_5ac9),
            (b"_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE", 0x669f_175a_822d_d74f),
        ] {
            assert_eq!(hash(name), expected, "{}", name.escape_ascii());
        }
    }

    /// How many names there are of a family.
    const NAMES: usize = if cfg!(miri) { 100 } else { 1 << 16 };

    /// Names as programs have them, which differ in little.
    fn families() -> [Vec<String>; 4] {
        let numbers = 0..NAMES;
        [
            numbers.clone().map(|n| format!("function_{n}")).collect(),
            numbers.clone().map(|n| format!("{n:x}")).collect(),
            numbers
                .clone()
                .map(|n| format!("_ZN4core3ops{n:05}8function6FnOnce9call_onceE"))
                .collect(),
            numbers.map(|n| format!("fn$Vec${}${}", n % 256, n / 256)).collect(),
        ]
    }

    #[test]
    #[cfg_attr(miri, ignore = "a statistic of a quarter of a million names")]
    fn names_spread_over_buckets_and_tags_as_chance_would_have_it() {
        for names in families() {
            let (mut buckets, mut tags) = (vec![0u32; 1 << 14], [0u32; 256]);
            for name in &names {
                let hash = hash(name.as_bytes());
                buckets[first_bucket(hash, 1 << 14)] += 1;
                tags[usize::from(tag(hash))] += 1;
            }
            // Four names a bucket: 2.1 % have more than eight, 1.8 % have none.
            let share = |of: fn(&&u32) -> bool| buckets.iter().filter(of).count() as f64 / 16384.0;
            let (full, none) = (share(|n| **n > 8), share(|n| **n == 0));
            assert!((0.016..0.027).contains(&full), "{} {full}", names[1]);
            assert!((0.013..0.024).contains(&none), "{} {none}", names[1]);
            assert!(buckets.iter().all(|count| *count < 20), "{}", names[1]);
            // 256 names a tag, and twice as many have the one that stands for two; six sigma.
            assert_eq!(tags[0], 0);
            assert!(tags[2..].iter().all(|count| (160..=352).contains(count)), "{tags:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "a statistic of a hundred thousand names")]
    fn every_bit_of_a_name_changes_every_bit_of_the_hash_half_of_the_time() {
        for len in [1usize, 3, 4, 7, 8, 12, 16, 17, 33] {
            for bit in 0..len * 8 {
                let mut flips = [0u32; 64];
                for seed in 0..256u64 {
                    let bytes = [fold(seed, PI[0]), fold(seed, PI[1]), seed, !seed, seed << 7];
                    let mut name = bytes.map(u64::to_le_bytes).concat();
                    name.truncate(len);
                    let before = hash(&name);
                    name[bit / 8] ^= 1 << (bit % 8);
                    let changed = before ^ hash(&name);
                    (0..64).for_each(|at| flips[at] += u32::from(changed >> at & 1 != 0));
                }
                let even = flips.iter().all(|flips| (64..=192).contains(flips));
                assert!(even, "bit {bit} of {len} bytes: {flips:?}");
            }
        }
    }

    #[test]
    fn many_names_all_find_a_place_in_the_fewest_buckets() {
        for names in families() {
            for count in [1, 8, 9, 1000, 1024, NAMES].map(|count| count.min(NAMES)) {
                let symbols: Vec<_> = names[..count]
                    .iter()
                    .map(|name| NewSymbol { name: name.as_bytes(), ..NewSymbol::default() })
                    .collect();
                let payload = encode(&symbols).unwrap();
                let buckets = count.div_ceil(MOST_NAMES).next_power_of_two();
                assert_eq!(payload.len(), HEADER + BUCKET * buckets, "{count} of {}", names[1]);
            }
        }
    }
}
