//! The two hash tables of a shared object, and the number of symbols that they refer to.
//!
//! A lookup follows a chain until a symbol has the name, so each chain must end. Chains of the GNU table are stored
//! back to back and end with a set bit: if the last one ends, all do. Chains of the System V table are linked lists: if
//! all of them together have at most as many steps as the table has symbols, no chain is a cycle.

use crate::format::error::{Result, SharedObjectErrorKind as Kind, ensure};
use crate::format::read::shared_object::dynamic::Dynamic;
use crate::format::read::shared_object::image::{EM_ALPHA, EM_S390, Range};
use crate::format::wire::elf_tag::Tag;

/// A checked hash table.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hashed {
    /// The greatest symbol index in the table, plus one.
    pub(crate) symbols: u64,
    /// The addresses of the table.
    pub(crate) range: Range,
}

/// Checks `DT_GNU_HASH`, if it is present.
///
/// # Errors
/// A header, a bucket or a chain that cannot be followed.
pub(crate) fn gnu(dynamic: &Dynamic<'_>) -> Result<Hashed> {
    const HEADER: u64 = 16;
    let Some(entry) = dynamic.get(Tag::GNU_HASH) else { return Ok(Hashed::default()) };
    let fault = |kind| entry.refuse(kind);
    let table = dynamic.table_from(&entry, 4)?;
    let word = table.encoding.word_size();
    let [buckets, first, filter, shift] = [0, 1, 2, 3].map(|index| table.nth_u32(index));
    let (Some(buckets), Some(first), Some(filter), Some(shift)) = (buckets, first, filter, shift)
    else {
        return Err(fault(Kind::NotLoaded));
    };
    let is_sound = buckets != 0 && filter.is_power_of_two() && shift < 32;
    ensure(is_sound, fault(Kind::HashHeader))?;
    let buckets_at = HEADER + u64::from(filter) * word;
    let size = u64::from(buckets) * 4;
    let bucket_view = table.part(buckets_at, size).ok_or(fault(Kind::NotLoaded))?;
    let mut last = 0;
    for symbol in bucket_view.entries(4).filter_map(|bucket| bucket.u32(0)) {
        ensure(symbol == 0 || symbol >= first, fault(Kind::Bucket { symbol }))?;
        last = last.max(symbol);
    }
    let chains = table.from(buckets_at + size).ok_or(fault(Kind::NotLoaded))?;
    let mut hashed =
        Hashed { symbols: 0, range: Range { start: entry.value, size: buckets_at + size } };
    if last == 0 {
        return Ok(hashed);
    }
    let skipped = u64::from(last.saturating_sub(first));
    let chain = chains.from(skipped * 4).ok_or(fault(Kind::Chain))?;
    let end = chain.entries(4).position(|link| link.u32(0).is_some_and(|link| link & 1 != 0));
    let length = end.ok_or(fault(Kind::Chain))? as u64 + 1;
    hashed.symbols = u64::from(last) + length;
    hashed.range.size += (skipped + length) * 4;
    Ok(hashed)
}

/// Checks `DT_HASH`, if it is present.
///
/// # Errors
/// A table that is not in the file, or a chain that cannot be followed.
pub(crate) fn system_v(dynamic: &Dynamic<'_>) -> Result<Hashed> {
    let Some(entry) = dynamic.get(Tag::HASH) else { return Ok(Hashed::default()) };
    let fault = |kind| entry.refuse(kind);
    let image = dynamic.image;
    let is_wide = image.file.encoding.is_64 && matches!(image.machine, EM_ALPHA | EM_S390);
    if is_wide {
        // The fields have 64 bits, on a machine that this loader does not run on.
        return Ok(Hashed::default());
    }
    let start = dynamic.table(&entry, 8, 4)?;
    let (buckets, symbols) = (start.u32(0).unwrap_or(0), start.u32(4).unwrap_or(0));
    ensure(buckets != 0, fault(Kind::HashHeader))?;
    let (buckets, symbols) = (u64::from(buckets), u64::from(symbols));
    let size = 8 + 4 * (buckets + symbols);
    let table = dynamic.table(&entry, size, 4)?;
    let mut rest = symbols;
    for bucket in 0..buckets {
        let mut symbol = table.nth_u32(2 + bucket).unwrap_or(0);
        while symbol != 0 {
            rest = rest.checked_sub(1).ok_or(fault(Kind::Chain))?;
            let index = u64::from(symbol);
            ensure(index < symbols, fault(Kind::SymbolIndex { index }))?;
            symbol = table.nth_u32(2 + buckets + index).unwrap_or(0);
        }
    }
    Ok(Hashed { symbols, range: Range { start: entry.value, size } })
}
