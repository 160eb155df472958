//! `smf_loader_*`: modules that are loaded, what they export, and calls.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};

use smf_core::alloc_util::AllocError;
use smf_core::format::{Binding, SymbolKind};
use smf_core::link::{Export, ShortName};

use smf_core::loader::ModuleRef;
use smf_core::trap::MAX_ARGS;
#[cfg(any(test, not(target_arch = "x86_64")))]
use smf_core::trap::TrapError;
#[cfg(any(test, not(target_arch = "x86_64")))]
use smf_core::vm::CallError;

use super::cptr::{slice, text};
use super::error::{ApiError, or};
use super::loader_handles::{self, Use};
use super::missing::with_nul;
use super::versioned_struct::{self, sized};
use crate::call;

/// A definition of a name.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfSymbol {
    /// `sizeof(SmfSymbol)`; how much of it was filled in.
    pub size: i64,
    /// Where it is.
    pub address: i64,
    /// How many bytes it has; 0 when nobody knows.
    pub bytes: i64,
    /// The module that defines it; 0 for the host.
    pub module: u64,
    /// 0 nobody knows, 1 function, 2 data, 3 data that does not change, 4 a section.
    pub kind: i32,
    /// 0 local, 1 global, 2 weak.
    pub binding: i32,
}

sized!(SmfSymbol, 40);

/// The number of a kind of symbols: `SMF_SYMBOL_*`.
pub(super) fn kind_code(kind: SymbolKind) -> i32 {
    match kind {
        SymbolKind::Function => 1,
        SymbolKind::Data => 2,
        SymbolKind::Constant => 3,
        SymbolKind::Section => 4,
        // Those have no address, or nobody knows what is there.
        SymbolKind::None | SymbolKind::Type | SymbolKind::Trait | SymbolKind::Actor => 0,
    }
}

/// The number of a binding: `SMF_BINDING_*`.
pub(super) fn binding_code(binding: Binding) -> i32 {
    match binding {
        Binding::Local => 0,
        Binding::Global => 1,
        Binding::Weak => 2,
    }
}

impl SmfSymbol {
    fn new(module: u64, address: u64, bytes: u64, kind: SymbolKind, binding: Binding) -> Self {
        let (kind, binding) = (kind_code(kind), binding_code(binding));
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        Self { size: 0, address: address.cast_signed(), bytes, module, kind, binding }
    }
}

/// The module called `name`; 0 on failure.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_find(loader: u64, name: *const c_char) -> u64 {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    let found = loader_handles::enter(loader).and_then(|loader| {
        let name = name?.to_bytes();
        let found = loader.modules().find(name);
        loader.number_of(found.ok_or(ApiError::NoModule { module: ShortName::new(name) })?)
    });
    or(0, found)
}

/// Holds the present version of a module, or one that is held once more. Returns the number of the hold;
/// 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_hold(loader: u64, module: u64) -> u64 {
    or(0, loader_handles::enter(loader).and_then(|loader| loader.hold(module)))
}

/// Lets go of what was held.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_release(loader: u64, hold: u64) -> bool {
    or(false, loader_handles::enter(loader).and_then(|loader| loader.release(hold)).map(|()| true))
}

/// What a name means. Returns its address; 0 on failure.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL; `symbol` is null or points to the `size` bytes
/// that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_resolve(
    loader: u64,
    name: *const c_char,
    symbol: *mut SmfSymbol,
) -> i64 {
    let find = |loader: &Use, name: &[u8]| {
        let unresolved = ApiError::Unresolved { symbol: ShortName::new(name) };
        let found = loader.modules().resolve(name)?.ok_or(unresolved)?;
        let mut told = SmfSymbol::new(0, found.address, 0, found.kind, Binding::Global);
        if let Some(module) = found.module {
            told.module = loader.number_of(module.handle())?;
            if let Some(export) = module.export(name) {
                told = SmfSymbol::new(
                    told.module,
                    found.address,
                    export.size,
                    export.kind,
                    export.binding,
                );
            }
        }
        Ok(told)
    };
    // SAFETY: passed on to the caller.
    unsafe { tell(loader, name, symbol, find) }
}

/// Fills in what `find` knows of a name, unless that is not wanted, and gives the address.
///
/// # Safety
/// As [`smf_loader_resolve`].
unsafe fn tell(
    loader: u64,
    name: *const c_char,
    symbol: *mut SmfSymbol,
    find: impl FnOnce(&Use, &[u8]) -> Result<SmfSymbol, ApiError>,
) -> i64 {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    let found = loader_handles::enter(loader).and_then(|loader| {
        let name = name?.to_bytes();
        // SAFETY: as above.
        unsafe { versioned_struct::check_wanted(symbol) }?;
        let told = find(&loader, name)?;
        // SAFETY: as above.
        unsafe { versioned_struct::write_wanted(symbol, told) }?;
        Ok(told.address)
    });
    or(0, found)
}

