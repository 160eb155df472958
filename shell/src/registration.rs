//! Registration of a loaded module with the C API, which then allows calls into its code by address, and with active
//! tools, which get the names of its functions.

use std::ops::Range;

use smf_core::alloc_util::sort::sort_by_key;
#[cfg(feature = "c-api")]
use smf_core::alloc_util::try_push;
use smf_core::alloc_util::{AllocError, AttachResult, try_box, try_collect};
use smf_core::format::SymbolKind;
use smf_core::link::Module;

#[cfg(feature = "c-api")]
use crate::code_map::CodeRange;
use crate::debug_info;
use crate::tools::{self, Announced, Function};

/// Registers a module. The registration must be dropped before the memory of the module is freed.
///
/// # Errors
/// [`AllocError`].
pub(crate) fn register(module: &Module<'_>) -> AttachResult {
    let names = if tools::is_on() { announce(module) } else { Announced::default() };
    #[cfg(feature = "c-api")]
    let names = {
        let mut code = Vec::new();
        for range in module.code() {
            try_push(&mut code, CodeRange::enter(range)?)?;
        }
        (code, names)
    };
    Ok(Some(try_box(names)?))
}

/// Tells the tools the names of all functions. A failure is reported and does not prevent loading.
#[cold]
fn announce(module: &Module<'_>) -> Announced {
    let code = try_collect(module.code().map(|range| range.start as u64..range.end as u64));
    let functions = code.and_then(|code| Ok((functions(module, &code)?, code)));
    let Ok((functions, code)) = functions else { return Announced::default() };
    let sections = || debug_info::sections(module);
    let (announced, outcome) = tools::announce_with(&functions, &[], &code, sections);
    outcome.unwrap_or_else(|error| tools::report(&error));
    announced
}

/// Every function of a module, local ones included, sorted by address.
fn functions<'d>(
    module: &Module<'d>,
    code: &[Range<u64>],
) -> Result<Vec<Function<'d>>, AllocError> {
    let exports = module.exports();
    let linked = module.linked();
    let mut symbols = try_collect(linked.symbols().iter().filter_map(Result::ok))?;
    linked.fill_sizes(&mut symbols);
    let functions = symbols
        .iter()
        .filter(|symbol| symbol.kind == SymbolKind::Function)
        .filter(|symbol| !symbol.is_import() && !linked.is_section_symbol(symbol))
        .filter_map(|symbol| {
            let address = exports.address(symbol)?;
            let range = code.iter().find(|range| range.contains(&address))?;
            let size = symbol.size.min(range.end - address);
            Some(Function { address, size, name: symbol.name() })
        });
    let mut functions = try_collect(functions)?;
    sort_by_key(&mut functions, |function| (function.address, function.name));
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Place};
    use smf_core::format::{Binding, Header, Layout, SectionKind, Smf};
    use smf_core::link::{Image, NoImports, host_arch};

    #[test]
    fn functions_are_listed_with_address_and_size() {
        let code = NewSection::code(&[0xc3; 100]);
        let data = NewSection { kind: SectionKind::Data, name: b".data", ..code };
        let function = |name, value, size| NewSymbol {
            name,
            place: Place::Section(0),
            value,
            size,
            ..NewSymbol::default()
        };
        let symbols = [
            function(b"last", 80, 0),
            function(b"first", 0, 30),
            function(b"sizeless", 40, 0),
            NewSymbol { binding: Binding::Local, ..function(b".text", 0, 0) },
            NewSymbol { binding: Binding::Local, ..function(b"alias", 40, 0) },
            NewSymbol { kind: SymbolKind::Data, place: Place::Section(1), ..function(b"no", 0, 8) },
        ];
        let header = Header { arch: host_arch(), ..Header::default() };
        let (layout, sections) = (Layout::Packed, &[code, data][..]);
        let file = NewModule { layout, header, stub: &[], sections, symbols: &symbols };
        let file = file.to_vec().unwrap();
        let module = Image::map(&Smf::parse(&file).unwrap()).unwrap().link(&NoImports).unwrap();

        let code: Vec<_> = module.code().map(|r| r.start as u64..r.end as u64).collect();
        assert_eq!(code.len(), 1);
        let base = code[0].start;
        let mut found: Vec<_> = functions(&module, &code)
            .unwrap()
            .iter()
            .map(|f| (f.address - base, f.size, f.name))
            .collect();
        found.sort_unstable();
        let expected: [(u64, u64, &[u8]); 4] =
            [(0, 30, b"first"), (40, 40, b"alias"), (40, 40, b"sizeless"), (80, 20, b"last")];
        assert_eq!(found, expected);
    }
}
