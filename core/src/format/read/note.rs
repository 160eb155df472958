//! note.sdn: the instantiations of a module's templates, compiled and possible.
//!
//! Tables and columns are those of FORMAT.md, section 6. They are found by name, never by position: one writer numbers
//! its rows in a column `id`; another omits it, calls `to_obj` `output_file` and `context` `ctx`, adds columns and
//! quotes truth values. Columns without which an entry is meaningless are required. Cells of any other missing column
//! read as empty, as if the writer had left them empty. Other tables and columns are available through
//! [`Note::document`].
//!
//! The positions of the columns are looked up once a table, and each row is split once.

use core::fmt;

use crate::format::error::Result;
use crate::format::read::sdn::{Cell, Document, Row};
use crate::format::read::symbol::Symbol;

pub(crate) mod entries;

use crate::format::read::note::entries::{Column, MAX_COLUMNS, Places};
pub use crate::format::read::note::entries::{Entries, Entry};

/// The note of one module.
#[derive(Clone, Copy, Debug)]
pub struct Note<'d> {
    document: Document<'d>,
}

impl<'d> Note<'d> {
    /// Parses the note in `data`, whose first byte is at offset `at` of the file. The iterators read the tables;
    /// [`Note::check`] reads all of them.
    ///
    /// # Errors
    /// [`NoteError::Encoding`](crate::format::error::NoteError::Encoding).
    pub fn parse(data: &'d [u8], at: u64) -> Result<Self> {
        Document::parse(data, at).map(|document| Self { document })
    }

    /// The text and all its tables.
    pub fn document(&self) -> Document<'d> {
        self.document
    }

    /// The rows of the tables that hold `E`, in the order of the text.
    pub fn entries<E: Entry<'d>>(&self) -> Entries<'d, E> {
        Entries::of(&self.document)
    }

    /// The types of the function with this symbol. Of several functions of its name, the note of a linked module states where
    /// the code of each begins.
    pub fn signature(&self, symbol: &Symbol<'_>) -> Option<FunctionSignature<'d>> {
        let name = str::from_utf8(symbol.name()).ok()?;
        let is_there = |offset| offset == symbol.value;
        let mut all = self.entries::<FunctionSignature<'_>>().filter_map(Result::ok);
        all.find(|entry| entry.code_offset().is_none_or(is_there) && entry.function().eq_str(name))
    }

    /// The types of the function whose code begins at this offset in the code of the module, if the note states that.
    pub fn signature_of_code(&self, offset: u64) -> Option<FunctionSignature<'d>> {
        let mut all = self.entries::<FunctionSignature<'_>>().filter_map(Result::ok);
        all.find(|entry| entry.code_offset() == Some(offset))
    }

    /// The function whose source has a line of the code of `own`: another one, of the same file, if its code became part
    /// of that. `None` if several instances of a generic function have the line.
    pub fn function_at(
        &self,
        own: FunctionSignature<'d>,
        line: u32,
    ) -> Option<FunctionSignature<'d>> {
        let file = own.file().raw();
        let lines = |entry: &FunctionSignature<'d>| {
            let [first, last] =
                [entry.first_line(), entry.last_line()].map(|cell| cell.raw().parse::<u32>().ok());
            first.zip(last).filter(|&(first, last)| (first..=last).contains(&line))
        };
        let all = || self.entries::<FunctionSignature<'_>>().filter_map(Result::ok);
        let here = || all().filter(|entry| entry.file().raw() == file);
        // Of functions inside each other the innermost begins last.
        let Some((first, _)) = here().filter_map(|entry| lines(&entry)).max() else {
            return Some(own);
        };
        let begins = |entry: &FunctionSignature<'d>| lines(entry).is_some_and(|l| l.0 == first);
        if begins(&own) {
            return Some(own);
        }
        let mut found = here().filter(begins);
        // Linked modules may contain one function several times.
        let first = found.next()?;
        found.all(|other| other.function().raw() == first.function().raw()).then_some(first)
    }

    /// The assertion at a line of a function; of another function of its file, whose code became part of it, if it has none
    /// there. `None` if the line has several.
    pub fn assertion(&self, own: FunctionSignature<'d>, line: u32) -> Option<AssertionMessage<'d>> {
        let is_at_line = |entry: &AssertionMessage<'d>| {
            let is_of_file = entry.file().is_empty() || entry.file().raw() == own.file().raw();
            is_of_file && entry.line().raw().parse::<u32>().is_ok_and(|number| number == line)
        };
        let here =
            || self.entries::<AssertionMessage<'_>>().filter_map(Result::ok).filter(is_at_line);
        let is_own = |entry: &AssertionMessage<'d>| entry.function().raw() == own.function().raw();
        let has_own = here().any(|entry| is_own(&entry));
        let mut found = here().filter(|entry| !has_own || is_own(entry));
        found.next().filter(|_| found.next().is_none())
    }

    /// Reads every row of every table, known or not.
    ///
    /// # Errors
    /// The first error in the order of the text: those of [`Document::check`], and [`NoteError::MissingColumn`](crate::format::error::NoteError::MissingColumn) for a
    /// known table that lacks a column.
    pub fn check(&self) -> Result<()> {
        for table in self.document.tables() {
            let table = table?;
            let known = KNOWN_TABLES.iter().find(|(name, _)| *name == table.name());
            if let Some((_, columns)) = known {
                Places::of(columns, &table)?;
            }
            table.rows().try_for_each(|row| row.map(drop))?;
        }
        Ok(())
    }
}