/// What a module, or a version that is held, exports under a name. Returns its address; 0 on failure.
///
/// # Safety
/// As [`smf_loader_resolve`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_symbol(
    loader: u64,
    module: u64,
    name: *const c_char,
    symbol: *mut SmfSymbol,
) -> i64 {
    let find = |loader: &Use, name: &[u8]| {
        let version = loader.version(module)?;
        let export = version.export(name).ok_or_else(|| not_found(&version, name))?;
        let number = loader.number_of(version.handle())?;
        Ok(SmfSymbol::new(number, export.address, export.size, export.kind, export.binding))
    };
    // SAFETY: passed on to the caller.
    unsafe { tell(loader, name, symbol, find) }
}

/// Why a version has no address for a name.
#[cold]
fn not_found(version: &ModuleRef<'_>, symbol: &[u8]) -> ApiError {
    let (symbol_name, module) = (ShortName::new(symbol), ShortName::new(version.name()));
    let none = ApiError::NoSymbol { symbol: symbol_name, module };
    version.refusal(symbol).map_or(none, ApiError::from)
}

/// Where running a module, or a version that is held, begins; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_entry_point(loader: u64, module: u64) -> i64 {
    let found = loader_handles::enter(loader).and_then(|loader| {
        let version = loader.version(module)?;
        let module = ShortName::new(version.name());
        version.entry_point().map(u64::cast_signed).ok_or(ApiError::NoEntryPoint { module })
    });
    or(0, found)
}

/// Calls a function of a module, or of a version that is held, which is held meanwhile.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL; `arguments` is null or points to `count`
/// integers; `result` is null or points to room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_call(
    loader: u64,
    module: u64,
    name: *const c_char,
    arguments: *const i64,
    count: i64,
    result: *mut i64,
) -> bool {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    let called = loader_handles::enter(loader).and_then(|loader| {
        if count > MAX_ARGS as i64 {
            return Err(ApiError::TooManyArguments { count });
        }
        // SAFETY: passed on to the caller.
        let arguments = unsafe { slice("the list of arguments", arguments, count) }?;
        let name = name?.to_bytes();
        let version = loader.version(module)?;
        let export = version.export(name).filter(|e| e.kind == SymbolKind::Function);
        // Of a dynlib nobody knows what is a function.
        let function = export.map(|e| e.address).or_else(|| version.function(name));
        let Some(function) = function else {
            #[cfg(not(target_arch = "x86_64"))]
            if let Some(called) = call_interpreted(&version, name, arguments) {
                return called;
            }
            return Err(not_found(&version, name));
        };
        // SAFETY: a function of a module that is held; that it takes as many arguments is the caller's
        // business: machine code is trusted.
        let returned = unsafe { call::call(function, arguments) };
        returned.map_err(ApiError::Call)
    });
    let returned = called.map(|returned| {
        if !result.is_null() {
            // SAFETY: room for one, says the caller.
            unsafe { result.write_unaligned(returned) };
        }
        true
    });
    or(false, returned)
}

/// Calls a function of bytecode that has no address because nothing is compiled here; `None` for any other. As
/// by an address, arguments that it does not take are ignored, and those that are not given are anything: 0.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn call_interpreted(
    version: &ModuleRef<'_>,
    name: &[u8],
    arguments: &[i64],
) -> Option<Result<i64, ApiError>> {
    let (engine, index) = (version.engine()?, version.bytecode_function(name)?);
    let params = usize::from(engine.program().function(index)?.params);
    let mut words = [0; MAX_ARGS];
    words.get_mut(..arguments.len())?.copy_from_slice(arguments);
    match engine.call(index, words.get(..params)?) {
        Ok(result) => Some(Ok(result)),
        Err(CallError::Trap(trap)) => Some(Err(ApiError::Call(TrapError::Bytecode(trap)))),
        Err(_) => None,
    }
}

/// Who is shown each module: its number, its name with a NUL behind it, the name's bytes, and what was
/// given with it. Returns whether to go on.
pub type SmfModuleVisitor =
    Option<unsafe extern "C" fn(u64, *const c_char, i64, *mut c_void) -> bool>;

