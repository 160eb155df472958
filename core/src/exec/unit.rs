//! Functions that are compiled together.

use alloc::vec::Vec;

use hashbrown::HashMap;
use thiserror::Error;

use super::external::CalledTypes;
use super::record::FunctionRecord;
use crate::alloc_util::{
    AllocError, TryArc, try_collect, try_copy_bytes, try_push, try_with_capacity,
};
use crate::ir::text::{TextError, parse};
use crate::ir::{
    Arguments, Callee, CalleeKind, Function, FunctionInstance, IrError, Scalar, ValueType,
    Verified, VerifiedTemplate,
};
use crate::link::Name;

/// The magic number of the binary form of a unit.
const MAGIC: &[u8; 4] = b"SMUN";

/// The maximum number of functions of a unit.
const MAX_FUNCTIONS: usize = 1 << 20;

/// A function of a unit.
#[derive(Clone, Debug)]
pub struct UnitFunction {
    name: Name,
    body: VerifiedTemplate,
    /// Shared with the versions of the function in a manager.
    params: TryArc<[Scalar]>,
    result: Option<Scalar>,
    /// The hash of the types in Simple; `None` for a function that is not from source.
    type_hash: Option<u64>,
    has_callees: bool,
    record: Option<FunctionRecord>,
}

/// Why functions are no unit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnitError {
    /// The text is malformed.
    #[error("{0}")]
    Text(TextError),
    /// The binary form is malformed.
    #[error("the binary form of a unit is malformed at offset {offset:#x}")]
    Binary {
        /// In bytes.
        offset: usize,
    },
    /// A function is invalid.
    #[error("function `{function}`: {error}")]
    Function {
        /// The name of the function.
        function: Name,
        /// What is wrong.
        error: IrError,
    },
    /// A template, or a function with type parameters.
    #[error("function `{0}` has type parameters")]
    Generic(Name),
    /// Two functions have this name.
    #[error("two functions are called `{0}`")]
    Duplicate(Name),
    /// A callee that the unit does not have, or one with another signature.
    #[error(
        "function `{function}` calls function {callee} of the unit, which does not exist or has another signature"
    )]
    Callee {
        /// The name of the caller.
        function: Name,
        /// The number of the callee.
        callee: u32,
    },
    /// More functions than a unit can have.
    #[error("a unit has at most {MAX_FUNCTIONS} functions")]
    TooManyFunctions,
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

impl UnitFunction {
    /// Verifies a function without type parameters.
    ///
    /// # Errors
    /// [`UnitError::Function`], [`UnitError::Generic`].
    pub fn new(name: &[u8], body: &[u8]) -> Result<Self, UnitError> {
        let bytes = try_copy_bytes(body)?.into_vec();
        Self::with_body(name, bytes, |function| Verified::new(function))
    }

    /// As [`new`](Self::new), for a function from a front end of this library with the hash of its types: see
    /// [`Verified::trusted`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[cfg(feature = "source")]
    pub(crate) fn trusted(name: &[u8], body: Vec<u8>, type_hash: u64) -> Result<Self, UnitError> {
        let function = Self::with_body(name, body, |function| Verified::trusted(function))?;
        Ok(Self { type_hash: Some(type_hash), ..function })
    }

