//! Errors of the execution manager.

use std::fmt;

use smf_core::alloc_util::AllocError;
use smf_core::exec::{BackendError, ManagerError, UnitError};
use smf_core::ir::Scalar;
use smf_core::ir::text::TextError;
use smf_core::link::Name;
use smf_core::plural;
use smf_core::source::{Diagnostic, Severity};
use smf_core::trap::TrapError;
use thiserror::Error;

use crate::fallible_buf::{Lossy, try_format};
use crate::files::ReadError;
use crate::loader::LoadFileError;
use crate::loader_templates::InstanceError;
use crate::source::ProgramError;

/// Why an execution manager refuses.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecError {
    /// A name that no back end has.
    #[error("no back end is called `{name}`: there are auto, native, cranelift and llvm")]
    UnknownBackend {
        /// The name.
        name: Name,
    },
    /// A back end that this build lacks.
    #[error("the back end `{name}` is not part of this build: it needs the feature `{name}`")]
    MissingBackend {
        /// The name of the back end, and of its feature.
        name: &'static str,
    },
    /// The source has errors.
    #[error("{}", FirstError(.0))]
    Source(Vec<Diagnostic>),
    /// Another front end refuses the source.
    #[error("{0}")]
    FrontEnd(String),
    /// A file that cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The path.
        path: String,
        /// The cause.
        error: ReadError,
    },
    /// A file of text that is not UTF-8.
    #[error("{path}: the file is not UTF-8")]
    NotText {
        /// The path.
        path: String,
    },
    /// A file of IR in its text form that is malformed.
    #[error("{file}: {error}: `{source_line}`")]
    Ir {
        /// The name of the file.
        file: String,
        /// The line, without blanks around it.
        source_line: String,
        /// What is wrong.
        error: TextError,
    },
    /// The modules that a source file uses cannot be read.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A module that cannot be loaded.
    #[error(transparent)]
    Load(#[from] Box<LoadFileError>),
    /// An instance that cannot be made.
    #[error(transparent)]
    Instance(InstanceError),
    /// A unit whose callee, a function of a module or an instance, has no address.
    #[error("{error}; {cause}")]
    Callee {
        /// The callee.
        error: ManagerError,
        /// Why it has no address.
        cause: Box<ExecError>,
    },
    /// The manager of the core refuses.
    #[error(transparent)]
    Manager(ManagerError),
    /// The function trapped.
    #[error("{message}")]
    Trap {
        /// The number of the trap.
        code: u32,
        /// The line, or the offset of the instruction in its function.
        at: u32,
        /// The function that trapped.
        function: Option<Name>,
        /// One sentence.
        message: String,
    },
    /// A call of a function of a module, whose types are unknown, with a float.
    #[error("argument {number} of function `{function}` of a module is not an integer")]
    ModuleArgument {
        /// The name of the function.
        function: Name,
        /// The argument, from 1.
        number: usize,
    },
    /// A call of a function of a module with a parameter or result that is no number or bool.
    #[error(
        "function `{function}` of a module has a parameter or result that is no number or bool"
    )]
    ModuleTypes {
        /// The name of the function.
        function: Name,
    },
    /// A function of a module where the handle of a compiled function is wanted.
    #[error("function `{function}` of a module has no handle; call it by name")]
    ModuleFunction {
        /// The name of the function.
        function: Name,
    },
    /// An integer for a parameter of a type that lacks it.
    #[error("argument {number} of function `{function}`: {value} is no value of type {expected}")]
    Integer {
        /// The name of the function.
        function: Name,
        /// The argument, from 1.
        number: usize,
        /// The integer.
        value: i64,
        /// The type of the parameter.
        expected: Scalar,
    },
    /// A text that is no value of the type of its parameter.
    #[error("argument {number} of function `{function}` is no value of type {expected}")]
    Text {
        /// The name of the function.
        function: Name,
        /// The argument, from 1.
        number: usize,
        /// The type of the parameter.
        expected: Scalar,
    },
    /// A call without texts of a function that takes or returns texts.
    #[error(
        "{} a text, so that the function is called with texts only (`call_text`, `rt_exec_manager_execute_string`)", TextPlace(function, parameter.as_ref())
    )]
    Texts {
        /// The name of the function.
        function: Name,
        /// The name of the first parameter that is a text; `None` if the result alone is one.
        parameter: Option<Name>,
    },
    /// A call with another number of arguments than a function takes that has an array as a parameter.
    #[error(
        "parameter `{parameter}` of function `{function}` is an array, whose address and length are two arguments: the function takes {expected}, and {given} {} given", plural::is(*given)
    )]
    ArrayParameter {
        /// The name of the function.
        function: Name,
        /// The name of the first parameter that is an array.
        parameter: Name,
        /// Arguments given.
        given: usize,
        /// Arguments that the function takes.
        expected: usize,
    },
    /// A call without the address of a result that is in memory.
    #[error(
        "function `{function}` returns its value in memory: the first argument is an address for it"
    )]
    ResultInMemory {
        /// The name of the function.
        function: Name,
    },
    /// A result of another type than the caller asks for.
    #[error("function `{function}` returns a value of type {found}, which is not an integer")]
    Result {
        /// The name of the function.
        function: Name,
        /// The type of the result.
        found: Scalar,
    },
    /// A call of a function of a module that was not made, or that trapped.
    #[error("{0}")]
    Call(TrapError),
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