/// Who is shown each symbol, as [`SmfModuleVisitor`].
pub type SmfSymbolVisitor =
    Option<unsafe extern "C" fn(*const SmfSymbol, *const c_char, i64, *mut c_void) -> bool>;

/// Shows each module, in the order in which they were loaded. Returns how many were shown; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called so and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_modules(
    loader: u64,
    visit: SmfModuleVisitor,
    user: *mut c_void,
) -> i64 {
    let shown = loader_handles::enter(loader).and_then(|loader| {
        let visit = visit.ok_or(ApiError::Null { what: "the visitor" })?;
        let (mut shown, mut goes_on, mut refused) = (0, true, Ok(()));
        loader.modules().for_each(|name, handle| {
            let Ok(number) = loader.number_of(handle) else { return };
            if !goes_on {
                return;
            }
            match named(name) {
                Ok((text, length)) => {
                    // SAFETY: passed on to the caller.
                    goes_on = unsafe { visit(number, text.as_ptr().cast(), length, user) };
                    shown += 1;
                }
                Err(none) => (goes_on, refused) = (false, Err(none)),
            }
        });
        refused?;
        Ok(shown)
    });
    or(-1, shown)
}

/// Shows each symbol that a module, or a version that is held, defines and that has an address. Returns
/// how many were shown; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called so and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_symbols(
    loader: u64,
    module: u64,
    visit: SmfSymbolVisitor,
    user: *mut c_void,
) -> i64 {
    let shown = loader_handles::enter(loader).and_then(|loader| {
        let visit = visit.ok_or(ApiError::Null { what: "the visitor" })?;
        symbols(&loader, module, |symbol, name| {
            let (text, length) = named(name)?;
            // SAFETY: passed on to the caller.
            Ok(unsafe { visit(symbol, text.as_ptr().cast(), length, user) })
        })
    });
    or(-1, shown)
}

fn symbols(
    loader: &Use,
    module: u64,
    mut visit: impl FnMut(&SmfSymbol, &[u8]) -> Result<bool, AllocError>,
) -> Result<i64, ApiError> {
    let version = loader.version(module)?;
    let number = loader.number_of(version.handle())?;
    let mut shown = 0;
    let Some(linked) = version.linked() else { return Ok(shown) };
    let table = linked.symbols().iter().filter_map(Result::ok).filter(|s| !s.is_import());
    let table = table.filter_map(|symbol| {
        let (kind, binding, size) = (symbol.kind, symbol.binding, symbol.size);
        let address = version.address(&symbol)?;
        Some((symbol.name(), Export { address, kind, binding, size }))
    });
    for (name, Export { address, kind, binding, size }) in table.chain(version.bytecode_exports()) {
        let told = SmfSymbol::new(number, address, size, kind, binding);
        shown += 1;
        if !visit(&SmfSymbol { size: size_of::<SmfSymbol>() as i64, ..told }, name)? {
            break;
        }
    }
    Ok(shown)
}

/// A name as C wants it, and its bytes without the NUL.
fn named(name: &[u8]) -> Result<(Box<[u8]>, i64), AllocError> {
    Ok((with_nul(name)?, i64::try_from(name.len()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader};
    use smf_core::vm::Tiers;

    #[test]
    fn what_is_interpreted_alone_is_called_by_name_all_the_same() {
        let tiers = Tiers::Interpret;
        let loader =
            ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() }).unwrap();
        let file = include_bytes!("../../../tests/samples/bcod.smf");
        let handle = loader.load(b"bcod", ModuleBytes::new(file.to_vec()).unwrap()).unwrap();
        let version = loader.get(handle).unwrap();
        let call = |name: &[u8], arguments: &[i64]| {
            call_interpreted(&version, name, arguments).map(|called| called.map_err(|e| e.code()))
        };
        assert_eq!(call(b"answer", &[]), Some(Ok(42)));
        assert_eq!(call(b"answer", &[1; MAX_ARGS]), Some(Ok(42)));
        assert_eq!(call(b"sum", &[100, 7]), Some(Ok(5050)));
        assert_eq!(call(b"sum", &[]), Some(Ok(0)));
        assert_eq!(call(b"sum", &[1; MAX_ARGS + 1]), None);
        assert_eq!(call(b"nobody", &[]), None);
        version.engine().unwrap().signals().interrupt();
        assert_eq!(call(b"sum", &[100]), Some(Err(super::super::error::Code::Trap)));
        assert!(matches!(not_found(&version, b"sum"), ApiError::Load { .. }));
        assert!(matches!(not_found(&version, b"nobody"), ApiError::NoSymbol { .. }));
    }
}
