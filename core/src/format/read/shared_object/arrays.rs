//! The functions that a loader calls when it opens and closes a shared object.
//!
//! The code of these functions is not checked. The entry points are: a relocation must fill in every entry of an array,
//! and addresses known before loading must be in executable segments.

use crate::format::error::{Result, SharedObjectErrorKind as Kind, ensure};
use crate::format::read::shared_object::dynamic::{Dynamic, Entry};
use crate::format::read::shared_object::image::{Image, Range};
use crate::format::wire::elf_tag::Tag;

/// The arrays of functions and their sizes.
const ARRAYS: [(Tag, Tag); 3] = [
    (Tag::PREINIT_ARRAY, Tag::PREINIT_ARRAYSZ),
    (Tag::INIT_ARRAY, Tag::INIT_ARRAYSZ),
    (Tag::FINI_ARRAY, Tag::FINI_ARRAYSZ),
];

/// An array of functions.
#[derive(Clone, Copy)]
struct Array {
    entry: Entry,
    range: Range,
    word: u64,
    /// The number of relocations that fill in an entry.
    relocated: u64,
}

/// The arrays of a shared object.
pub(crate) struct Arrays([Option<Array>; 3]);

impl Arrays {
    /// Reads the arrays, and checks the functions outside them.
    ///
    /// # Errors
    /// An array that is not in the file or overlaps another array; a function outside the code.
    pub(crate) fn read(dynamic: &Dynamic<'_>) -> Result<Self> {
        for entry in [Tag::INIT, Tag::FINI].into_iter().filter_map(|tag| dynamic.get(tag)) {
            let address = entry.value;
            ensure(
                dynamic.image.is_executable(address),
                entry.refuse(Kind::NotExecutable { address }),
            )?;
        }
        let mut arrays = Self([None; 3]);
        for ((tag, size), index) in ARRAYS.into_iter().zip(0..) {
            let Some(entry) = dynamic.get(tag) else { continue };
            let array = read(dynamic, entry, size)?;
            let overlaps = arrays.0.iter().flatten().any(|other| other.range.overlaps(array.range));
            ensure(!overlaps, entry.refuse(Kind::ArraysOverlap))?;
            if let Some(slot) = arrays.0.get_mut(index) {
                *slot = Some(array);
            }
        }
        Ok(arrays)
    }

    /// Records that a relocation writes to `place`, with the value `target` if it is known.
    ///
    /// # Errors
    /// A place that is not a whole entry; a target outside the code.
    pub(crate) fn fill(
        &mut self,
        image: &Image<'_>,
        place: Range,
        target: Option<u64>,
    ) -> Result<(), Kind> {
        let array = self.0.iter_mut().flatten().find(|array| array.range.overlaps(place));
        let Some(array) = array else { return Ok(()) };
        let offset = place.start.wrapping_sub(array.range.start);
        let is_whole = place.size == array.word && offset.is_multiple_of(array.word);
        ensure(is_whole, Kind::Misaligned { address: place.start })?;
        if let Some(address) = target.filter(|&address| !image.is_executable(address)) {
            return Err(Kind::NotExecutable { address });
        }
        array.relocated += 1;
        Ok(())
    }

    /// Checks that every entry is filled in.
    ///
    /// # Errors
    /// The first array whose number of relocations differs from its number of entries.
    pub(crate) fn check_filled(&self) -> Result<()> {
        for Array { entry, range, word, relocated } in self.0.iter().flatten() {
            let (entries, relocated) = (range.size / word, *relocated);
            ensure(entries == relocated, entry.refuse(Kind::FunctionArray { entries, relocated }))?;
        }
        Ok(())
    }
}

fn read(dynamic: &Dynamic<'_>, entry: Entry, size: Tag) -> Result<Array> {
    let (word, size) = (dynamic.word_size(), dynamic.require(size)?);
    let partial = size.refuse(Kind::PartialEntry { size: size.value });
    ensure(size.value.is_multiple_of(word), partial)?;
    dynamic.table(&entry, size.value, word)?;
    let range = Range { start: entry.value, size: size.value };
    Ok(Array { entry, range, word, relocated: 0 })
}
