//! `.smf.hash`: a hash index of the exported names, for lookups without a scan of the symbol table.
//!
//! The symbol table is not sorted for lookups, and its own hashes are hints that one writer omits. This section maps a
//! name to the number of its symbol. The index is a hint: a reader compares the symbol's name and checks that the
//! symbol is an export. Without the section, or with an unsupported version, a reader looks names up in another way.
//!
//! This is an extension of this project, in a Note section called [`NAME`]. In the native layout, which has no notes,
//! the section has the number of Debug, and the name takes precedence. The section is never compressed. All numbers are
//! little-endian, and nothing is aligned:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | 0 | 4 bytes | `HASH` |
//! | 4 | u32 | version: 1. A reader of another version skips the section |
//! | 8 | u32 | number of symbols in the file's table, exported or not |
//! | 12 | u32 | number of names in the index |
//! | 16 | u32 | b, the number of buckets, a power of two |
//! | 20 | 40 bytes each | buckets 0 to b-1 |
//!
//! If the number of symbols differs from that of the file, a writer without support for the index has changed the
//! table, and readers skip the section.
//!
//! A bucket has eight slots, filled from the first slot on:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | 0 | u8 each | tags of slots 0 to 7; 0 if the slot is empty |
//! | 8 | u32 each | symbol numbers of slots 0 to 7; 0 if the slot is empty |
//!
//! Let h be the [`hash`] of a name. Its tag is the top byte of h, or 1 if that byte is 0. Its slot is the first empty
//! slot of bucket h mod b or, if that bucket is full, of the next one; bucket 0 follows the last bucket. A name is at
//! most [`PROBES`] buckets away, counting the first, and at most three slots with the same tag precede it. Each
//! exported name (global or weak) has exactly one slot, with the number of the symbol to which the name resolves: the
//! first global one, else the first weak one.
//!
//! The eight tags serve as a filter and as an index. A lookup compares them in one step. For an absent name, one load
//! of one word nearly always proves the absence; for a present name, it nearly always leads to the right symbol. The
//! classic form (a Bloom filter, hash chains, symbols) needs one more load for both, and as many bytes.
//!
//! A wrong index hides names: a lookup in an unverified file trusts a miss. The lookup never returns a symbol of
//! another name or one that is not exported, and its work is bounded. [`SymbolIndex::verify`] refuses every index whose
//! lookups differ from a search of the symbol table.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

#[cfg(feature = "alloc")]
use crate::alloc_util::{AllocError, try_collect, try_with_capacity};
use crate::format::error::{ExtensionError, Result, ensure};
use crate::format::model::{Binding, SectionKind};
use crate::format::read::symbol::{Found, Symbol, Symbols};
use crate::format::wire::{LOW, SECTION_NAME, note_name, u32_at, u64_at, zero_bytes};
#[cfg(feature = "alloc")]
use crate::format::write::module::NewSymbol;
use crate::format::write::module::{NewSection, Payload};

/// The name of the section.
pub const NAME: &[u8] = note_name::HASH_INDEX;
/// The maximum number of buckets that a lookup visits.
pub const PROBES: usize = 8;
/// The minimum number of exported names for which an index pays off.
pub const WORTHWHILE: usize = 8;

const MAGIC: &[u8; 4] = b"HASH";
const VERSION: u32 = 1;
const HEADER: usize = 20;
const SLOTS: usize = 8;
const BUCKET: usize = SLOTS + SLOTS * 4;
/// The maximum number of slots with a matching tag that a lookup visits.
const CANDIDATES: usize = 4;

/// The first 192 bits of the fraction of pi, as nothing-up-my-sleeve constants.
const PI: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];

/// The hash of a name. It is part of the file format and never changes.
///
/// `fold(x, y)` is the 128-bit product of x and y, its upper half xor its lower half. The initial state is
/// `PI[0] ^ length`. While more than 16 bytes are left, the next 16 are read as two u64, a and b, and the state becomes
/// `fold(a ^ state, b ^ PI[1])`. The remaining bytes yield a and b:
///
/// * from 8 bytes on: the first eight and the last eight;
/// * from 4 bytes on: the first four and the last four;
/// * below 4 bytes: a is the first, the middle (number length / 2 of the remaining ones) and the last byte, from the
///   lowest byte up, and b is 0;
/// * without remaining bytes: both are 0.
///
/// The hash is `fold(fold(a ^ state, b ^ PI[1]), PI[2])`.
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

