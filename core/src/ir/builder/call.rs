//! Calls, and the tables that describe their callees.

use alloc::vec;

use super::{BuildError, FunctionBuilder, Local, SEARCHED, TypeArgument};
use crate::alloc_util::{try_push, try_reserve};
use crate::ir::function::{CALLEE, CalleeKind, MAX_NAME, NAMED, TYPE};
use crate::ir::instruction::NONE;
use crate::ir::opcode::Opcode;
use crate::ir::types::ValueType;

impl FunctionBuilder {
    pub(super) fn call_of(
        &mut self,
        kind: CalleeKind,
        name: &str,
        types: &[TypeArgument],
        to: Option<Local>,
        arguments: &[Local],
        dropped: Option<ValueType>,
    ) {
        let result = to.and_then(|to| self.local_type(to)).or(dropped);
        let callee = self.callee(kind, name, types, arguments, result.map_or(0, ValueType::code));
        let to = to.map_or(NONE, Local::number);
        self.call_with(Opcode::Call, callee, [to, 0], arguments);
    }

    /// Appends a call of `callee`. `fields` are the first and the last one of the instruction.
    pub(super) fn call_with(
        &mut self,
        opcode: Opcode,
        callee: Result<u16, BuildError>,
        fields: [u16; 2],
        arguments: &[Local],
    ) {
        let first = self.operands.len();
        let reserved = try_reserve(&mut self.operands, arguments.len());
        if reserved.is_err() {
            return self.require(reserved);
        }
        self.operands.extend(arguments.iter().map(|local| local.0));
        let [a, c] = fields;
        match (callee, i32::try_from(first)) {
            (Ok(callee), Ok(first)) => self.plain(opcode, None, [a, callee, c], first),
            (Err(error), _) => self.fail(error),
            (_, Err(_)) => self.fail(BuildError::TooLarge),
        }
    }

    /// The number of the callee that is described so; the one before is used again when it is the same.
    pub(super) fn callee(
        &mut self,
        kind: CalleeKind,
        name: &str,
        types: &[TypeArgument],
        arguments: &[Local],
        result: u8,
    ) -> Result<u16, BuildError> {
        let large = BuildError::TooLarge;
        let arity = u8::try_from(types.len()).map_err(|_| large)?;
        let params = u8::try_from(arguments.len()).map_err(|_| large)?;
        let first_type = u16::try_from(self.types.len() / TYPE).map_err(|_| large)?;
        let first_code = u32::try_from(self.codes.len()).map_err(|_| large)?;
        let [n0, n1, t0, t1] = match kind {
            CalleeKind::Function(index) => index.to_le_bytes(),
            CalleeKind::Indirect => [0; 4],
            CalleeKind::Instance | CalleeKind::Host => {
                let [n0, n1] = self.string(name)?.to_le_bytes();
                let [t0, t1] = first_type.to_le_bytes();
                [n0, n1, t0, t1]
            }
        };
        types.iter().try_for_each(|ty| self.type_argument(ty))?;
        try_reserve(&mut self.codes, arguments.len()).map_err(|_| BuildError::OutOfMemory)?;
        let codes = arguments.iter().map(|local| self.locals.get(usize::from(local.0)));
        self.codes.extend(codes.map(|code| code.copied().unwrap_or(0)));
        let has_types = matches!(kind, CalleeKind::Instance);
        let kind = match kind {
            CalleeKind::Instance => 0,
            CalleeKind::Host => 1,
            CalleeKind::Function(_) => 2,
            CalleeKind::Indirect => 3,
        };
        let [p0, p1, p2, p3] = first_code.to_le_bytes();
        let entry = [n0, n1, kind, result, arity, params, t0, t1, p0, p1, p2, p3];
        if let Some(index) = self.same_callee(&entry, has_types) {
            self.types.truncate(usize::from(first_type) * TYPE);
            self.codes.truncate(arguments_begin(first_code));
            return Ok(index);
        }
        self.is_new |= kind > 1;
        try_push(&mut self.callees, entry).map_err(|_| BuildError::OutOfMemory)?;
        u16::try_from(self.callees.len() - 1).map_err(|_| large)
    }

    /// The callee whose entry says the same as `entry`, whose types and codes are the last ones.
    fn same_callee(&self, entry: &[u8; CALLEE], has_types: bool) -> Option<u16> {
        let described = |entry: &[u8; CALLEE]| {
            let [n0, n1, kind, result, arity, params, t0, t1, p0, p1, p2, p3] = *entry;
            let types = usize::from(u16::from_le_bytes([t0, t1])) * TYPE;
            let codes = arguments_begin(u32::from_le_bytes([p0, p1, p2, p3]));
            let codes = self.codes.get(codes..)?.get(..usize::from(params))?;
            // Without types the field is the upper half of the number of a function.
            let (number, types) = match has_types {
                true => (0, self.types.get(types..)?),
                false => (types, &[][..]),
            };
            Some((([n0, n1, kind, result, arity, params], number), types, codes))
        };
        let (head, types, codes) = described(entry)?;
        let same = |known: &[u8; CALLEE]| {
            let found = described(known);
            found.is_some_and(|(h, t, c)| h == head && c == codes && t.starts_with(types))
        };
        let recent = self.callees.iter().enumerate().rev().take(SEARCHED);
        let index = recent.into_iter().find(|(_, known)| same(known))?.0;
        u16::try_from(index).ok()
    }

    fn type_argument(&mut self, argument: &TypeArgument) -> Result<(), BuildError> {
        // An explicit stack: what nests deeply must not use up that of the machine.
        let mut left = vec![argument];
        while let Some(argument) = left.pop() {
            match argument {
                TypeArgument::Type(ty) => self.types.extend([ty.code(), 0, 0, 0]),
                TypeArgument::Named(name, arguments) => {
                    let arity = u8::try_from(arguments.len()).map_err(|_| BuildError::TooLarge)?;
                    let [n0, n1] = self.string(name)?.to_le_bytes();
                    self.types.extend([NAMED, arity, n0, n1]);
                    left.extend(arguments.iter().rev());
                }
            }
        }
        Ok(())
    }

    /// Where `name` is among the strings.
    pub(super) fn string(&mut self, name: &str) -> Result<u16, BuildError> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            return Err(BuildError::Name);
        }
        if let Some(&known) = self.known_strings.get(name) {
            return Ok(known);
        }
        let begin = u16::try_from(self.strings.len()).map_err(|_| BuildError::TooLarge)?;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.known_strings.insert(name.into(), begin);
        Ok(begin)
    }
}

/// A place in the codes as an index.
fn arguments_begin(first: u32) -> usize {
    usize::try_from(first).unwrap_or(usize::MAX)
}
