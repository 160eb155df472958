//! Hashes of the types of functions, by which separate compilations compare them.
//!
//! Structs and enums count by their fields and variants, not by their names: files may declare the same one under other
//! names.

use core::fmt::Write;

use super::*;
use crate::alloc_util::{AllocError, hash, try_resize};

/// The hashes by type.
#[derive(Default)]
pub(in crate::source) struct TypeHashes {
    known: Vec<Option<u64>>,
    places: Places,
}

/// The place in the order of [`TypeHasher::met`] of a struct or enum, by its number.
#[derive(Default)]
struct Places {
    structs: Vec<Option<u32>>,
    enums: Vec<Option<u32>>,
}

impl Places {
    fn of(&mut self, head: Head) -> Option<&mut Option<u32>> {
        match head {
            Head::Struct(number) => at_mut(&mut self.structs, number),
            Head::Enum(number) => at_mut(&mut self.enums, number),
            _ => None,
        }
    }
}

impl TypeHashes {
    /// The hash of the types of the parameters of a function and of its result.
    pub(in crate::source) fn of(
        &mut self,
        program: &Program<'_, '_>,
        types: impl Iterator<Item = TypeId>,
    ) -> Result<u64, AllocError> {
        let mut all = Hasher::default();
        for ty in types {
            all.add(&self.of_type(program, ty)?.to_le_bytes());
        }
        Ok(all.0)
    }

    fn of_type(&mut self, program: &Program<'_, '_>, ty: TypeId) -> Result<u64, AllocError> {
        let index = usize::try_from(ty.0).map_err(|_| AllocError)?;
        let wanted = index.saturating_add(1).max(self.known.len());
        try_resize(&mut self.known, wanted, None)?;
        let known = self.known.get_mut(index).ok_or(AllocError)?;
        match *known {
            Some(hash) => Ok(hash),
            None => Ok(*known.insert(program.type_hash(ty, &mut self.places)?)),
        }
    }
}

/// The FNV-1a hash of what is written.
struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(hash::fnv1a_64(b""))
    }
}

impl Hasher {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = hash::fnv1a_64_more(self.0, bytes);
    }
}

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

impl Program<'_, '_> {
    fn type_hash(&self, ty: TypeId, places: &mut Places) -> Result<u64, AllocError> {
        try_resize(&mut places.structs, self.structs.len(), None)?;
        try_resize(&mut places.enums, self.enums.len(), None)?;
        let (hasher, met) = (Hasher::default(), Vec::new());
        let mut types = TypeHasher { program: self, hasher, places, met };
        types.add(ty)?;
        let mut declared = 0;
        while let Some(&ty) = types.met.get(declared) {
            types.add_declaration(ty)?;
            declared += 1;
        }
        for &ty in &types.met {
            if let Some(place) = types.places.of(self.types.head(ty)) {
                *place = None;
            }
        }
        Ok(types.hasher.0)
    }
}

/// The types that a hash consists of. Declarations stand behind the type, each once, in the order in which they are met:
/// a struct may name itself in the type of a function.
struct TypeHasher<'a, 'p, 's> {
    program: &'a Program<'p, 's>,
    hasher: Hasher,
    /// Without entries between two hashes.
    places: &'a mut Places,
    met: Vec<TypeId>,
}

impl TypeHasher<'_, '_, '_> {
    fn add(&mut self, ty: TypeId) -> Result<(), AllocError> {
        let program = self.program;
        let head = program.types.head(ty);
        let place = self.places.of(head);
        let next = count(&self.met);
        // Writing to a hasher does not fail.
        let _ = match (place.map(|place| *place.get_or_insert(next)), head) {
            (Some(number), _) => {
                if number == next {
                    try_push(&mut self.met, ty)?;
                }
                write!(self.hasher, "#{number}")
            }
            (None, Head::Array(length)) => write!(self.hasher, "[{length}]"),
            (None, Head::View) => self.hasher.write_str("[]"),
            (None, Head::Tuple) => self.hasher.write_str("()"),
            (None, Head::Function) => self.hasher.write_str("fn"),
            (None, Head::Pointer(true)) => self.hasher.write_str("*mut"),
            (None, Head::Pointer(false)) => self.hasher.write_str("*const"),
            (None, Head::Scalar(scalar)) => self.hasher.write_str(scalar.name()),
            (None, Head::Text) => self.hasher.write_str("text"),
            (None, Head::Param(number)) => write!(self.hasher, "T{number}"),
            (None, Head::Unit | Head::Never) => self.hasher.write_str("unit"),
            (None, Head::Struct(_) | Head::Enum(_) | Head::Error) => Ok(()),
        };
        self.hasher.add(b"<");
        for &part in program.types.parts(ty) {
            self.add(part)?;
        }
        self.hasher.add(b">");
        Ok(())
    }

    fn add_declaration(&mut self, ty: TypeId) -> Result<(), AllocError> {
        let program = self.program;
        match program.types.head(ty) {
            Head::Struct(number) => {
                let fields = at(&program.structs, number).map(|info| info.fields);
                self.add_fields(fields.unwrap_or_default())?;
            }
            Head::Enum(number) => {
                for variant in program.enum_variants(number) {
                    let (name, number) = (program.name(variant.name), variant.discriminant);
                    let _ = write!(self.hasher, "{name}={number}");
                    self.add_fields(variant.fields)?;
                }
            }
            _ => {}
        }
        self.hasher.add(b";");
        Ok(())
    }

    fn add_fields(&mut self, list: List) -> Result<(), AllocError> {
        let program = self.program;
        self.hasher.add(b"{");
        for field in range(&program.fields, list) {
            let _ = write!(self.hasher, "{}:", program.name(field.name));
            self.add(field.ty)?;
        }
        self.hasher.add(b"}");
        Ok(())
    }
}
