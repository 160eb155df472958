//! Interned names, and the hash index that they and other tables share.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, hash, try_filled, try_push};

/// An interned name: equal texts have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(pub(super) u32);

/// The empty position of an index.
const NIL: u32 = u32::MAX;

/// Maps hashes to numbers of entries in a list of the caller: open addressing with linear probing.
#[derive(Clone, Debug, Default)]
pub(super) struct HashIndex {
    /// Hashes, with the numbers of their entries; the length is a power of two.
    slots: Vec<(u32, u32)>,
    count: usize,
}

impl HashIndex {
    /// The number of the entry with `hash` that `is_same` accepts.
    pub(super) fn find(&self, hash: u32, is_same: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = usize::try_from(hash).unwrap_or(0) & mask;
        loop {
            let &(known, entry) = self.slots.get(at)?;
            if entry == NIL {
                return None;
            }
            if known == hash && is_same(entry) {
                return Some(entry);
            }
            at = (at + 1) & mask;
        }
    }

    /// An index that has memory for `count` entries.
    pub(super) fn with_capacity(count: usize) -> Result<Self, AllocError> {
        let slots = (count + count / 2).next_power_of_two().max(16);
        Ok(Self { slots: try_filled(slots, &(0, NIL))?, count: 0 })
    }

    /// Adds an entry that [`find`](Self::find) has not found.
    pub(super) fn insert(&mut self, hash: u32, entry: u32) -> Result<(), AllocError> {
        // At most three quarters are in use.
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            let mut larger = Self { slots: Vec::new(), count: 0 };
            larger.slots = try_filled((self.slots.len() * 2).max(16), &(0, NIL))?;
            for &(hash, entry) in self.slots.iter().filter(|slot| slot.1 != NIL) {
                larger.place(hash, entry);
            }
            *self = larger;
        }
        self.place(hash, entry);
        Ok(())
    }

    fn place(&mut self, hash: u32, entry: u32) {
        let mask = self.slots.len().saturating_sub(1);
        let mut at = usize::try_from(hash).unwrap_or(0) & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.1 == NIL {
                *slot = (hash, entry);
                self.count += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

/// The names of a run: those that the compiler knows, then those of the sources.
#[derive(Clone, Debug, Default)]
pub(super) struct Names<'s> {
    /// The texts of the names behind those of [`KNOWN`].
    texts: Vec<&'s str>,
    index: HashIndex,
}

/// Names that the compiler itself asks for, in the order of their numbers.
macro_rules! known {
    ($($name:ident $text:literal)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u32)]
        enum Known {
            $($name,)*
        }

        impl Name {
            $(pub(super) const $name: Self = Self(Known::$name as u32);)*
        }

        const KNOWN: &[&str] = &[$($text,)*];
    };
}

known! {
    // Of a token that is no word.
    NONE ""
    // Keywords.
    FN "fn" VAL "val" VAR "var" LET "let" MUT "mut" CONST "const" IF "if" ELIF "elif" ELSE "else" FOR "for"
    WHILE "while" BREAK "break" CONTINUE "continue" PASS "pass" RETURN "return" MATCH "match" CASE "case"
    IN "in" IS "is" NOT "not" AND "and" OR "or" XOR "xor" TRUE "true" FALSE "false" NIL "nil" AS "as"
    STRUCT "struct" ENUM "enum" IMPL "impl" EXTERN "extern" USE "use" EXPORT "export" PUB "pub" ASSERT "assert"
    // Words that start a construct outside of the subset, from `class` to `shared`.
    CLASS "class" TRAIT "trait" MIXIN "mixin" ACTOR "actor" UNION "union" NEWTYPE "newtype" UNIT "unit"
    BITFIELD "bitfield" MACRO "macro" COMPTIME "comptime" ASM "asm" ASYNC "async" AWAIT "await" SPAWN "spawn"
    YIELD "yield" GO "go" GEN "gen" KERNEL "kernel" GPU "gpu" DEFER "defer" ERRDEFER "errdefer" WITH "with"
    TRY "try" THROW "throw" PANIC "panic" REQUIRES "requires" ENSURES "ensures" INVARIANT "invariant"
    DECREASES "decreases" FORALL "forall" EXISTS "exists" ASSUME "assume" ADMIT "admit" GHOST "ghost"
    LAZY "lazy" ON "on" BIND "bind" FORBID "forbid" ALLOW "allow" MOCK "mock" EXTEND "extend"
    IMPLEMENTS "implements" INTERFACE "interface" HANDLE_POOL "handle_pool" LITERAL "literal" STATIC "static"
    MOVE "move" DYN "dyn" SKIP "skip" SUPER "super" SHARED "shared"
    // Types.
    I8 "i8" I16 "i16" I32 "i32" I64 "i64" ISIZE "isize" INT "int" U8 "u8" U16 "u16" U32 "u32" U64 "u64"
    USIZE "usize" F32 "f32" F64 "f64" FLOAT "float" BOOL "bool" TEXT "text" STR "str" STRING "String" VOID "void"
    SELF_TYPE "Self"
    // Types outside of the subset.
    ISO "iso" ANY "Any" ANY_OLD "ANY" DICT "Dict" SET "Set" LIST "List" MAP "Map" OPTION "Option"
    RESULT "Result" VEC "vec"
    // Words with a meaning in one position, and functions and methods without a declaration.
    WHERE "where" LOOP "loop" ME "me" SELF "self" UNDERSCORE "_" MAIN "main" LEN "len" LENGTH "length"
    PRINT "print" EPRINT "eprint" PRINT_RAW "print_raw" RANGE "range" ENUMERATE "enumerate" ABS "abs"
    FDIV "fdiv" SQRT "sqrt" MIN "min" MAX "max" FLOOR "floor" TO_I64 "to_i64" TO_I32 "to_i32"
    TO_F64 "to_f64" TO_F32 "to_f32" TO_U64 "to_u64"
}