fn step(state: u64, a: u64, b: u64) -> u64 {
    fold(a ^ state, b ^ PI[1])
}

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
const fn tag(hash: u64) -> u8 {
    let [.., top] = hash.to_le_bytes();
    if top == 0 { 1 } else { top }
}

/// The index of a file's exported names, as a view of its section.
#[derive(Clone, Copy, Debug)]
pub struct SymbolIndex<'d> {
    symbols: Symbols<'d>,
    buckets: &'d [[u8; BUCKET]],
    /// The number of names that the section states.
    names: u32,
    /// The offset of the payload in the file.
    at: u64,
}

impl<'d> SymbolIndex<'d> {
    /// The index in the file of `symbols`. Returns `None` without the section, for another version, or for another
    /// number of symbols.
    ///
    /// # Errors
    /// As [`SymbolIndex::parse`].
    pub fn of(symbols: Symbols<'d>) -> Result<Option<Self>> {
        match symbols.sections.note(NAME) {
            Some(section) => Self::parse(section.data, section.offset, symbols),
            None => Ok(None),
        }
    }

    /// Parses the payload of the section, which starts at offset `at` in the file of `symbols`, in constant time.
    /// Returns `None` for another version or for another number of symbols. The slots are not checked;
    /// [`SymbolIndex::verify`] does that.
    ///
    /// # Errors
    /// [`ExtensionError::HashIndexHeader`].
    pub fn parse(payload: &'d [u8], at: u64, symbols: Symbols<'d>) -> Result<Option<Self>> {
        let broken = ExtensionError::HashIndexHeader { at };
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

    /// The number of names that the index states.
    pub fn names(&self) -> u32 {
        self.names
    }

    /// The number of buckets.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Looks up the exported symbol with this name. In a file that verifies, the result is that of
    /// [`Symbols::find_export`]; in any other file, it is one that [`Symbols::find_export`] might return. Takes
    /// constant time, apart from the comparison of names.
    // Row "look up one of 1,000 symbols, index in the file": the result stays in registers.
    #[inline(always)]
    pub fn find(&self, name: &[u8]) -> Option<Found> {
        let hash = hash(name);
        let bucket = self.buckets.get(first_bucket(hash, self.buckets.len()))?;
        let tags = u64_at(bucket, 0)?;
        let matches = slots_with(tags, hash);
        if matches == 0 && is_open(tags) {
            return None;
        }
        // Nearly every present name is in the first slot with its tag.
        if matches != 0
            && let Some(found) = self.symbols.export(symbol_in(bucket, matches), name)
        {
            return Some(found);
        }
        self.find_on(name, hash)
    }

    /// The complete lookup; [`SymbolIndex::find`] is its first step.
    // Out of line, as a loop around that step would need more registers than there are.
    #[cold]
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

    /// Checks the index against the symbols: a lookup of the name in every slot finds that slot, and every exported
    /// name is found with the symbol to which it resolves. Time is linear in both.
    ///
    /// # Errors
    /// [`ExtensionError::HashIndexSlot`], [`ExtensionError::HashIndexNameCount`], [`ExtensionError::HashIndexSymbol`], or the error of an invalid
    /// symbol.
    pub fn verify(&self) -> Result<()> {
        let mut found = 0u64;
        for (bucket, base) in self.buckets.iter().zip((self.at + HEADER as u64..).step_by(BUCKET)) {
            for slot in 0..SLOTS {
                let at = base + SLOTS as u64 + slot as u64 * 4;
                found += u64::from(self.verify_slot(bucket, slot, at)?);
            }
        }
        let (stated, at) = (self.names, self.at + 12);
        ensure(found == stated.into(), ExtensionError::HashIndexNameCount { stated, found, at })?;
        for symbol in self.symbols.iter() {
            self.verify_symbol(&symbol?)?;
        }
        Ok(())
    }

    /// Checks one slot and returns whether it is occupied.
    fn verify_slot(&self, bucket: &[u8; BUCKET], slot: usize, at: u64) -> Result<bool> {
        let tag = bucket.get(slot).copied().unwrap_or(0);
        let before = slot.checked_sub(1).and_then(|before| bucket.get(before));
        let number = symbol_at(bucket, slot);
        let wrong = ExtensionError::HashIndexSlot { symbol: number, at };
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

    /// Checks that a lookup of an exported symbol finds it or a symbol of the same name that precedes it in resolution.
    fn verify_symbol(&self, symbol: &Symbol<'_>) -> Result<()> {
        if !symbol.is_export() {
            return Ok(());
        }
        let rank = |binding, number| (binding == Binding::Weak, number);
        let own = rank(symbol.binding, symbol.index);
        let found = self.find(symbol.name());
        let is_first = found.is_some_and(|found| rank(found.binding, found.index) <= own);
        let (index, at) = (symbol.index, symbol.entry_offset);
        Ok(ensure(is_first, ExtensionError::HashIndexSymbol { index, at })?)
    }
}

/// The first bucket of a name with this hash, of `buckets`, a power of two.
fn first_bucket(hash: u64, buckets: usize) -> usize {
    usize::try_from(hash & (buckets as u64).wrapping_sub(1)).unwrap_or(0)
}

fn next_bucket(at: usize, buckets: usize) -> usize {
    (at + 1) & buckets.wrapping_sub(1)
}

/// Sets the highest bit of each byte of `tags` that equals the tag of a name with this hash.
fn slots_with(tags: u64, hash: u64) -> u64 {
    zero_bytes(tags ^ (u64::from(tag(hash)) * LOW))
}

/// The symbol in the first slot of `matches`, which must not be 0.
fn symbol_in(bucket: &[u8; BUCKET], matches: u64) -> u32 {
    let slot = usize::try_from(matches.trailing_zeros() / 8).unwrap_or(0);
    symbol_at(bucket, slot)
}

/// The symbol number in `slot`, 0 to 7.
fn symbol_at(bucket: &[u8; BUCKET], slot: usize) -> u32 {
    u32_at(bucket, SLOTS + slot * 4).unwrap_or(0)
}

/// Whether a bucket with these tags has an empty slot, so that no name overflowed to the next bucket.
fn is_open(tags: u64) -> bool {
    tags >> 56 == 0
}

/// A name to be inserted into an index.
#[cfg(feature = "alloc")]
struct Name {
    hash: u64,
    number: u32,
    weak: bool,
}

/// The maximum average number of names in a bucket.
#[cfg(feature = "alloc")]
const MOST_NAMES: usize = 5;

/// How often the number of buckets is doubled when a name cannot be inserted.
#[cfg(feature = "alloc")]
const DOUBLINGS: u32 = 2;

/// Encodes the payload of the section for a module with these symbols. The same symbols yield the same bytes. Returns
/// `None` if a name cannot be inserted within the reach of a lookup, which requires names chosen to collide, and
/// without memory. The module is then written without an index.
#[cfg(feature = "alloc")]
pub fn encode(symbols: &[NewSymbol<'_>]) -> Option<Vec<u8>> {
    let count = u32::try_from(symbols.len()).ok()?;
    let names = names_of(symbols).ok()?;
    // At most five names a bucket, so that few buckets are full: at most one in eight. A lower limit would nearly
    // double the index of some files, which each load reads.
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

/// The exported names, each once, with the symbol to which it resolves.
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

/// Inserts a name into the first slot that a lookup finds empty; `None` if a lookup reaches no empty slot.
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

/// A section with this payload.
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

    /// The hash exactly as documented: bytewise, without overlapping reads.
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
    fn hash_has_the_documented_values() {
        let bytes: Vec<u8> = (0..200u8).map(|byte| byte.wrapping_mul(167) ^ 0x5a).collect();
        for len in 0..bytes.len() {
            assert_eq!(hash(&bytes[..len]), hash_as_told(&bytes[..len]), "{len} bytes");
        }
    }

    /// These values never change: existing files depend on them.
    #[test]
    fn hash_never_changes_between_versions() {
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

    /// The number of names in a family.
    const NAMES: usize = if cfg!(miri) { 100 } else { 1 << 16 };

    /// Names as in programs, which differ in few bytes.
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
    fn names_spread_evenly_over_buckets_and_tags() {
        for names in families() {
            let (mut buckets, mut tags) = (vec![0u32; 1 << 14], [0u32; 256]);
            for name in &names {
                let hash = hash(name.as_bytes());
                buckets[first_bucket(hash, 1 << 14)] += 1;
                tags[usize::from(tag(hash))] += 1;
            }
            // Four names a bucket on average: 2.1 % of the buckets have more than eight, 1.8 % have none.
            let share = |of: fn(&&u32) -> bool| buckets.iter().filter(of).count() as f64 / 16384.0;
            let (full, none) = (share(|n| **n > 8), share(|n| **n == 0));
            assert!((0.016..0.027).contains(&full), "{} {full}", names[1]);
            assert!((0.013..0.024).contains(&none), "{} {none}", names[1]);
            assert!(buckets.iter().all(|count| *count < 20), "{}", names[1]);
            // 256 names for each tag, and twice as many for tag 1, which represents two hash values; six sigma.
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
    fn many_names_fill_the_minimum_of_buckets() {
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
