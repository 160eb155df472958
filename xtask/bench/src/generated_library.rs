//! C sources of libraries of a given size, for rows about whole files.

use std::fmt::Write as _;

/// The bytes of a function; three quarters of a library are functions.
const FUNCTION: usize = 1024;

/// A library to generate.
pub(crate) struct Library {
    /// The size of text and data in KiB.
    pub(crate) size: usize,
    /// The number of dynamic relocations.
    pub(crate) relocs: usize,
    /// The number of sources.
    pub(crate) sources: usize,
}

impl Library {
    /// A source: functions of [`FUNCTION`] bytes, a table of pointers to them, and constants. Each but the first source
    /// calls a function of the one before.
    pub(crate) fn source(&self, number: usize) -> String {
        let (bytes, relocs) = (self.size * 1024 / self.sources, self.relocs.div_ceil(self.sources));
        let functions = (bytes * 3 / 4 / FUNCTION).max(2);
        let constants = (bytes / 4).saturating_sub(8 * relocs).max(8);
        let mut c = String::new();
        for function in 0..functions {
            // One function in four is exported.
            let linkage = if function % 4 == 0 { "" } else { "static " };
            writeln!(
                c,
                "{linkage}long f{number}_{function}(long x) {{ __asm__(\".skip {FUNCTION}, 0x90\"); return x + {function}; }}"
            )
            .unwrap();
        }
        writeln!(c, "static long (*const table[])(long) = {{").unwrap();
        for pointer in 0..relocs {
            // Static functions, so that loaders need no name.
            let function = (pointer * 13 % functions) / 4 * 4 + 1;
            writeln!(c, "f{number}_{},", if function < functions { function } else { 1 }).unwrap();
        }
        writeln!(c, "}};\nconst char constants_{number}[{constants}] = {{ 1 }};").unwrap();
        let call = number.checked_sub(1).map_or(String::new(), |other| {
            writeln!(c, "long first_{other}(long);").unwrap();
            format!(" + first_{other}(x)")
        });
        let last = relocs - 1;
        writeln!(
            c,
            "long first_{number}(long x) {{ long (*const volatile *t)(long) = table; return t[0](x) + (t[{last}] != 0){call}; }}"
        )
        .unwrap();
        c
    }
}