/// The names and the columns of the tables of entries.
const KNOWN_TABLES: &[(&str, &[Column])] = &[
    known::<Instantiation<'_>>(),
    known::<Possible<'_>>(),
    known::<TypeInference<'_>>(),
    known::<Dependency<'_>>(),
    known::<CircularWarning<'_>>(),
    known::<CircularError<'_>>(),
    known::<AssertionMessage<'_>>(),
    known::<FunctionSignature<'_>>(),
    known::<ImportSignature<'_>>(),
];

const fn known<E: Entry<'static>>() -> (&'static str, &'static [Column]) {
    (E::TABLE, E::COLUMNS)
}

/// Declares an entry: its table, and for each column an accessor, `must` or `may`, and its names.
macro_rules! entry {
    (
        $(#[$doc:meta])* $entry:ident of $table:literal:
        $($(#[$column_doc:meta])* $column:ident $need:ident $($name:literal)|+;)+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $entry<'d> {
            row: Row<'d>,
            $($column: Cell<'d>,)+
        }

        impl<'d> $entry<'d> {
            /// The row of the text that holds the entry.
            pub fn row(&self) -> Row<'d> {
                self.row
            }

            $($(#[$column_doc])*
            pub fn $column(&self) -> Cell<'d> {
                self.$column
            })+
        }

        impl<'d> Entry<'d> for $entry<'d> {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [Column] =
                &[$(Column { names: &[$($name),+], required: entry!(@$need) }),+];

            fn new(row: Row<'d>, cells: &[Cell<'d>]) -> Option<Self> {
                let mut cells = cells.iter().copied();
                Some(Self { row, $($column: cells.next()?),+ })
            }
        }

        const _: () = assert!($entry::COLUMNS.len() <= MAX_COLUMNS);
    };
    (@must) => { true };
    (@may) => { false };
}

entry! {
    /// A compiled instance of a template.
    Instantiation of "instantiations":
    /// The template's name.
    template must "template";
    /// The type arguments, separated by commas.
    type_args must "type_args";
    /// The symbol of the instance.
    mangled_name must "mangled_name";
    /// The source file that requested it.
    from_file may "from_file";
    /// The place in that file, `file:line:column`.
    from_loc may "from_loc";
    /// The object file that holds the code; one writer calls the column `output_file`.
    to_obj may "to_obj" | "output_file";
    /// The cell that [`Instantiation::status`] reads.
    status_text may "status";
}

