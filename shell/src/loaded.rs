//! What the process knows of a module while it is loaded: that its code may be called through a bare
//! address, and, when a tool is on, the names of its functions.

use std::ops::Range;

use smf_core::format::SymbolKind;
use smf_core::link::Module;

use crate::code_ranges::CodeRange;
use crate::tools::{self, Announced, Function};

/// One module. Must be dropped before the module's memory goes.
pub(crate) struct Known {
    _code: Vec<CodeRange>,
    _names: Announced,
}

impl Known {
    pub(crate) fn of(module: &Module<'_>) -> Self {
        let names = if tools::is_on() { announce(module) } else { Announced::default() };
        Self { _code: module.code().map(CodeRange::enter).collect(), _names: names }
    }
}

/// A profile without names is no reason not to load a module, so that a failure is only reported.
fn announce(module: &Module<'_>) -> Announced {
    let code: Vec<_> = module.code().map(|range| range.start as u64..range.end as u64).collect();
    tools::announce(&functions(module, &code), &code).unwrap_or_else(|error| {
        tools::report(&error);
        Announced::default()
    })
}

/// Every function of a module, local ones too, by address. A function whose symbol has no size reaches
/// to the next one.
fn functions<'d>(module: &Module<'d>, code: &[Range<u64>]) -> Vec<Function<'d>> {
    let exports = module.exports();
    let symbols = module.smf().symbols().iter().filter_map(Result::ok);
    let mut functions: Vec<Function<'d>> = symbols
        .filter(|symbol| symbol.kind == SymbolKind::Function && !symbol.is_import())
        .filter_map(|symbol| {
            let address = exports.address(&symbol)?;
            Some(Function { address, size: symbol.size, name: symbol.name() })
        })
        .filter(|function| code.iter().any(|range| range.contains(&function.address)))
        .collect();
    functions.sort_by_key(|function| function.address);
    let (mut here, mut next) = (u64::MAX, u64::MAX);
    for function in functions.iter_mut().rev() {
        // Several symbols may be at one address.
        if function.address < here {
            (here, next) = (function.address, here);
        }
        let range = code.iter().find(|range| range.contains(&here));
        let end = range.map_or(here, |range| range.end);
        let size = if function.size == 0 { next.min(end) - here } else { function.size };
        function.size = size.min(end - here);
    }
    functions
}