/// What is a text: a parameter of a function, or the result.
struct TextPlace<'f>(&'f Name, Option<&'f Name>);

impl fmt::Display for TextPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(parameter) => write!(f, "parameter `{parameter}` of function `{}` is", self.0),
            None => write!(f, "function `{}` returns", self.0),
        }
    }
}

/// The first error as text, behind it how many there are.
struct FirstError<'d>(&'d [Diagnostic]);

impl fmt::Display for FirstError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors = self.0.iter().filter(|d| d.severity == Severity::Error);
        let Some(first) = errors.next() else { return f.write_str("the source has no functions") };
        let Diagnostic { file, line, column, message, code, .. } = first;
        write!(f, "{file}:{line}:{column}: error[{}]: {message}", code.as_str())?;
        match errors.count() {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl ExecError {
    pub(crate) fn not_text(path: &str) -> Self {
        match try_format(format_args!("{path}")) {
            Ok(path) => Self::NotText { path },
            Err(error) => error.into(),
        }
    }

    /// The error of `ir`, the contents of `file`.
    pub(super) fn in_ir(self, file: &str, ir: &[u8]) -> Self {
        match self {
            Self::NotText { .. } => Self::not_text(file),
            Self::Manager(ManagerError::Unit(UnitError::Text(error))) => {
                let number = usize::try_from(error.line).unwrap_or(0).saturating_sub(1);
                let line = ir.split(|byte| *byte == b'\n').nth(number).unwrap_or_default();
                let line = Lossy(line.trim_ascii());
                let copied = try_format(format_args!("{file}"))
                    .and_then(|file| Ok((file, try_format(format_args!("{line}"))?)));
                match copied {
                    Ok((file, source_line)) => Self::Ir { file, source_line, error },
                    Err(error) => error.into(),
                }
            }
            error => error,
        }
    }
}

impl From<ManagerError> for ExecError {
    fn from(error: ManagerError) -> Self {
        match error {
            ManagerError::OutOfMemory(error) => error.into(),
            error => Self::Manager(error),
        }
    }
}

impl From<BackendError> for ExecError {
    fn from(error: BackendError) -> Self {
        ManagerError::from(error).into()
    }
}

impl From<UnitError> for ExecError {
    fn from(error: UnitError) -> Self {
        ManagerError::from(error).into()
    }
}

impl From<LoadFileError> for ExecError {
    fn from(error: LoadFileError) -> Self {
        Box::new(error).into()
    }
}