impl<'d> Instantiation<'d> {
    /// The state of the instantiation.
    pub fn status(&self) -> Status<'d> {
        Status::of(self.status_text)
    }
}

entry! {
    /// An instantiation that can be compiled on demand.
    Possible of "possible":
    /// The template's name.
    template must "template";
    /// The type arguments, separated by commas.
    type_args must "type_args";
    /// The symbol that the instance would have.
    mangled_name must "mangled_name";
    /// The symbol that requires the instance.
    required_by may "required_by";
    /// The cell that [`Possible::can_defer`] reads.
    can_defer_text may "can_defer";
}

impl Possible<'_> {
    /// Whether compilation can be deferred until the instance is requested; `None` if the note does not state it.
    pub fn can_defer(&self) -> Option<bool> {
        self.can_defer_text.to_bool()
    }
}

entry! {
    /// A type that the compiler inferred.
    TypeInference of "type_inferences":
    /// The type; it may hold placeholders such as `?T`.
    inferred_type must "inferred_type";
    /// The expression.
    expr may "expr";
    /// The context of the expression, such as `var_init`; one writer calls the column `ctx`.
    context may "context" | "ctx";
    /// The source file.
    from_file may "from_file";
    /// The place in that file, `file:line:column`.
    from_loc may "from_loc";
}

entry! {
    /// An edge of the graph of instantiations.
    Dependency of "dependencies":
    /// The mangled name of the dependent instance.
    from_inst must "from_inst";
    /// The name of the instance that it needs.
    to_inst must "to_inst";
    /// The cell that [`Dependency::dep_kind`] reads.
    dep_kind_text may "dep_kind";
}

impl<'d> Dependency<'d> {
    /// The kind of the dependency.
    pub fn dep_kind(&self) -> DependencyKind<'d> {
        DependencyKind::of(self.dep_kind_text)
    }
}

entry! {
    /// A cycle that an indirection breaks.
    CircularWarning of "circular_warnings":
    /// The names along the cycle, joined by `->`.
    cycle_path must "cycle_path";
    /// The severity, as the writer states it.
    severity may "severity";
}

entry! {
    /// A cycle that no indirection breaks.
    CircularError of "circular_errors":
    /// The names along the cycle, joined by `->`.
    cycle_path must "cycle_path";
    /// The compiler's error code, such as `E0420`.
    error_code may "error_code";
}

entry! {
    /// The message of an assertion in compiled code, an extension of this project.
    AssertionMessage of "assertions":
    /// The symbol of the function.
    function must "function";
    /// The line of the assertion, from 1.
    line must "line";
    /// The message.
    message must "message";
    /// The source file of the function; empty in a module of an earlier version.
    file may "file";
}

entry! {
    /// The types of a function in compiled code, an extension of this project.
    FunctionSignature of "signatures":
    /// The symbol of the function.
    function must "function";
    /// The types of the parameters, separated by commas.
    parameters must "parameters";
    /// The type of the result; `()` without one.
    result must "result";
    /// The source file.
    file may "file";
    /// The line in that file on which the declaration begins, from 1.
    first_line may "first_line";
    /// The line on which it ends.
    last_line may "last_line";
    /// A hash of the types, in which structs and enums count by their fields and variants; empty in a module of an earlier version.
    type_hash may "type_hash";
    /// The cell that [`FunctionSignature::code_offset`] reads.
    code_offset_text may "code_offset";
}

impl FunctionSignature<'_> {
    /// The offset of its first instruction in the code of the module, in bytes. A module that was linked states it, because it
    /// may contain several functions of one name, and functions without a symbol.
    pub fn code_offset(&self) -> Option<u64> {
        self.code_offset_text.raw().parse().ok()
    }
}

entry! {
    /// The types by which a module calls a function of another one, an extension of this project.
    ImportSignature of "import_signatures":
    /// The symbol of the function.
    function must "function";
    /// A hash of the types, as [`FunctionSignature::type_hash`].
    type_hash must "type_hash";
}

