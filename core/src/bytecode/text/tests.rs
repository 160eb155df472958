//! Round trips of sources, and malformed lines.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::bytecode::instruction::Instruction;
use crate::bytecode::testing::Random;
use crate::bytecode::verify::FunctionCode;
use crate::format::constants::Constants;
use crate::format::{Flags, Smf};
use crate::testing::some;

fn text(functions: &[Assembled]) -> String {
    let mut text = String::new();
    for function in functions {
        let Assembled { name, params, locals, code } = function;
        let callee = |index: u32| {
            functions.get(usize::try_from(index).unwrap()).map(|callee| callee.name.as_slice())
        };
        let function = FunctionCode { code, params: *params, locals: *locals };
        disassemble(&mut text, name, function, &callee).unwrap();
    }
    text
}

const SOURCE: &str = r#"
; Two functions; "quoted" here is a comment.
function sum, 1, 2   ; one parameter
again:
    LOAD_PUSH 0
    CONST_I64_PUSH -0x10
    EQ_JMP_IF_NOT more
    CONST_F64 0, 1.5
    CONST_F64 1, 0x7ff8000000000001
    RET 0
more:
    CALL "a; \"name\", \xff", 0
    POP 0
    JMP again
    JMP +100
end:
function "a; \"name\", \xff", 0, 0
    TAIL_CALL #7, 0
    BYTES 0xff 0xff 1
"#;

#[test]
fn source_is_assembled_as_written() {
    let functions = assemble(SOURCE).unwrap();
    assert_eq!(functions.len(), 2);
    let (sum, other) = (&functions[0], &functions[1]);
    assert_eq!((sum.name.as_slice(), sum.params, sum.locals), (&b"sum"[..], 1, 2));
    assert_eq!(other.name, b"a; \"name\", \xff");
    assert_eq!(other.code, [0x47, 0, 7, 0, 0, 0, 0, 0, 0xff, 0xff, 1]);
    let found: Vec<_> =
        crate::bytecode::instruction::Instructions::new(&sum.code).map(Result::unwrap).collect();
    assert_eq!(found[1].1, Instruction::ConstI64Push { value: -16 });
    assert_eq!(found[2].1, Instruction::EqJmpIfNot { offset: 28 });
    assert_eq!(found[4].1, Instruction::ConstF64 { dest: 1, bits: 0x7ff8_0000_0000_0001 });
    assert_eq!(found[6].1, Instruction::Call { function: 1, argc: 0 });
    assert_eq!(found[8].1.jump_offset(), Some(-66));
    assert_eq!(assemble(&text(&functions)), Ok(functions.clone()));
    assert!(text(&functions).contains("L30:"), "{}", text(&functions));
}

#[test]
fn constants_are_assembled_and_written() {
    let source = "constant i64 -5\nconstant f64 1.5\nconstant f64 0x7ff8000000000001\nconstant bool true\n\
        constant bool false\nconstant nil\nconstant string \"a; \\\"b\\\", \\xff\"\nconstant string \"\"\n";
    let commented = std::format!("{source}function f, 0, 0 ; f\nLOAD_STRING 0, 7\nRET_VOID\n");
    let program = assemble_program(&commented).unwrap();
    use AssembledConstant as C;
    let expected = [
        C::I64(-5),
        C::F64(1.5f64.to_bits()),
        C::F64(0x7ff8_0000_0000_0001),
        C::Bool(true),
        C::Bool(false),
        C::Nil,
        C::Text(b"a; \"b\", \xff".to_vec()),
        C::Text(Vec::new()),
    ];
    assert_eq!(program.constants, expected);
    let module = program.to_module(Flags(0)).unwrap();
    let smf = Smf::parse(&module).unwrap();
    let mut written = String::new();
    write_constants(&mut written, smf.constants()).unwrap();
    assert_eq!(written, source);
    assert_eq!(assemble_program(&(written + &text(&program.functions))), Ok(program));
    let mut invalid = String::new();
    write_constants(&mut invalid, Constants::parse(&[9; 16], b"")).unwrap();
    assert_eq!(invalid, "constant nil ; not valid\n");
}

#[test]
fn malformed_constant_is_refused() {
    let fault = |line: &str| assemble_program(line).unwrap_err().fault;
    for line in [
        "constant",
        "constant i64",
        "constant i64 1.5",
        "constant f64 one",
        "constant bool 1",
        "constant nil 0",
        "constant string text",
        "constant string \"a\" b",
        "constant u64 1",
    ] {
        assert_eq!(fault(line), TextFault::Constant, "{line}");
    }
    assert_eq!(fault("constant string \"a"), TextFault::Name);
    let error = assemble("function f, 0, 0\nconstant nil").unwrap_err();
    assert_eq!(error, TextError { line: 2, fault: TextFault::UnexpectedConstant });
    assert_eq!(error.to_string(), "line 2: a constant, and there is no constant pool");
}

