//! The command line: which commands there are, and how numbers are spelled.

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum};
use smf_core::format::Layout;

use crate::{
    bytecode, convert, generate, inspect, jit, library, note, pack, prefetch, run, stub, templates,
    verify,
};

/// Loads, runs, checks and makes SMF modules.
///
/// Results go to standard output. A failure is one `error: ...` line on standard error and exit
/// status 1; wrong usage is exit status 2. A file argument of `-` is standard input or output. Every
/// command reads every layout: native, packed, compact and dynlib.
#[derive(Parser)]
#[command(name = "smf", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is not described here is described where its arguments are.
#[derive(Subcommand)]
pub(crate) enum Command {
    Run(run::Args),
    /// Shows header, sections, symbols, relocations, templates and note
    Inspect(inspect::Args),
    Verify(verify::Args),
    /// Links relocatable ELF objects into one module
    Pack(pack::Args),
    Convert(convert::Args),
    /// Drops what stands before the module
    StripStub(stub::Args),
    /// Takes the module, or the shared object of a dynlib, out of a hybrid file
    Extract(stub::Args),
    /// Makes and reads LSMF archives
    Lib(library::Args),
    /// Shows note.sdn
    Note(note::Args),
    Jit(jit::Args),
    /// Shows the templates of a module, and what they may become and have become
    Templates(templates::Args),
    Prefetch(prefetch::Args),
    Asm(bytecode::AsmArgs),
    Disasm(bytecode::DisasmArgs),
    /// Prints completions for a shell
    #[command(hide = true)]
    Completions(generate::CompletionsArgs),
    /// Prints the man page, or that of one command
    #[command(hide = true)]
    Man(generate::ManArgs),
}

/// A layout that modules are written in.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum WrittenLayout {
    /// The header behind the module, as a trailer
    Packed,
    /// The header in front, with the padding of a C struct
    Native,
}

impl From<WrittenLayout> for Layout {
    fn from(layout: WrittenLayout) -> Self {
        match layout {
            WrittenLayout::Packed => Layout::Packed,
            WrittenLayout::Native => Layout::Native,
        }
    }
}

/// A 64-bit integer in decimal or, after `0x`, hexadecimal, with or without a sign. The upper half of
/// the unsigned range wraps, as it does in a register.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((digits, 10), |digits| (digits, 16));
    let magnitude = Some(digits)
        .filter(|digits| !digits.starts_with('+'))
        .and_then(|digits| u64::from_str_radix(digits, radix).ok());
    let value = match (magnitude, negative) {
        (Some(magnitude), false) => Some(magnitude.cast_signed()),
        (Some(magnitude), true) => 0i64.checked_sub_unsigned(magnitude),
        (None, _) => None,
    };
    value.ok_or_else(|| "not a 64-bit integer, decimal or 0x hexadecimal".to_owned())
}

/// The arguments with `-0x10` spelled `-16`: clap takes the latter for a value and the former for an
/// unknown option. What follows `--` is never an option and stays as it is.
pub(crate) fn with_decimal_negatives(
    args: impl Iterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut options = true;
    args.map(move |arg| {
        options &= arg != "--";
        let decimal = arg.to_str().filter(|text| options && is_hex_negative(text)).map(integer);
        match decimal {
            Some(Ok(value)) => value.to_string().into(),
            _ => arg,
        }
    })
}

fn is_hex_negative(text: &str) -> bool {
    text.starts_with("-0x") || text.starts_with("-0X")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn integers_cover_both_ranges_of_64_bits() {
        for (text, value) in [
            ("0", 0),
            ("-5", -5),
            ("0x10", 16),
            ("-0X10", -16),
            ("9223372036854775808", i64::MIN),
            ("18446744073709551615", -1),
            ("0xffffffffffffffff", -1),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "-",
            "0x",
            "+1",
            "0x+1",
            "-+1",
            "--1",
            "1.5",
            "ten",
            " 1",
            "0x-1",
            "18446744073709551616",
            "-9223372036854775809",
        ] {
            assert!(integer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hexadecimal_negatives_reach_clap_as_decimal() {
        let args = ["smf", "run", "-0x10", "-0xg", "-5", "--", "-0x10"].map(OsString::from);
        let found: Vec<_> = with_decimal_negatives(args.into_iter()).collect();
        assert_eq!(found, ["smf", "run", "-16", "-0xg", "-5", "--", "-0x10"]);
    }
}