/// Declares an open set of words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($(#[$word_doc:meta])* $variant:ident = $word:literal;)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name<'d> {
            $($(#[$word_doc])* $variant,)+
            /// A word that the format does not define, or an empty cell.
            Other(Cell<'d>),
        }

        impl<'d> $name<'d> {
            fn of(cell: Cell<'d>) -> Self {
                match cell.raw() {
                    $($word => Self::$variant,)+
                    _ => Self::Other(cell),
                }
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($word),)+
                    Self::Other(cell) => cell.fmt(f),
                }
            }
        }
    };
}

words! {
    /// The state of an instantiation. Displays as spelled in the file.
    Status:
    /// Compiled ahead of time.
    Compiled = "compiled";
    /// Compilation is deferred.
    Deferred = "deferred";
    /// Compiled by a loader.
    JitCompiled = "jit_compiled";
}

words! {
    /// The kind of a dependency between instantiations. Displays as spelled in the file.
    DependencyKind:
    /// A type parameter.
    TypeParam = "type_param";
    /// The type of a field.
    FieldType = "field_type";
    /// A wrapped type.
    InnerType = "inner_type";
    /// A use in a method.
    MethodDep = "method_dep";
}

#[cfg(test)]
mod tests {
    use crate::format::error::NoteError;
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::format::error::FormatError;
    use crate::format::read::sdn::document::{NOTE_CAP, find_end};
    use crate::testing::flipped;

    const NATIVE: &[u8] = include_bytes!("../../../../tests/samples/note-zero-size.smf");
    const DRIVER: &[u8] = include_bytes!("../../../../tests/samples/driver.smf");

    fn bytes(file: &'static [u8], at: usize) -> &'static [u8] {
        &file[at..][..find_end(&file[at..], NOTE_CAP).unwrap()]
    }

    fn note(text: &str) -> Note<'_> {
        Note::parse(text.as_bytes(), 0x100).unwrap()
    }

    #[test]
    fn dialect_with_ids_is_read() {
        let note = Note::parse(bytes(NATIVE, 0x187), 0x187).unwrap();
        note.check().unwrap();
        let possible: Vec<_> = note.entries::<Possible>().map(Result::unwrap).collect();
        assert_eq!(possible.len(), 2);
        assert!(possible[0].mangled_name().eq_str("fn$Vec$i64"));
        assert!(possible[1].type_args().eq_str("i64,f64"));
        assert!(possible[1].required_by().eq_str("quote \"here\", comma"));
        assert_eq!([possible[0].can_defer(), possible[1].can_defer()], [Some(true), Some(false)]);
        let made: Vec<_> = note.entries::<Instantiation>().map(Result::unwrap).collect();
        assert_eq!(made.len(), 1);
        assert!(made[0].template().eq_str("List") && made[0].from_loc().eq_str("app.spl:10:5"));
        assert!(made[0].to_obj().eq_str("app.o") && matches!(made[0].status(), Status::Compiled));
        let edge = note.entries::<Dependency>().next().unwrap().unwrap();
        assert!(edge.from_inst().eq_str("List$Int") && edge.to_inst().eq_str("Int"));
        assert!(matches!(edge.dep_kind(), DependencyKind::TypeParam));
        assert_eq!(note.entries::<TypeInference>().count(), 0);
        assert_eq!(
            note.entries::<CircularWarning>().count() + note.entries::<CircularError>().count(),
            0
        );
        let text = note.document().text();
        assert!(text[possible[1].row().span()].starts_with("    1, \"Pair\""));
    }

