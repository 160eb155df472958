//! The table of instructions: opcode, name, operands and meaning of each, stated once.
//!
//! A line of the table gives the variant, its opcode, its mnemonic and its operands in the order of
//! their bytes, each with the role it plays. Everything that depends on the opcode alone is derived
//! from it: decoding, encoding, length, name, and the operands that the text form spells.

use super::error::DecodeError;

/// Bytes of an opcode, and of the shortest instruction.
pub const OPCODE_SIZE: u32 = 2;

/// Bytes of the longest instruction.
pub const MAX_SIZE: u32 = 14;

/// What an operand says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A position of the vector (u16).
    Slot,
    /// A local (u16).
    Local,
    /// An integer (i64).
    Integer,
    /// The bits of a float (f64).
    Float,
    /// How far to jump, in bytes from the end of the instruction (i32).
    Offset,
    /// The index of a function (u32).
    Function,
    /// The index of a host function (u16).
    Host,
    /// A count, or a number that means something to the instruction alone (u16).
    Short,
    /// An index into a table, or a number that means something to the instruction alone (u32).
    Long,
}

impl Role {
    /// Bytes of the operand.
    pub const fn size(self) -> u32 {
        match self {
            Role::Slot | Role::Local | Role::Host | Role::Short => 2,
            Role::Offset | Role::Function | Role::Long => 4,
            Role::Integer | Role::Float => 8,
        }
    }
}

/// Bytes of an instruction with such operands.
pub(crate) const fn bytes_of(mut roles: &[Role]) -> u32 {
    let mut size = OPCODE_SIZE;
    while let Some((role, rest)) = roles.split_first() {
        size += role.size();
        roles = rest;
    }
    assert!(size <= MAX_SIZE);
    size
}

/// The type of an operand with a role.
macro_rules! operand {
    (Integer) => {
        i64
    };
    (Float) => {
        u64
    };
    (Offset) => {
        i32
    };
    (Function) => {
        u32
    };
    (Long) => {
        u32
    };
    ($($short:tt)*) => {
        u16
    };
}

/// The documentation of a field with a role.
macro_rules! meaning {
    (Slot) => {
        "A position of the vector."
    };
    (Local) => {
        "A local."
    };
    (Integer) => {
        "An integer."
    };
    (Float) => {
        "The bits of a float."
    };
    (Offset) => {
        "How far to jump, in bytes from the end of the instruction."
    };
    (Function) => {
        "The index of a function."
    };
    (Host) => {
        "The index of a host function."
    };
    (Short) => {
        "A number."
    };
    (Long) => {
        "A number, or an index into a table."
    };
}

