//! Modules whose code section is a whole ELF object.

use smf_core::format::write::{Module, NewSection, NewSymbol, Place};
use smf_core::format::{Arch, Flags, Header, Layout};

/// The header of a module for the machine of `object`, with these additional flags.
pub fn header(object: &[u8], flags: u32) -> Header {
    let arch = if object.get(18) == Some(&183) { Arch::AARCH64 } else { Arch::X86_64 };
    Header { arch, flags: Flags(Flags::EXECUTABLE | flags), ..Header::default() }
}

/// The module in `layout` whose code is `object` and whose table lists the exports `names`.
///
/// # Panics
/// If it cannot be written.
pub fn wrap(object: &[u8], layout: Layout, flags: u32, names: &[&str]) -> Vec<u8> {
    let symbols: Vec<_> = names
        .iter()
        .map(|name| NewSymbol {
            name: name.as_bytes(),
            place: Place::Unstated,
            ..NewSymbol::default()
        })
        .collect();
    let sections = [NewSection::code(object)];
    let header = header(object, flags);
    Module { layout, header, stub: &[], sections: &sections, symbols: &symbols }.to_vec().unwrap()
}