    #[test]
    fn dialect_without_ids_is_read() {
        let note = Note::parse(bytes(DRIVER, 0x47), 0x47).unwrap();
        note.check().unwrap();
        let possible = note.entries::<Possible>().next().unwrap().unwrap();
        assert!(
            possible.template().eq_str("Map") && possible.mangled_name().eq_str("Map$text_i64")
        );
        assert_eq!(possible.can_defer(), Some(true));
        let made = note.entries::<Instantiation>().next().unwrap().unwrap();
        assert!(made.to_obj().eq_str("main.o") && made.status().to_string() == "compiled");
    }

    #[test]
    fn column_with_either_name_at_any_position_is_found() {
        let note = note(
            "type_inferences |ctx, inferred_type|\n a, b\n\
             instantiations |output_file, to_obj, status, mangled_name, template, type_args|\n\
             old, new, later, m, t, \"\"\n",
        );
        note.check().unwrap();
        let inference = note.entries::<TypeInference>().next().unwrap().unwrap();
        assert!(inference.context().eq_str("a") && inference.inferred_type().eq_str("b"));
        assert!(inference.expr().is_empty() && !inference.expr().is_quoted());
        let made = note.entries::<Instantiation>().next().unwrap().unwrap();
        assert!(made.to_obj().eq_str("new"));
        assert!(matches!(made.status(), Status::Other(word) if word.eq_str("later")));
        assert_eq!(made.status().to_string(), "later");
    }

    #[test]
    fn tables_with_one_name_are_merged() {
        let note = note(
            "circular_errors |cycle_path|\n a\nx |y|\n z\ncircular_errors |error_code,cycle_path|\n e,b\n",
        );
        let paths: Vec<_> = note
            .entries::<CircularError>()
            .map(|error| error.unwrap().cycle_path().to_string())
            .collect();
        assert_eq!(paths, ["a", "b"]);
    }

    #[test]
    fn missing_column_is_named_in_the_error() {
        let note = note("# c\npossible |template, mangled_name|\n a, b\n");
        let error =
            FormatError::Note(NoteError::MissingColumn { line: 2, column: "type_args", at: 0x104 });
        assert_eq!(note.check(), Err(error));
        let mut possible = note.entries::<Possible>();
        assert_eq!(possible.next().unwrap().unwrap_err(), error);
        assert!(possible.next().is_none());
        assert_eq!(note.entries::<Dependency>().count(), 0);
    }

    #[test]
    fn row_with_wrong_cell_count_in_an_unknown_table_is_refused() {
        let note = note("mine |a, b|\n 1\ndependencies |from_inst, to_inst|\n x, y\n");
        assert!(matches!(
            note.check(),
            Err(FormatError::Note(NoteError::CellCount { line: 2, .. }))
        ));
        assert!(note.entries::<Dependency>().next().unwrap().is_ok());
    }

    #[test]
    fn functions_of_one_name_differ_in_their_code() {
        let note = note(
            "signatures |function, parameters, result, file, first_line, last_line, code_offset|\n\
             \x20f, i64, i64, a, 1, 3, 0\n f, f64, f64, b, 1, 3, 16\n\
             assertions |function, line, message, file|\n f, 2, \"in a\", a\n f, 2, \"in b\", b\n",
        );
        note.check().unwrap();
        for (offset, file, message) in [(0, "a", "in a"), (16, "b", "in b")] {
            let own = note.signature_of_code(offset).unwrap();
            assert!(own.file().eq_str(file) && own.code_offset() == Some(offset));
            assert!(note.assertion(own, 2).unwrap().message().eq_str(message));
            assert!(note.function_at(own, 2).unwrap().file().eq_str(file));
        }
        assert!(note.signature_of_code(8).is_none());
    }

    #[test]
    fn damaged_input_never_panics() {
        for (_, damaged) in flipped(bytes(NATIVE, 0x187)) {
            let Ok(note) = Note::parse(&damaged, 0x187) else { continue };
            let failures = note.entries::<Instantiation>().filter(Result::is_err).count()
                + note.entries::<Possible>().filter(Result::is_err).count()
                + note.entries::<Dependency>().filter(Result::is_err).count();
            assert!(failures == 0 || note.check().is_err());
        }
    }
}