/// The positions of [`KNOWN_INDEX`].
const POSITIONS: usize = 1024;

/// The numbers of known names by hash: open addressing with linear probing; [`u8::MAX`] for an empty position.
static KNOWN_INDEX: [u8; POSITIONS] = known_index();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of bounds"
)]
const fn known_index() -> [u8; POSITIONS] {
    let mut index = [u8::MAX; POSITIONS];
    let mut number = 0;
    while number < KNOWN.len() {
        let mut at = hash::fnv1a_32(KNOWN[number].as_bytes()) as usize % POSITIONS;
        while index[at] != u8::MAX {
            at = (at + 1) % POSITIONS;
        }
        index[at] = number as u8;
        number += 1;
    }
    index
}

fn find_known(hash: u32, text: &str) -> Option<Name> {
    let mut at = usize::try_from(hash).unwrap_or(0);
    loop {
        let number =
            KNOWN_INDEX.get(at % POSITIONS).copied().filter(|&number| number != u8::MAX)?;
        if KNOWN.get(usize::from(number)) == Some(&text) {
            return Some(Name(number.into()));
        }
        at += 1;
    }
}

impl<'s> Names<'s> {
    pub(super) fn intern(&mut self, text: &'s str) -> Result<Name, AllocError> {
        let hash = hash::fnv1a_32(text.as_bytes());
        if let Some(known) = self.find_hashed(hash, text) {
            return Ok(known);
        }
        let number = u32::try_from(KNOWN.len() + self.texts.len()).map_err(|_| AllocError)?;
        try_push(&mut self.texts, text)?;
        self.index.insert(hash, number)?;
        Ok(Name(number))
    }

    /// The name with this text, if a source or the compiler has it.
    pub(super) fn find(&self, text: &str) -> Option<Name> {
        self.find_hashed(hash::fnv1a_32(text.as_bytes()), text)
    }

    #[inline]
    fn find_hashed(&self, hash: u32, text: &str) -> Option<Name> {
        let find = || self.index.find(hash, |entry| self.text(Name(entry)) == text).map(Name);
        find_known(hash, text).or_else(find)
    }

    pub(super) fn text(&self, name: Name) -> &'s str {
        let index = usize::try_from(name.0).unwrap_or(usize::MAX);
        let text = match index.checked_sub(KNOWN.len()) {
            Some(index) => self.texts.get(index),
            None => KNOWN.get(index),
        };
        text.copied().unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn equal_texts_have_one_name_and_known_names_have_fixed_numbers() {
        let texts: Vec<_> = (0..1000).map(|number: u32| number.to_string()).collect();
        let mut names = Names::default();
        let first: Vec<_> = texts.iter().map(|text| names.intern(text).unwrap()).collect();
        let again: Vec<_> = texts.iter().map(|text| names.intern(text).unwrap()).collect();
        assert_eq!(first, again);
        assert_eq!(names.text(*first.last().unwrap()), "999");
        assert_eq!(names.find("self"), Some(Name::SELF));
        assert_eq!(names.find("Self"), Some(Name::SELF_TYPE));
        assert_eq!(names.find("absent"), None);
        for (number, text) in (0..).zip(KNOWN) {
            assert_eq!(
                (names.find(text), names.intern(text)),
                (Some(Name(number)), Ok(Name(number)))
            );
        }
    }
}
