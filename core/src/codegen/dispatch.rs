//! The dispatch from opcodes to the lowerings of a machine, which is the same for all machines.

/// Implements `instruction`, which lowers one instruction by the methods of `Lowering` for `$machine`. It is expanded in
/// the module of these methods, so that they stay private to it.
macro_rules! dispatch {
    ($machine:ty) => {
        impl Lowering<'_, '_, $machine> {
            fn instruction(&mut self, i: &Instruction) {
                let Some(scalar) = self.instance.scalar(i.type_code) else {
                    return self.untyped(i);
                };
                match i.opcode {
                    Opcode::Constant => self.constant(i.a, scalar, number(i.imm, scalar)),
                    Opcode::WideConstant => {
                        let bits = self.body.constant(i.imm).unwrap_or(0);
                        self.constant(i.a, scalar, bits);
                    }
                    Opcode::SizeOf => self.constant(i.a, Scalar::U64, scalar.size().into()),
                    Opcode::Move => self.copy(i.a, i.b, scalar),
                    Opcode::Convert => {
                        let code = u8::try_from(i.c).unwrap_or(0);
                        let from = self.instance.scalar(code).unwrap_or(scalar);
                        self.convert(i.a, scalar, i.b, from);
                    }
                    Opcode::Unary(unary) if scalar.is_float() => self.float_unary(i, scalar, unary),
                    Opcode::Unary(unary) => self.unary(i, scalar, unary),
                    Opcode::Binary(binary) if scalar.is_float() => {
                        self.float_binary(i, scalar, binary)
                    }
                    Opcode::Binary(binary) => self.binary(i, scalar, binary),
                    Opcode::Compare(condition) => self.compare(i, scalar, condition),
                    Opcode::Branch(condition) => self.branch(i, scalar, condition),
                    Opcode::TrapCompare(condition) => self.trap_compare(i, scalar, condition),
                    Opcode::Select => self.select_by_bool(i, scalar),
                    Opcode::Load | Opcode::LoadElement => self.load(i, scalar),
                    Opcode::Store | Opcode::StoreElement => self.store(i, scalar),
                    Opcode::Element => self.element(i, scalar),
                    Opcode::Return => self.return_value(i.a, scalar),
                    _ => {}
                }
            }

            /// The instructions that have no type.
            fn untyped(&mut self, i: &Instruction) {
                match i.opcode {
                    Opcode::Jump => self.jump(i),
                    Opcode::BranchIf(expected) => self.branch_if(i, expected),
                    Opcode::TrapIf(expected) => self.trap_if(i, expected),
                    Opcode::Call | Opcode::CallIndirect => self.call(i),
                    Opcode::ReturnCall | Opcode::ReturnCallIndirect => self.tail_call(i),
                    Opcode::ReturnNone => self.leave_and_return(),
                    Opcode::Trap => self.trap_here(i.imm.cast_unsigned()),
                    Opcode::SlotAddress => self.slot_address(i),
                    Opcode::DataAddress => self.data_address(i),
                    Opcode::FunctionAddress => self.function_address(i),
                    Opcode::CopyMemory => self.copy_memory(i),
                    Opcode::FillMemory => self.fill_memory(i),
                    Opcode::CheckStack => self.check_stack(i),
                    _ => {}
                }
            }
        }
    };
}

pub(super) use dispatch;
