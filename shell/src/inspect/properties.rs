//! The properties of a module's code, with the names that the machine gives them.

use object::elf::{self, GnuPropertyType};
use smf_core::format::ext::gnu_property::{Properties, Property};
use smf_core::format::{Arch, FormatError, Smf};

/// A property.
pub(super) struct NamedProperty {
    /// The name of its type; its number if it has none.
    pub(super) name: String,
    pub(super) value: u32,
    /// The names of the bits of the value that have one.
    pub(super) flags: Vec<&'static str>,
}

/// The properties of `smf`.
pub(super) fn properties<'d>(
    smf: &Smf<'d>,
) -> Result<Option<impl Iterator<Item = NamedProperty> + Clone + use<'d>>, FormatError> {
    let machine = match smf.header().arch {
        Arch::X86_64 => elf::EM_X86_64,
        Arch::AARCH64 => elf::EM_AARCH64,
        _ => elf::EM_NONE,
    };
    let named = move |property: Property<'_>| {
        Some(NamedProperty::new(machine, property.kind, property.number().ok()?))
    };
    let properties = Properties::of(smf)?;
    Ok(properties.map(|properties| properties.flatten().filter_map(named)))
}

impl NamedProperty {
    fn new(machine: elf::Machine, kind: u32, value: u32) -> Self {
        let short = |name: &'static str| name.strip_prefix("GNU_PROPERTY_").unwrap_or(name);
        let mut flags = Vec::new();
        if let Some(names) = GnuPropertyType(kind).u32_value_names(machine) {
            let _ = names.try_names(value, |_, name| {
                flags.push(short(name));
                Ok::<(), ()>(())
            });
        }
        let name = GnuPropertyType::type_names(machine).name(GnuPropertyType(kind));
        let name = name.map_or_else(|| format!("0x{kind:x}"), |name| short(name).to_owned());
        Self { name, value, flags }
    }
}