macro_rules! instructions {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $opcode:literal $name:literal
            $( { $($field:ident: $role:ident),+ } )? ;
    )+) => {
        /// An instruction with its operands. Its size in memory is 16 bytes.
        ///
        /// "Slot `a`" means the value at position `a` of the vector. An instruction that pops two
        /// values pops *right* first, then *left*.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Instruction {
            $(
                $(#[doc = $doc])+
                $variant $( { $(
                    #[doc = meaning!($role)]
                    $field: operand!($role),
                )+ } )?,
            )+
        }

        /// An opcode in a byte: none is larger.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct Opcode(pub(crate) u8);

        #[expect(dead_code, reason = "unsupported opcodes are never decoded")]
        #[expect(non_upper_case_globals, reason = "they are named as the instructions are")]
        impl Opcode {
            $( pub(crate) const $variant: Self = Self($opcode); )+
        }

        impl Instruction {
            /// Every opcode, ascending.
            pub const OPCODES: &'static [u16] = &[$($opcode),+];

            /// The opcode.
            #[inline]
            pub const fn opcode(&self) -> u16 {
                match self {
                    $( Instruction::$variant $( { $($field: _),+ } )? => $opcode, )+
                }
            }

            /// The size in bytes, the opcode among them: 2 to 14.
            #[inline]
            pub const fn size(&self) -> u32 {
                match self {
                    $( Instruction::$variant $( { $($field: _),+ } )? => {
                        const { bytes_of(&[$( $(Role::$role),+ )?]) }
                    } )+
                }
            }

            /// The mnemonic of an opcode, such as `CONST_I64`; `None` for an unknown one.
            pub const fn name_of(opcode: u16) -> Option<&'static str> {
                match opcode {
                    $( $opcode => Some($name), )+
                    _ => None,
                }
            }

            /// What the operands of an opcode say, in the order of their bytes; `None` for an unknown
            /// opcode.
            pub const fn roles_of(opcode: u16) -> Option<&'static [Role]> {
                match opcode {
                    $( $opcode => Some(&[$( $(Role::$role),+ )?]), )+
                    _ => None,
                }
            }

            /// The instruction whose opcode has been read and which `rest` begins with.
            #[inline]
            pub(super) fn decode_operands(
                opcode: u16,
                rest: &[u8],
                at: u32,
            ) -> Result<Self, DecodeError> {
                match opcode {
                    $( $opcode => {
                        const SIZE: u32 = bytes_of(&[$( $(Role::$role),+ )?]);
                        // The length is known from here on, so that no operand is checked again.
                        let found = rest.first_chunk::<{ SIZE as usize }>().and_then(|bytes| {
                            let mut bytes = bytes.get(OPCODE_SIZE as usize..)?;
                            let _ = &mut bytes;
                            Some(Instruction::$variant $( { $(
                                $field: <operand!($role)>::from_le_bytes(take(&mut bytes)?),
                            )+ } )?)
                        });
                        found.ok_or(DecodeError::Truncated { at, needed: SIZE })
                    } )+
                    _ => Err(DecodeError::UnknownOpcode { opcode, at }),
                }
            }

            /// Writes the instruction to the start of `bytes` and returns its length.
            #[inline]
            pub(super) fn write(&self, bytes: &mut [u8; MAX_SIZE as usize]) -> Option<usize> {
                let mut rest = bytes.as_mut_slice();
                match *self {
                    $( Instruction::$variant $( { $($field),+ } )? => {
                        put(&mut rest, u16::to_le_bytes($opcode))?;
                        $( $( put(&mut rest, $field.to_le_bytes())?; )+ )?
                    } )+
                }
                Some(MAX_SIZE as usize - rest.len())
            }
        }
    };
}

#[inline]
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[inline]
fn put<const N: usize>(place: &mut &mut [u8], bytes: [u8; N]) -> Option<()> {
    let (first, rest) = core::mem::take(place).split_first_chunk_mut()?;
    *first = bytes;
    *place = rest;
    Some(())
}

impl Instruction {
    /// The mnemonic, such as `CONST_I64`.
    pub const fn name(&self) -> &'static str {
        match Self::name_of(self.opcode()) {
            Some(name) => name,
            None => "",
        }
    }

    /// Whether it can be run. What no source defines completely, and actors, are only listed.
    pub const fn is_supported(&self) -> bool {
        Self::supports(self.opcode())
    }

    /// Whether the instruction with this opcode, if there is one, can be run.
    pub(crate) const fn supports(opcode: u16) -> bool {
        !matches!(opcode, 0x0052 | 0x0062 | 0x0080 | 0x0081 | 0x0090..=0x0093)
    }

    /// Whether it works on objects or on values whose kind is known at run time alone.
    pub const fn uses_objects(&self) -> bool {
        Self::is_object_operation(self.opcode())
    }

    /// Whether the instruction with this opcode, which is supported, works on objects or on values whose kind is known
    /// at run time alone.
    pub(crate) const fn is_object_operation(opcode: u16) -> bool {
        matches!(
            opcode,
            0x0007 | 0x0008 | 0x0046 | 0x0051 | 0x0063..=0x0065 | 0x0070..=0x0077 | 0x0082..=0x0087
        )
    }

    /// Whether the instruction with this opcode sets the local that it names.
    pub(crate) const fn sets_local(opcode: u16) -> bool {
        matches!(opcode, 0x0061 | 0x00b2)
    }
}