    fn with_body(
        name: &[u8],
        bytes: Vec<u8>,
        verify: fn(Function<'_>) -> Result<Verified<'_>, IrError>,
    ) -> Result<Self, UnitError> {
        let name = Name::new(name)?;
        let invalid = |error| match error {
            IrError::OutOfMemory => UnitError::OutOfMemory(AllocError),
            error => UnitError::Function { function: name.clone(), error },
        };
        let function = Function::parse(&bytes).map_err(invalid)?;
        let facts = verify(function).map_err(invalid)?.into_facts();
        if function.type_params() != 0 {
            return Err(UnitError::Generic(name));
        }
        let signature = function.signature();
        // Without type parameters, all of them are scalars.
        let scalar = |index: usize| {
            let code = signature.params.get(index).copied();
            code.and_then(Scalar::from_code).unwrap_or(Scalar::I64)
        };
        let params = TryArc::from_fn(signature.params.len(), scalar)?;
        let result = match signature.result() {
            Some(ValueType::Scalar(scalar)) => Some(scalar),
            _ => None,
        };
        let has_callees = function.callee_count() != 0;
        let body = VerifiedTemplate::of_facts(bytes, facts);
        Ok(Self { name, body, params, result, type_hash: None, has_callees, record: None })
    }

    /// Whether the function calls any other one.
    pub(super) fn has_callees(&self) -> bool {
        self.has_callees
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The types of the parameters.
    pub fn params(&self) -> &[Scalar] {
        &self.params
    }

    /// The types of the parameters, shared.
    pub(super) fn shared_params(&self) -> TryArc<[Scalar]> {
        self.params.clone()
    }

    /// The type of the result.
    pub fn result(&self) -> Option<Scalar> {
        self.result
    }

    /// The hash of the types in Simple; `None` for a function that is not from source.
    pub(super) fn type_hash(&self) -> Option<u64> {
        self.type_hash
    }

    pub(super) fn record(&self) -> Option<&FunctionRecord> {
        self.record.as_ref()
    }

    /// The function for code generation.
    ///
    /// # Errors
    /// [`IrError::OutOfMemory`].
    pub fn instance(&self) -> Result<FunctionInstance<'_, '_>, IrError> {
        self.body.instance(Arguments::new(&[])?)
    }
}

/// Functions that are compiled together, and call each other by number.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    functions: Vec<UnitFunction>,
    /// The functions that files declare and do not define, by ascending name, with the hash of their types. Several files may
    /// declare one of them.
    externals: Vec<(Name, u64)>,
}

impl Unit {
    /// A unit of verified functions.
    ///
    /// # Errors
    /// [`UnitError::Duplicate`], [`UnitError::Callee`], [`UnitError::TooManyFunctions`].
    pub fn new(functions: Vec<UnitFunction>) -> Result<Self, UnitError> {
        if functions.len() > MAX_FUNCTIONS {
            return Err(UnitError::TooManyFunctions);
        }
        let unit = Self { functions, externals: Vec::new() };
        unit.check_names()?;
        for function in unit.functions().iter().filter(|function| function.has_callees) {
            unit.check_callees(function)?;
        }
        Ok(unit)
    }

    /// With the functions that the files of the unit declare and do not define, and the hash of their types.
    #[cfg(feature = "source")]
    pub(super) fn with_externals(self, mut externals: Vec<(Name, u64)>) -> Self {
        externals.sort_unstable_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        Self { externals, ..self }
    }

    /// Records something of a function, by its number. A manager returns it with the version of the function that it
    /// compiles from the unit: see [`FunctionVersion::record`](super::FunctionVersion::record).
    pub fn set_record(&mut self, index: usize, record: FunctionRecord) {
        if let Some(function) = self.functions.get_mut(index) {
            function.record = Some(record);
        }
    }

    /// The types by which functions of the unit call a function of the host.
    pub fn called_types<'c>(&'c self, callee: &Callee<'c>) -> CalledTypes<'c> {
        let name = callee.name.as_bytes();
        let start = self.externals.partition_point(|(known, _)| known.as_bytes() < name);
        let rest = self.externals.get(start..).unwrap_or(&[]);
        let count = rest.iter().take_while(|(known, _)| known.as_bytes() == name).count();
        let declared = rest.get(..count).unwrap_or(&[]);
        CalledTypes { signature: callee.signature, declared }
    }

    /// Reads the text form, whose functions are those that begin with `function`.
    ///
    /// # Errors
    /// [`UnitError`].
    pub fn from_text(text: &str) -> Result<Self, UnitError> {
        let parsed = parse(text).map_err(UnitError::Text)?;
        let mut functions = try_with_capacity(parsed.len())?;
        for function in &parsed {
            functions.push(UnitFunction::new(function.name.as_bytes(), &function.body)?);
        }
        Self::new(functions)
    }

