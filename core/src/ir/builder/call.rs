//! Calls, and the tables that describe their callees.

use alloc::vec::Vec;
use core::hash::BuildHasher;

use super::error::{count_8, count_16, count_32};
use super::{BuildError, FunctionBuilder, Local, NewCallee, TypeArgument};
use crate::alloc_util::{AllocError, try_push, try_reserve};
use crate::ir::function::{CALLEE, CalleeKind, MAX_NAME, NAMED, TYPE};
use crate::ir::instruction::NONE;
use crate::ir::opcode::Opcode;
use crate::ir::types::ValueType;

impl FunctionBuilder {
    /// Appends a call of any kind. `address` is that of an indirect call.
    pub(crate) fn call_of(
        &mut self,
        opcode: Opcode,
        callee: NewCallee<'_>,
        to: Option<Local>,
        address: Option<Local>,
        arguments: &[Local],
        dropped: Option<ValueType>,
    ) {
        let is_tail = matches!(opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect);
        let result = match to.and_then(|to| self.local_type(to)).or(dropped) {
            _ if is_tail => self.result,
            result => result.map_or(0, ValueType::code),
        };
        let first = self.codes.len();
        let step = self.argument_codes(arguments).map_err(BuildError::from);
        let callee = step.and_then(|()| self.callee(callee, first, result));
        let operand = count_31(self.operands.len(), "operands of calls");
        let pushed = try_reserve(&mut self.operands, arguments.len());
        let fields = callee.and_then(|callee| {
            pushed?;
            Ok((callee, operand?))
        });
        match fields {
            Ok((callee, operand)) => {
                self.operands.extend(arguments.iter().map(|local| local.0));
                let a = if is_tail { 0 } else { to.map_or(NONE, Local::number) };
                self.plain(opcode, None, [a, callee, address.map_or(0, Local::number)], operand);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Sets `to`, a pointer, to the address of a callee.
    pub(crate) fn address_of(
        &mut self,
        to: Local,
        callee: NewCallee<'_>,
        params: &[ValueType],
        result: Option<ValueType>,
    ) {
        let first = self.codes.len();
        let step = try_reserve(&mut self.codes, params.len()).map_err(BuildError::from);
        let callee = step.and_then(|()| {
            self.codes.extend(params.iter().map(|ty| ty.code()));
            self.callee(callee, first, result.map_or(0, ValueType::code))
        });
        match callee {
            Ok(callee) => self.plain(Opcode::FunctionAddress, None, [to.0, callee, 0], 0),
            Err(error) => self.fail(error),
        }
    }

    /// Appends the types of the arguments to the codes.
    fn argument_codes(&mut self, arguments: &[Local]) -> Result<(), AllocError> {
        try_reserve(&mut self.codes, arguments.len())?;
        let codes = arguments.iter().map(|local| self.locals.get(usize::from(local.0)));
        self.codes.extend(codes.map(|code| code.copied().unwrap_or(0)));
        Ok(())
    }

    /// The number of the callee whose parameters have the codes from `first` on. An equal callee is used again.
    fn callee(
        &mut self,
        NewCallee { kind, name, types }: NewCallee<'_>,
        first: usize,
        result: u8,
    ) -> Result<u16, BuildError> {
        let arity = count_8(types.len(), "types of an instance")?;
        let params = self.codes.len().saturating_sub(first);
        let params = u8::try_from(params).map_err(|_| BuildError::Arguments(params))?;
        let first_type = count_16(self.types.len() / TYPE, "types of instances")?;
        let first_code = count_32(first, "parameters of callees")?;
        let (kind, [n0, n1, t0, t1]) = match kind {
            CalleeKind::Function(index) => (2, index.to_le_bytes()),
            CalleeKind::Indirect => (3, [0; 4]),
            CalleeKind::Instance | CalleeKind::Host => {
                let [n0, n1] = self.string(name)?.to_le_bytes();
                let [t0, t1] = first_type.to_le_bytes();
                (u8::from(kind == CalleeKind::Host), [n0, n1, t0, t1])
            }
        };
        types.iter().try_for_each(|ty| self.type_argument(ty))?;
        let [p0, p1, p2, p3] = first_code.to_le_bytes();
        let entry = [n0, n1, kind, result, arity, params, t0, t1, p0, p1, p2, p3];
        let (hash, known) = self.same_callee(&entry);
        if let Some(index) = known {
            self.types.truncate(usize::from(first_type) * TYPE);
            self.codes.truncate(first);
            return Ok(index);
        }
        // The format counts the callees in 16 bits too.
        let index = count_16(self.callees.len() + 1, "callees")? - 1;
        let known = &mut self.known_callees;
        known.try_reserve(1, |known| known.0).map_err(|_| BuildError::OutOfMemory)?;
        known.insert_unique(hash, (hash, index), |known| known.0);
        try_push(&mut self.callees, entry)?;
        Ok(index)
    }

    /// The hash of a callee, whose types and codes are the last in their tables, and the callee equal to it.
    fn same_callee(&self, entry: &[u8; CALLEE]) -> (u64, Option<u16>) {
        let described = |entry: &[u8; CALLEE]| {
            let [n0, n1, kind, result, arity, params, t0, t1, p0, p1, p2, p3] = *entry;
            let codes = arguments_begin(u32::from_le_bytes([p0, p1, p2, p3]));
            let codes = self.codes.get(codes..)?.get(..usize::from(params))?;
            // Of an instance and a function of the host, the number of a type entry.
            let number = if kind > 1 { [t0, t1] } else { [0; 2] };
            let types = usize::from(u16::from_le_bytes([t0, t1])) * TYPE;
            let types = if kind == 0 { self.types.get(types..)? } else { &[] };
            Some(([n0, n1, kind, result, arity, params], number, codes, types))
        };
        let Some(new) = described(entry) else { return (0, None) };
        let (head, number, codes, types) = new;
        let is_same = |&(_, index): &(u64, u16)| {
            let known = self.callees.get(usize::from(index)).and_then(described);
            known.is_some_and(|(h, n, c, t)| {
                (h, n, c) == (head, number, codes) && t.starts_with(types)
            })
        };
        let hash = self.hasher.hash_one(new);
        (hash, self.known_callees.find(hash, is_same).map(|&(_, index)| index))
    }

    fn type_argument(&mut self, argument: &TypeArgument) -> Result<(), BuildError> {
        // An explicit stack: a type that nests deeply must not use up that of the thread.
        let mut left = Vec::new();
        try_push(&mut left, argument)?;
        while let Some(argument) = left.pop() {
            let entry = match argument {
                TypeArgument::Type(ty) => [ty.code(), 0, 0, 0],
                TypeArgument::Named(name, arguments) => {
                    let arity = count_8(arguments.len(), "arguments of a type")?;
                    let [n0, n1] = self.string(name)?.to_le_bytes();
                    try_reserve(&mut left, arguments.len())?;
                    left.extend(arguments.iter().rev());
                    [NAMED, arity, n0, n1]
                }
            };
            try_reserve(&mut self.types, TYPE)?;
            self.types.extend_from_slice(&entry);
        }
        Ok(())
    }

    /// The offset of `name` in the strings.
    pub(super) fn string(&mut self, name: &str) -> Result<u16, BuildError> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            return Err(BuildError::Name);
        }
        let Self { strings, known_strings, hasher, .. } = self;
        let is_same = |&offset: &u16| name_at(strings, offset) == name.as_bytes();
        let hash = hasher.hash_one(name.as_bytes());
        if let Some(&known) = known_strings.find(hash, is_same) {
            return Ok(known);
        }
        let start = count_16(strings.len(), NAMES)?;
        count_16(strings.len() + name.len() + 1, NAMES)?;
        let rehash = |&offset: &u16| hasher.hash_one(name_at(strings, offset));
        known_strings.try_reserve(1, rehash).map_err(|_| BuildError::OutOfMemory)?;
        known_strings.insert_unique(hash, start, rehash);
        try_reserve(strings, name.len() + 1)?;
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        Ok(start)
    }

    /// The index of a constant.
    pub(in crate::ir) fn constant_index(&mut self, bits: u64) -> Result<i32, BuildError> {
        let Self { constants, known_constants, hasher, .. } = self;
        let value = |&index: &u32| {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            constants.get(index).copied().unwrap_or(0)
        };
        let hash = hasher.hash_one(bits);
        if let Some(&known) = known_constants.find(hash, |index| value(index) == bits) {
            return Ok(known.cast_signed());
        }
        let index = count_31(constants.len(), "constants")?;
        let rehash = |index: &u32| hasher.hash_one(value(index));
        known_constants.try_reserve(1, rehash).map_err(|_| BuildError::OutOfMemory)?;
        known_constants.insert_unique(hash, index.cast_unsigned(), rehash);
        try_push(constants, bits)?;
        Ok(index)
    }
}

/// What the strings are in a message.
const NAMES: &str = "bytes of names of files, callees and types";

/// An index that is a field `imm`.
fn count_31(number: usize, what: &'static str) -> Result<i32, BuildError> {
    let limit = i32::MAX.cast_unsigned();
    i32::try_from(number).map_err(|_| BuildError::TooLarge { what, limit })
}

/// The name at an offset of the strings, without its NUL.
fn name_at(strings: &[u8], offset: u16) -> &[u8] {
    let from = strings.get(usize::from(offset)..).unwrap_or(&[]);
    from.split(|&byte| byte == 0).next().unwrap_or(&[])
}

/// A place in the codes as an index.
fn arguments_begin(first: u32) -> usize {
    usize::try_from(first).unwrap_or(usize::MAX)
}