instructions! {
    /// Writes slot `dest`: the integer.
    ConstI64 = 0x0001 "CONST_I64" { dest: Slot, value: Integer };
    /// Writes slot `dest`: the float.
    ConstF64 = 0x0002 "CONST_F64" { dest: Slot, bits: Float };
    /// Writes slot `dest`: true.
    ConstTrue = 0x0003 "CONST_TRUE" { dest: Slot };
    /// Writes slot `dest`: false.
    ConstFalse = 0x0004 "CONST_FALSE" { dest: Slot };
    /// Writes slot `dest`: nil.
    ConstNone = 0x0005 "CONST_NONE" { dest: Slot };
    /// Writes slot `dest`: nil, which is what a value of no information is.
    ConstUnit = 0x0006 "CONST_UNIT" { dest: Slot };
    /// Writes slot `dest`: constant `index` of the pool.
    LoadConst = 0x0007 "LOAD_CONST" { dest: Slot, index: Long };
    /// Writes slot `dest`: the string that is constant `index` of the pool. In one call every execution of it gives the
    /// same object.
    LoadString = 0x0008 "LOAD_STRING" { dest: Slot, index: Long };

    /// Pushes slot `src`, of any kind.
    Push = 0x0010 "PUSH" { src: Slot };
    /// Pops a value of any kind, then writes it to slot `dest`.
    Pop = 0x0011 "POP" { dest: Slot };
    /// Writes slot `dest`: slot `src`, of any kind.
    Dup = 0x0012 "DUP" { src: Slot, dest: Slot };
    /// Exchanges slots `a` and `b`, of any kinds; both are read.
    Swap = 0x0013 "SWAP" { a: Slot, b: Slot };

    /// Pops two i64, pushes left + right.
    AddI64 = 0x0020 "ADD_I64";
    /// Pops two i64, pushes left - right.
    SubI64 = 0x0021 "SUB_I64";
    /// Pops two i64, pushes left * right.
    MulI64 = 0x0022 "MUL_I64";
    /// Pops two i64, pushes left / right, towards zero. A right of 0 traps; `i64::MIN` / -1 wraps.
    DivI64 = 0x0023 "DIV_I64";
    /// Pops two i64, pushes the remainder of left / right, which has the sign of left. A right of 0
    /// traps; `i64::MIN` by -1 leaves 0.
    ModI64 = 0x0024 "MOD_I64";
    /// Pops two f64, pushes left + right.
    AddF64 = 0x0025 "ADD_F64";
    /// Pops two f64, pushes left - right.
    SubF64 = 0x0026 "SUB_F64";
    /// Pops two f64, pushes left * right.
    MulF64 = 0x0027 "MUL_F64";
    /// Pops two f64, pushes left / right; a right of 0 gives an infinity or NaN.
    DivF64 = 0x0028 "DIV_F64";
    /// Pops an i64, pushes its negation.
    NegI64 = 0x0029 "NEG_I64";

    /// Pops two values, pushes the bool left = right. Two i64 compare as integers, i64 and f64 in any
    /// other mix as floats, bool with bool, nil with nil. NaN equals nothing.
    Eq = 0x0030 "EQ";
    /// Pops two values as [`Instruction::Eq`] does, pushes the opposite.
    Ne = 0x0031 "NE";
    /// Pops two numbers, pushes the bool left < right: as integers when both are i64, else as floats.
    /// With a NaN it is false.
    Lt = 0x0032 "LT";
    /// Pops two numbers, pushes the bool left <= right, as [`Instruction::Lt`].
    Le = 0x0033 "LE";
    /// Pops two numbers, pushes the bool left > right, as [`Instruction::Lt`].
    Gt = 0x0034 "GT";
    /// Pops two numbers, pushes the bool left >= right, as [`Instruction::Lt`].
    Ge = 0x0035 "GE";

    /// Jumps.
    Jmp = 0x0040 "JMP" { offset: Offset };
    /// Pops a bool, jumps when it is true.
    JmpIf = 0x0041 "JMP_IF" { offset: Offset };
    /// Pops a bool, jumps when it is false.
    JmpIfNot = 0x0042 "JMP_IF_NOT" { offset: Offset };
    /// Pops `argc` i64, which were pushed left to right and become the first locals of the function,
    /// whose other locals are nil; pushes what it returns. `argc` is its number of parameters.
    Call = 0x0043 "CALL" { function: Function, argc: Short };
    /// Returns slot `src`, of any kind.
    Ret = 0x0044 "RET" { src: Slot };
    /// Returns nil.
    RetVoid = 0x0045 "RET_VOID";
    /// Pops a function, or an integer that is the index of one, then `argc` values, which were pushed left to right;
    /// calls the function with them as [`Instruction::Call`] does, pushes what it returns.
    CallIndirect = 0x0046 "CALL_INDIRECT" { argc: Short };
    /// As [`Instruction::Call`], but in place of this activation: what the function returns is
    /// returned.
    TailCall = 0x0047 "TAIL_CALL" { function: Function, argc: Short };

    /// Pops `argc` i64, calls a function of the host with them, pushes the i64 that it returns.
    CallSffi = 0x0050 "CALL_SFFI" { index: Host, argc: Short };
    /// Pops `argc` values, calls a runtime function of the host with them, pushes the value that it returns.
    CallRuntime = 0x0051 "CALL_RUNTIME" { index: Short, argc: Short };
    /// Not supported, because no source says which functions it numbers: calls a function that another machine interprets.
    CallInterp = 0x0052 "CALL_INTERP" { function: Function, argc: Short };

    /// Writes slot `dest`: the local, of any kind.
    Load = 0x0060 "LOAD" { dest: Slot, local: Local };
    /// Sets the local to slot `src`, of any kind.
    Store = 0x0061 "STORE" { local: Local, src: Slot };
    /// Not supported, because no source says what may be done with it: the address of a local.
    LocalAddr = 0x0062 "LOCAL_ADDR" { dest: Slot, local: Local };
    /// Writes slot `dest`: a new block of `size` bytes, in which all 8 bytes hold a value, at first nil.
    GcAlloc = 0x0063 "GC_ALLOC" { dest: Slot, size: Long, type_id: Short };
    /// Writes slot `dest`: the value at byte `offset`, a multiple of 8, of the block in slot `ptr`.
    LoadHeap = 0x0064 "LOAD_HEAP" { dest: Slot, ptr: Slot, offset: Long };
    /// Replaces the value at byte `offset`, a multiple of 8, of the block in slot `ptr` by slot `src`.
    StoreHeap = 0x0065 "STORE_HEAP" { ptr: Slot, offset: Long, src: Slot };

    /// Pops `count` values, which were pushed in their order, then writes slot `dest`: a new array of them.
    ArrayLit = 0x0070 "ARRAY_LIT" { dest: Slot, count: Short, type_id: Short };
    /// Pops `count` pairs, each of which was pushed as key and value, then writes slot `dest`: a new dictionary of them.
    DictLit = 0x0071 "DICT_LIT" { dest: Slot, count: Short };
    /// Pops `count` values, which were pushed in their order, then writes slot `dest`: a new tuple of them.
    TupleLit = 0x0072 "TUPLE_LIT" { dest: Slot, count: Short };
    /// Writes slot `dest`: the element `index` of an array, a tuple, a dictionary or a string. A negative index of an array
    /// counts from the end; a key that is not in the dictionary gives nil; other indices outside trap.
    IndexGet = 0x0073 "INDEX_GET" { dest: Slot, collection: Slot, index: Slot };
    /// Replaces the element `index` of an array, or sets the value of the key `index` of a dictionary.
    IndexSet = 0x0074 "INDEX_SET" { collection: Slot, index: Slot, value: Slot };
    /// Writes slot `dest`: the i64 number of elements of a collection, or of the bytes of a string.
    Len = 0x0075 "LEN" { dest: Slot, collection: Slot };
    /// Appends slot `value` to the array in slot `collection`.
    Append = 0x0076 "APPEND" { collection: Slot, value: Slot };
    /// Writes slot `dest`: a new array or string of the elements from `start` on and before `end`. Negative bounds count
    /// from the end; bounds outside are the ends.
    Slice = 0x0077 "SLICE" { dest: Slot, collection: Slot, start: Slot, end: Slot };

    /// Not supported, because the format has no table of patterns: whether a value matches a pattern.
    PatternTest = 0x0080 "PATTERN_TEST" { dest: Slot, value: Slot, pattern: Long };
    /// Not supported, because the format has no table of patterns: takes what a pattern binds out of a value.
    PatternBind = 0x0081 "PATTERN_BIND" { value: Slot, pattern: Long, count: Short };
    /// Writes slot `dest`: the bool whether slot `value` is a variant with this discriminant, of any enumeration.
    EnumMatch = 0x0082 "ENUM_MATCH" { dest: Slot, value: Slot, discriminant: Short };
    /// Writes slot `dest`: a field of the variant in slot `value`.
    EnumPayload = 0x0083 "ENUM_PAYLOAD" { dest: Slot, value: Slot, field: Short };
    /// Pops `count` fields, which were pushed in their order, then writes slot `dest`: a new variant with this
    /// discriminant, of the enumeration 0.
    EnumNew = 0x0084 "ENUM_NEW" { dest: Slot, discriminant: Short, count: Short };
    /// Writes slot `dest`: the bool whether slot `value` is anything but nil.
    IsSome = 0x0085 "IS_SOME" { dest: Slot, value: Slot };
    /// Writes slot `dest`: the bool whether slot `value` is this variant of this enumeration.
    EnumMatchTyped = 0x0086 "ENUM_MATCH_TYPED"
        { dest: Slot, value: Slot, type_id: Long, discriminant: Long };
    /// Pops `count` fields, which were pushed in their order, then writes slot `dest`: a new variant of this enumeration.
    EnumNewTyped = 0x0087 "ENUM_NEW_TYPED"
        { dest: Slot, type_id: Long, discriminant: Long, count: Short };

    /// Not supported: waits for a future.
    Await = 0x0090 "AWAIT" { dest: Slot, future: Slot };
    /// Not supported: suspends a generator with a value.
    Yield = 0x0091 "YIELD" { value: Slot };
    /// Not supported: starts an actor.
    ActorSpawn = 0x0092 "ACTOR_SPAWN" { dest: Slot, function: Function };
    /// Not supported: sends a message to an actor.
    ActorSend = 0x0093 "ACTOR_SEND" { actor: Slot, message: Slot };

    /// Pops two bool, pushes whether both are true.
    And = 0x00a0 "AND";
    /// Pops two bool, pushes whether one is true.
    Or = 0x00a1 "OR";
    /// Pops a bool, pushes the other one.
    Not = 0x00a2 "NOT";

    /// Pushes the integer.
    ConstI64Push = 0x00b0 "CONST_I64_PUSH" { value: Integer };
    /// Pushes the local, of any kind.
    LoadPush = 0x00b1 "LOAD_PUSH" { local: Local };
    /// Pops a value of any kind, sets the local to it.
    PopStore = 0x00b2 "POP_STORE" { local: Local };
    /// Pops two i64, then writes slot `dest`: left + right.
    AddI64Pop = 0x00b3 "ADD_I64_POP" { dest: Slot };
    /// Pops two i64, then writes slot `dest`: left - right.
    SubI64Pop = 0x00b4 "SUB_I64_POP" { dest: Slot };
    /// Pops two i64, then writes slot `dest`: left * right.
    MulI64Pop = 0x00b5 "MUL_I64_POP" { dest: Slot };
    /// Pops two numbers, jumps unless left < right, as [`Instruction::Lt`] has it.
    LtJmpIfNot = 0x00b6 "LT_JMP_IF_NOT" { offset: Offset };
    /// Pops two values, jumps unless left = right, as [`Instruction::Eq`] has it.
    EqJmpIfNot = 0x00b7 "EQ_JMP_IF_NOT" { offset: Offset };
}