    /// Reads the binary form: the magic number `SMUN`, the number of functions (u32), and for each of them the length of
    /// its name (u32), the name, and its encoded form, which states its own length.
    ///
    /// # Errors
    /// [`UnitError`].
    pub fn from_binary(bytes: &[u8]) -> Result<Self, UnitError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(UnitError::Binary { offset: 0 });
        }
        let count = reader.number()?;
        let mut functions = Vec::new();
        for _ in 0..count {
            let name_length = reader.number()?;
            let name = reader.take(name_length)?;
            let length = reader.body_length()?;
            let body = reader.take(length)?;
            try_push(&mut functions, UnitFunction::new(name, body)?)?;
        }
        match reader.at == bytes.len() {
            true => Self::new(functions),
            false => Err(UnitError::Binary { offset: reader.at }),
        }
    }

    /// The binary form.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn to_binary(&self) -> Result<Vec<u8>, AllocError> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let count = u32::try_from(self.functions.len()).unwrap_or(u32::MAX).to_le_bytes();
        let start = MAGIC.iter().chain(&count).copied();
        let parts = self.functions.iter().flat_map(|function| {
            let name = function.name.as_bytes();
            length(name).into_iter().chain(name.iter().chain(function.body.bytes()).copied())
        });
        try_collect(start.chain(parts))
    }

    /// The functions.
    pub fn functions(&self) -> &[UnitFunction] {
        &self.functions
    }

    /// The functions for code generation, in the order of the unit.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn instances(&self) -> Result<Vec<FunctionInstance<'_, '_>>, AllocError> {
        let mut instances = try_with_capacity(self.functions.len())?;
        for function in &self.functions {
            // A function of a unit is verified.
            instances.push(function.instance().map_err(|_| AllocError)?);
        }
        Ok(instances)
    }

    /// The name of a function by its number, for errors and tools; empty if there is none.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn function_name(&self, index: usize) -> Result<Name, AllocError> {
        let function = self.functions.get(index);
        function.map_or_else(|| Name::new(b""), |function| Ok(function.name.clone()))
    }

    fn check_names(&self) -> Result<(), UnitError> {
        let mut names = HashMap::new();
        names.try_reserve(self.functions.len()).map_err(|_| AllocError)?;
        for function in &self.functions {
            if names.insert(function.name.as_bytes(), ()).is_some() {
                return Err(UnitError::Duplicate(function.name.clone()));
            }
        }
        Ok(())
    }

    /// Checks that callees of the unit exist and have the signatures that the caller states.
    fn check_callees(&self, function: &UnitFunction) -> Result<(), UnitError> {
        let invalid = |error| UnitError::Function { function: function.name.clone(), error };
        let body = Function::parse(function.body.bytes()).map_err(invalid)?;
        for number in 0..body.callee_count() {
            let callee = body.callee(number).map_err(invalid)?;
            let CalleeKind::Function(index) = callee.kind else { continue };
            let target = usize::try_from(index).ok().and_then(|index| self.functions.get(index));
            let code = |scalar: &Scalar| scalar.code();
            let is_same = target.is_some_and(|target| {
                target.params.iter().map(code).eq(callee.signature.params.iter().copied())
                    && target.result.map_or(0, Scalar::code) == callee.signature.result
            });
            if !is_same {
                let function = function.name.clone();
                return Err(UnitError::Callee { function, callee: index });
            }
        }
        Ok(())
    }
}

/// Reads the binary form.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], UnitError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let taken = rest.get(..length).ok_or(UnitError::Binary { offset: self.at })?;
        self.at += length;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, UnitError> {
        let offset = self.at;
        let bytes = self.take(4)?.first_chunk().ok_or(UnitError::Binary { offset })?;
        usize::try_from(u32::from_le_bytes(*bytes)).map_err(|_| UnitError::Binary { offset })
    }

    /// The length of the encoded function that begins here.
    fn body_length(&self) -> Result<usize, UnitError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let length = Function::length(rest).and_then(|length| usize::try_from(length).ok());
        length.ok_or(UnitError::Binary { offset: self.at })
    }
}
