//! What the front end makes of source files.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::diagnostic::Diagnostic;
use crate::ir::Scalar;
use crate::types::Type;

/// A file to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFile<'s> {
    /// How diagnostics and line tables name it.
    pub name: &'s str,
    /// Its name: the path below the directory of the program with dots, such as `geometry.shapes`. `use units` of that
    /// file is the module `units`, or `geometry.units` if there is no such file.
    pub module: &'s str,
    /// The source.
    pub text: &'s str,
}

/// A place in a file of a [`TranslationUnit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePlace {
    /// The number of the file in [`TranslationUnit::files`].
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
}

/// A function of a [`TranslationUnit`].
#[derive(Clone, Debug)]
pub struct FunctionDefinition {
    /// Its symbol: the name, `Type.method`, `outer.inner`, or the mangled name for type arguments such as `max$f64`. Where
    /// several files or blocks have one, those of the later ones are behind their modules, and behind a number if that is not
    /// enough.
    pub symbol: String,
    /// The name of the generic function that it is an instance of, and the type arguments.
    pub instance_of: Option<(String, Vec<Type>)>,
    /// The types of the parameters in Simple, `self` included.
    pub params: Vec<Type>,
    /// The sizes of values of these types in memory, in bytes.
    pub param_sizes: Vec<u32>,
    /// Where [`TranslationUnit::param_names`] has the names of the parameters, in bytes.
    pub(crate) param_names: Range<usize>,
    /// The type of the result in Simple; `None` for unit.
    pub result: Option<Type>,
    /// A hash of these types. Structs and enums count by their fields and variants, not by their names.
    pub type_hash: u64,
    /// Whether other modules do not see it: its file marks functions by `pub` or `export`, and not this one, which is not
    /// `main`.
    pub is_local: bool,
    /// The number of its file in [`TranslationUnit::files`].
    pub file: u32,
    /// The line of the declaration, from 1.
    pub line: u32,
    /// The line on which the declaration ends.
    pub last_line: u32,
    /// Where the files use an instance first.
    pub first_use: Option<SourcePlace>,
    /// The front end alone writes it: back ends do not verify it again.
    pub(crate) ir: Vec<u8>,
    /// Its assertions, with their messages by line and column.
    pub assertions: Vec<Assertion>,
}

impl FunctionDefinition {
    /// The encoded [`ir::Function`](crate::ir::Function), whose parameters are those of
    /// [the calling convention](super#calling-convention). Calls of functions of the unit name them by their
    /// position in [`TranslationUnit::functions`].
    ///
    /// Empty once an execution manager has taken it.
    pub fn ir(&self) -> &[u8] {
        &self.ir
    }
}

/// A function of the host that no file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalSignature {
    /// The types of the parameters. A function with a [`Scalar::Pointer`] is called where the source declares it.
    pub params: Vec<Scalar>,
    /// The type of the result.
    pub result: Option<Scalar>,
}

/// A function of another unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFunction {
    /// The symbol.
    pub symbol: String,
    /// As [`FunctionDefinition::type_hash`], of the types by which it is called; `None` if no file declares it.
    pub type_hash: Option<u64>,
}

/// The message of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The line, from 1.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
    /// The message.
    pub message: String,
}

/// A generic function of a [`TranslationUnit`].
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Its type parameters.
    pub type_params: Vec<TypeParam>,
    /// The types of its parameters; its type parameters are the variables `T0`, `T1` and so on.
    pub params: Vec<Type>,
    /// The type of its result, where it is written or unit.
    pub result: Option<Type>,
    /// The IR with the same type parameters, where the body needs no more than scalars: an encoded
    /// [`ir::Function`](crate::ir::Function).
    pub ir: Option<Vec<u8>>,
    /// The source of the function, behind the declarations that it can refer to:
    /// [`instantiate`](super::instantiate) makes instances of it.
    pub text: String,
    /// Of one or two type parameters: the types among i64, f64, i32 and bool for which there is an instance. Empty in
    /// [`Mode::Manager`](super::Mode::Manager).
    pub possible: Vec<Vec<Type>>,
}

/// A type parameter of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeParam {
    /// Its name.
    pub name: String,
    /// The names of its bounds.
    pub bounds: Vec<String>,
}

/// A constant of a [`TranslationUnit`].
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Its value.
    pub value: ConstantValue,
}

/// The value of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstantValue {
    /// An integer, or the number of a bool.
    Integer(i128),
    /// A float.
    Float(f64),
    /// A text.
    Text(Vec<u8>),
}

/// The IR of source files.
#[derive(Clone, Debug, Default)]
pub struct TranslationUnit {
    /// The names of the files, as the compiler got them.
    pub files: Vec<String>,
    /// The functions. Instances of generic functions come behind the others.
    pub functions: Vec<FunctionDefinition>,
    /// The generic functions.
    pub templates: Vec<Template>,
    /// The constants that have a value of a scalar type or a text.
    pub constants: Vec<Constant>,
    /// The functions of `extern fn` declarations, and called functions that no file declares.
    pub externals: Vec<ExternalFunction>,
    /// The names of the parameters of all functions, with a comma behind each.
    pub(crate) param_names: String,
}

impl TranslationUnit {
    /// The name of the file of a function.
    pub fn file(&self, function: &FunctionDefinition) -> &str {
        let file = usize::try_from(function.file).ok().and_then(|file| self.files.get(file));
        file.map_or("", String::as_str)
    }

    /// The names of the parameters of a function, with a comma behind each.
    pub fn param_names(&self, function: &FunctionDefinition) -> &str {
        self.param_names.get(function.param_names.clone()).unwrap_or("")
    }

    /// The number of the function with this symbol.
    pub fn find(&self, symbol: &str) -> Option<usize> {
        self.functions.iter().position(|function| function.symbol == symbol)
    }
}

/// The result of a run of the front end.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The unit, unless there are errors.
    pub unit: Option<TranslationUnit>,
    /// Errors and warnings, by file in the order in which they were found.
    pub diagnostics: Vec<Diagnostic>,
}
