//! Hashes of the structs and enums that types name. They differ where two versions of a file declare one of them
//! differently.

use core::fmt::Write;

use super::show::Shown;
use super::*;
use crate::alloc_util::{AllocError, hash, try_filled, try_resize};

/// The hashes by type.
#[derive(Default)]
pub(in crate::source) struct LayoutHashes(Vec<Option<u64>>);

impl LayoutHashes {
    /// The hash of the declarations of the structs and enums that the types name, and of those that these name. 0 if the
    /// types name none.
    pub(in crate::source) fn of(
        &mut self,
        program: &Program<'_, '_>,
        types: impl Iterator<Item = TypeId>,
    ) -> Result<u64, AllocError> {
        let mut all = Hasher(0);
        for ty in types {
            let hash = self.of_type(program, ty)?;
            if hash != 0 {
                all.add(&hash.to_le_bytes());
            }
        }
        Ok(all.0)
    }

    fn of_type(&mut self, program: &Program<'_, '_>, ty: TypeId) -> Result<u64, AllocError> {
        if program.types.parts(ty).is_empty()
            && !matches!(program.types.head(ty), Head::Struct(_) | Head::Enum(_))
        {
            return Ok(0);
        }
        let index = usize::try_from(ty.0).map_err(|_| AllocError)?;
        let wanted = index.saturating_add(1).max(self.0.len());
        try_resize(&mut self.0, wanted, None)?;
        let known = self.0.get_mut(index).ok_or(AllocError)?;
        match *known {
            Some(hash) => Ok(hash),
            None => Ok(*known.insert(program.layout_hash(ty)?)),
        }
    }
}

/// The FNV-1a hash of what is written; 0 as long as nothing is.
struct Hasher(u64);

impl Hasher {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = match self.0 {
            0 => hash::fnv1a_64(bytes),
            hash => hash::fnv1a_64_more(hash, bytes),
        };
    }
}

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

impl Program<'_, '_> {
    /// Declarations are hashed in the order in which they are met, each once: types may name themselves by functions.
    fn layout_hash(&self, ty: TypeId) -> Result<u64, AllocError> {
        let mut hasher = Hasher(0);
        let mut structs = try_filled(self.structs.len(), &false)?;
        let mut enums = try_filled(self.enums.len(), &false)?;
        let mut pending = Vec::new();
        try_push(&mut pending, ty)?;
        while let Some(ty) = pending.pop() {
            for &part in self.types.parts(ty) {
                try_push(&mut pending, part)?;
            }
            let seen = match self.types.head(ty) {
                Head::Struct(number) => at_mut(&mut structs, number),
                Head::Enum(number) => at_mut(&mut enums, number),
                _ => None,
            };
            if seen.is_some_and(|seen| !core::mem::replace(seen, true)) {
                self.hash_declaration(ty, &mut hasher, &mut pending)?;
            }
        }
        Ok(hasher.0)
    }

    /// Adds the fields of a struct or enum, whose types are then pending.
    fn hash_declaration(
        &self,
        ty: TypeId,
        hasher: &mut Hasher,
        pending: &mut Vec<TypeId>,
    ) -> Result<(), AllocError> {
        // Writing to a hasher does not fail.
        let _ = write!(hasher, "{}{{", self.nominal_name(ty));
        let mut add = |hasher: &mut Hasher, list: List| {
            for field in range(&self.fields, list) {
                let shown = Shown { program: self, ty: field.ty, scope: &[] };
                let _ = write!(hasher, "{}:{shown};", self.name(field.name));
                try_push(pending, field.ty)?;
            }
            Ok(())
        };
        match self.types.head(ty) {
            Head::Struct(number) => {
                add(hasher, at(&self.structs, number).map_or(List::default(), |i| i.fields))?;
            }
            Head::Enum(number) => {
                for variant in self.enum_variants(number) {
                    let (name, number) = (self.name(variant.name), variant.discriminant);
                    let _ = write!(hasher, "{name}={number}(");
                    add(hasher, variant.fields)?;
                }
            }
            _ => {}
        }
        hasher.add(b"}");
        Ok(())
    }
}