#[test]
fn malformed_line_is_reported_with_its_number() {
    let said = |source: &str| assemble(source).unwrap_err().to_string();
    assert_eq!(said("\nADD_I64"), "line 2: no `function` line stands before it");
    assert_eq!(said("function f, 2, 1"), "line 1: fewer locals than parameters");
    let fault = |body: &str| {
        let error = assemble(&("function f, 0, 0\n".to_string() + body)).unwrap_err();
        assert!(error.line >= 2);
        error.fault
    };
    assert_eq!(fault("ADD"), TextFault::Mnemonic);
    assert_eq!(fault("PUSH"), TextFault::Operands { needed: 1, found: 0 });
    assert_eq!(fault("PUSH 1, 2"), TextFault::Operands { needed: 1, found: 2 });
    assert_eq!(fault("PUSH 65536"), TextFault::Number { operand: 1 });
    assert_eq!(fault("CONST_I64 0, 9223372036854775808"), TextFault::Number { operand: 2 });
    assert_eq!(fault("CONST_I64 0, --1"), TextFault::Number { operand: 2 });
    assert_eq!(fault("CONST_F64 0, one"), TextFault::Number { operand: 2 });
    assert_eq!(fault("\nJMP nowhere\nfunction g, 0, 0"), TextFault::NoSuchName);
    assert_eq!(fault("JMP +2147483648"), TextFault::Number { operand: 1 });
    assert_eq!(fault("CALL absent, 0"), TextFault::NoSuchName);
    assert_eq!(fault("a:\na:"), TextFault::LabelTwice);
    assert_eq!(fault("function f, 0, 0"), TextFault::FunctionTwice);
    assert_eq!(fault("function g, 0"), TextFault::Function);
    assert_eq!(fault("function \"g, 0, 0"), TextFault::Name);
    assert_eq!(fault("function \"\\x00\", 0, 0"), TextFault::Name);
    assert_eq!(fault("CALL \"\\q\", 0"), TextFault::Name);
    assert_eq!(fault("BYTES 256"), TextFault::Number { operand: 1 });
    let missing = assemble("function f, 0, 0\n\nJMP a\nfunction g, 0, 0\na:").unwrap_err();
    assert_eq!(missing, TextError { line: 3, fault: TextFault::NoSuchName });
}

#[test]
fn disassembly_assembles_to_the_same_bytes() {
    let mut random = Random(77);
    for _ in some(0..3000, 6) {
        let count = 1 + random.below(3);
        let functions: Vec<_> = (0..count)
            .map(|number| {
                let mut code = Vec::new();
                for _ in 0..random.below(30) {
                    let known = usize::try_from(random.below(84)).unwrap();
                    let opcode = Instruction::OPCODES[known.min(Instruction::OPCODES.len() - 1)];
                    code.extend(opcode.to_le_bytes());
                    let roles = Instruction::roles_of(opcode).unwrap();
                    // Small numbers, so that some jumps have valid targets.
                    let small = random.below(2) == 0;
                    for role in roles {
                        let value = if small { random.below(16) * 2 } else { random.next() };
                        code.extend(
                            value.to_le_bytes().iter().take(role.size().try_into().unwrap()),
                        );
                    }
                }
                if random.below(3) == 0 {
                    code.extend(random.next().to_le_bytes());
                }
                let byte = u8::try_from(1 + random.below(255)).unwrap();
                let name = [&[byte][..], std::format!("{number}").as_bytes()].concat();
                Assembled { name, params: 0, locals: 3, code }
            })
            .collect();
        let text = text(&functions);
        assert_eq!(assemble(&text).as_ref(), Ok(&functions), "{text}");
    }
}

#[test]
fn no_text_panics_the_assembler() {
    for cut in some(0..SOURCE.len(), 6) {
        if let Some(text) = SOURCE.get(cut..) {
            let _ = assemble(text);
        }
        if let Some(text) = SOURCE.get(..cut) {
            let _ = assemble(text);
        }
        let mut damaged: Vec<_> = SOURCE.bytes().collect();
        damaged[cut] = b'"';
        let _ = assemble(&String::from_utf8_lossy(&damaged));
    }
}
