//! Writing of bytecode modules: the function table that [`functions`](crate::format::read::functions) reads, in a
//! native module (FORMAT.md, section 8).

use alloc::vec::Vec;

use crate::alloc_util::{try_reserve, try_with_capacity};
use crate::format::error::ensure;
use crate::format::model::{Flags, Header, SectionKind};
use crate::format::read::constants::{self, Constant};
use crate::format::read::functions::{ENTRY, HEADER, MAGIC, VERSION};
use crate::format::wire::Layout;
use crate::format::write::error::WriteError;
use crate::format::write::module::{Module, NewSection, Payload};

/// A function for [`write_functions`].
#[derive(Clone, Copy, Debug)]
pub struct NewFunction<'a> {
    /// The name, without a NUL.
    pub name: &'a [u8],
    /// The number of arguments.
    pub params: u16,
    /// The number of locals, including the arguments.
    pub locals: u16,
    /// The code.
    pub code: &'a [u8],
}

/// Writes a native module of these functions, with `flags` and the executable flag. The entry point is the code of the
/// function `main`, if there is one.
///
/// Bytecode is portable: the header has the default platform and architecture, which loaders ignore.
///
/// # Errors
/// [`WriteError::TooLarge`] if functions, code or names exceed 32-bit offsets; [`WriteError::SymbolName`] for a name
/// with a NUL; [`WriteError::OutOfMemory`].
pub fn write_functions(functions: &[NewFunction<'_>], flags: Flags) -> Result<Vec<u8>, WriteError> {
    write_program(functions, &[], flags)
}

/// As [`write_functions`], with a constant pool in the data section, which is absent if the pool is empty.
///
/// # Errors
/// As [`write_functions`]; [`WriteError::ConstantText`] for a string with a NUL.
pub fn write_program(
    functions: &[NewFunction<'_>],
    constants: &[Constant<'_>],
    flags: Flags,
) -> Result<Vec<u8>, WriteError> {
    let count = u32::try_from(functions.len()).map_err(|_| WriteError::TooLarge)?;
    let lengths = functions.iter().map(|function| (function.code.len(), function.name.len() + 1));
    let (codes, texts) = lengths.fold((0usize, 0usize), |(codes, texts), (code, name)| {
        (codes.saturating_add(code), texts.saturating_add(name))
    });
    let mut next = HEADER + ENTRY * functions.len();
    let mut code = try_with_capacity(next.saturating_add(codes))?;
    let mut names = try_with_capacity(texts)?;
    code.extend(MAGIC);
    code.extend(VERSION.to_le_bytes());
    code.extend(count.to_le_bytes());
    let mut entry_point = 0;
    for (function, index) in functions.iter().zip(0..) {
        let NewFunction { name, params, locals, code: own } = *function;
        ensure(!name.contains(&0), WriteError::SymbolName(index))?;
        let [begin, length, name_offset] = [next, own.len(), names.len()]
            .map(|number| u32::try_from(number).map_err(|_| WriteError::TooLarge));
        code.extend(begin?.to_le_bytes());
        code.extend(length?.to_le_bytes());
        code.extend(params.to_le_bytes());
        code.extend(locals.to_le_bytes());
        code.extend(name_offset?.to_le_bytes());
        if name == b"main" {
            entry_point = u64::from(begin?);
        }
        names.extend(name);
        names.push(0);
        next += own.len();
    }
    functions.iter().for_each(|function| code.extend(function.code));
    let pool = encode_constants(constants, &mut names)?;
    let header = Header {
        version: (0, 1),
        flags: Flags(Flags::EXECUTABLE | flags.0),
        symbol_count: count,
        entry_point,
        ..Header::default()
    };
    module(header, &code, &names, &pool)
}

/// The entries of the constants, whose strings are appended to `names`.
fn encode_constants(
    constants: &[Constant<'_>],
    names: &mut Vec<u8>,
) -> Result<Vec<u8>, WriteError> {
    let mut pool = try_with_capacity(constants.len().saturating_mul(constants::ENTRY))?;
    for (&constant, index) in constants.iter().zip(0..) {
        let offset = u32::try_from(names.len()).map_err(|_| WriteError::TooLarge)?;
        pool.extend(constant.encode(offset));
        let Constant::Text(text) = constant else { continue };
        if text.contains(&0) {
            return Err(WriteError::ConstantText(index));
        }
        try_reserve(names, text.len().saturating_add(1))?;
        names.extend(text);
        names.push(0);
    }
    Ok(pool)
}

fn module(header: Header, code: &[u8], names: &[u8], pool: &[u8]) -> Result<Vec<u8>, WriteError> {
    let code = NewSection { name: b".code", alignment: 8, ..NewSection::code(code) };
    let names = NewSection::new(SectionKind::StrTab, b".strtab", Payload::Bytes(names));
    let pool = NewSection::new(SectionKind::Data, b".data", Payload::Bytes(pool));
    let sections =
        [code, NewSection { alignment: 1, ..names }, NewSection { alignment: 8, ..pool }];
    let count = if matches!(pool.payload, Payload::Bytes([])) { 2 } else { 3 };
    let sections = sections.get(..count).unwrap_or(&sections);
    let module = Module { layout: Layout::Native, header, stub: &[], sections, symbols: &[] };
    module.to_vec()
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::format::MAX_NAME;
    use crate::format::model::SymbolKind;
    use crate::format::read::smf::Smf;
    use crate::format::write::convert::{Dropped, convert};
    use crate::format::write::module::NewSymbol;

    #[test]
    fn writing_round_trips() {
        let long = vec![0x45; 1000];
        let functions = [
            NewFunction { name: b"first", params: 1, locals: 2, code: &[0x45, 0] },
            NewFunction { name: b"", params: 0, locals: 0, code: &[] },
            NewFunction { name: b"main", params: 0, locals: 65535, code: &long },
        ];
        let file = write_functions(&functions, Flags(Flags::RELOADABLE)).unwrap();
        let smf = Smf::parse(&file).unwrap();
        smf.verify().unwrap();
        assert_eq!((smf.layout(), smf.header().symbol_count), (Layout::Native, 3));
        let found: Vec<_> = smf.functions().unwrap().unwrap().iter().map(Result::unwrap).collect();
        assert_eq!(found.len(), functions.len());
        for (found, written) in found.iter().zip(&functions) {
            assert_eq!((found.name(), found.code), (written.name, written.code));
            assert_eq!((found.params, found.locals), (written.params, written.locals));
        }
        assert_eq!(smf.header().entry_point, u64::from(found[2].code_offset));
        let none = write_functions(&[], Flags(0)).unwrap();
        assert!(Smf::parse(&none).unwrap().functions().unwrap().unwrap().is_empty());
        let constants = [Constant::I64(7), Constant::Text(b"text"), Constant::Text(b"")];
        let with_pool = write_program(&functions, &constants, Flags(0)).unwrap();
        let smf = Smf::parse(&with_pool).unwrap();
        smf.verify().unwrap();
        for (constant, index) in constants.into_iter().zip(0..) {
            assert_eq!(smf.constants().get(index), Some(constant));
        }
        assert_eq!((smf.constants().len(), smf.functions().unwrap().unwrap().len()), (3, 3));
        assert!(Smf::parse(&file).unwrap().constants().is_empty());
        let text = [Constant::Nil, Constant::Text(b"a\0")];
        let refused = write_program(&functions, &text, Flags(0));
        assert_eq!(refused, Err(WriteError::ConstantText(1)));
        let name = NewFunction { name: b"a\0b", ..functions[0] };
        assert_eq!(write_functions(&[name], Flags(0)), Err(WriteError::SymbolName(0)));
        // No reader bounds the names of functions.
        let name = NewFunction { name: &[b'x'; MAX_NAME + 1], ..functions[0] };
        let file = write_functions(&[name], Flags(0)).unwrap();
        Smf::parse(&file).unwrap().verify().unwrap();
    }

    /// The names of both are in one string table.
    #[test]
    fn conversion_of_bytecode_with_symbols_drops_these_and_preserves_the_functions() {
        let functions =
            [b"main", b"next"].map(|name| NewFunction { name, params: 0, locals: 0, code: &[1] });
        let plain = write_functions(&functions, Flags(0)).unwrap();
        let plain = Smf::parse(&plain).unwrap();
        let section = |kind| {
            let section = plain.sections().of_kind(kind).unwrap();
            NewSection::new(kind, section.name, Payload::Bytes(section.data))
        };
        let sections = [SectionKind::Code, SectionKind::StrTab].map(section);
        let symbols = [NewSymbol { name: b"a symbol", ..NewSymbol::default() }];
        let (layout, header) = (Layout::Native, Header::default());
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        let file = module.to_vec().unwrap();
        let smf = Smf::parse(&file).unwrap();
        smf.verify().unwrap();
        let converted = convert(&smf, Layout::Packed).unwrap();
        // Its offset in the table of both is 1.
        let symbol = Dropped::Symbol { name: b"ain", kind: SymbolKind::Function };
        assert_eq!(converted.dropped, [symbol]);
        let smf = Smf::parse(&converted.bytes).unwrap();
        smf.verify().unwrap();
        let names = smf.functions().unwrap().unwrap().iter().map(|found| found.unwrap().name());
        assert!(names.eq([b"main", b"next"]));
    }
}
