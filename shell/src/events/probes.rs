//! The probes (USDT) of the provider `smf`, to which gdb, perf, bpftrace and SystemTap attach. A probe that nothing is
//! attached to is one instruction without effect.
//!
//! Names are passed as an address and a length, without a zero byte at the end.

use probe::probe;

/// `smf:load`: the name of a module that has been loaded, its length, and the size of its code, data and file in bytes.
pub(super) fn load(module: &[u8], bytes: usize) {
    probe!(smf, load, module.as_ptr(), module.len(), bytes);
}

/// `smf:unload`: the name of a module that has been unloaded, and its length.
pub(super) fn unload(module: &[u8]) {
    probe!(smf, unload, module.as_ptr(), module.len());
}

/// `smf:reload`: the name of a module that has a new version, its length, the size of the new version as in `smf:load`,
/// and the number of data symbols that were copied.
pub(super) fn reload(module: &[u8], bytes: usize, symbols: u32) {
    probe!(smf, reload, module.as_ptr(), module.len(), bytes, symbols);
}

/// `smf:instantiate`: the symbol of an instance of a template that has been made, its length, and the size of its code
/// in bytes.
pub(super) fn instantiate(symbol: &[u8], code_bytes: usize) {
    probe!(smf, instantiate, symbol.as_ptr(), symbol.len(), code_bytes);
}
