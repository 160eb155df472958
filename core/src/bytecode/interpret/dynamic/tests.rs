//! Each instruction on values and objects: its meaning, its errors, and calls between typed and dynamic functions.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::bytecode::host::{HostFunction, HostTable, RuntimeFunction, Signals};
use crate::bytecode::interpret::{Interpreter, LoopHead, NoTierUp};
use crate::bytecode::objects::{ArenaLimits, ObjectArena, ValueKind, Variant};
use crate::bytecode::text::assemble_program;
use crate::bytecode::verify::{Verifier, functions_of};
use crate::format::{Flags, Smf};
use crate::trap::bytecode::{DEFAULT_BUDGET, MAX_DEPTH};

const SPACE: StackSpace = StackSpace { depth: MAX_DEPTH, budget: DEFAULT_BUDGET, stack_end: 0 };

fn hosts() -> HostTable {
    extern "C" fn double(value: i64) -> i64 {
        2 * value
    }
    fn pair(objects: &mut dyn Objects, args: &[Value]) -> Result<Value, Cause> {
        Ok(Value::Object(objects.new_tuple(args)?))
    }
    fn fails(_: &mut dyn Objects, _: &[Value]) -> Result<Value, Cause> {
        Err(Cause::Host(9))
    }
    fn first(_: &mut dyn Objects, _: &[Value]) -> Result<Value, Cause> {
        Ok(Value::Function(1))
    }
    let mut hosts = HostTable::new();
    hosts.set(0, HostFunction::Args1(double)).unwrap();
    hosts.set_runtime(1, RuntimeFunction { name: "pair", argc: 2, call: pair }).unwrap();
    hosts.set_runtime(2, RuntimeFunction { name: "fails", argc: 0, call: fails }).unwrap();
    hosts.set_runtime(3, RuntimeFunction { name: "first", argc: 0, call: first }).unwrap();
    hosts
}

fn with_program<R>(source: &str, run: impl FnOnce(&Program<'_>) -> R) -> R {
    let module = assemble_program(source).unwrap().to_module(Flags(0)).unwrap();
    let smf = Smf::parse(&module).unwrap();
    let functions = functions_of(&smf.functions().unwrap().unwrap()).unwrap();
    run(&Verifier::new().verify_program(functions, smf.constants()).unwrap())
}

/// The text of a value, without the kinds of objects.
fn text(arena: &ObjectArena, value: Value) -> String {
    let Value::Object(object) = value else { return format!("{value:?}") };
    if let Some(text) = arena.text(object) {
        return format!("{:?}", String::from_utf8_lossy(text));
    }
    let pairs = arena.pairs(object).flat_map(|(key, value)| [key, value]).collect::<Vec<_>>();
    let elements = arena.elements(object).unwrap_or(&pairs);
    let elements: Vec<_> = elements.iter().map(|&element| text(arena, element)).collect();
    elements.join(" ")
}

fn run_in(arena: &mut ObjectArena, source: &str, args: &[Value]) -> Result<String, Trap> {
    with_program(source, |program| {
        let (hosts, signals) = (hosts(), Signals::new());
        hosts.link(program).unwrap();
        let environment = Environment { program, hosts: &hosts, signals: &signals };
        let mut interpreter = Interpreter::new();
        let mut call = || {
            let result =
                interpreter.call_with(environment, arena, &mut NoTierUp, 0, args, SPACE)?;
            Ok(text(arena, result))
        };
        let first = call();
        // A second call has the same result, even after a trap.
        assert_eq!(call(), first);
        first
    })
}

fn run(body: &str, args: &[Value]) -> Result<String, Trap> {
    let source = format!(
        "constant i64 -5\nconstant f64 1.5\nconstant bool true\nconstant nil\nconstant string \"text\"\n\
         function main, {}, 4\n{body}\nfunction add, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nADD_I64\nPOP 0\nRET 0\n\
         function same, 1, 1\nLOAD 0, 0\nRET 0",
        args.len()
    );
    run_in(&mut ObjectArena::new(), &source, args)
}

fn value(body: &str) -> String {
    run(body, &[]).unwrap()
}

/// The cause and the offset of a trap in function 0.
fn cause(body: &str, args: &[Value]) -> (Cause, u32) {
    let trap = run(body, args).unwrap_err();
    assert_eq!(trap.function, 0, "{trap}");
    (trap.cause, trap.at)
}

fn kind(needed: ValueKind, found: ValueKind) -> Cause {
    ValueError::WrongKind { needed, found }.into()
}

#[test]
fn constants_come_from_the_pool() {
    assert_eq!(value("LOAD_CONST 0, 0\nRET 0"), "I64(-5)");
    assert_eq!(value("LOAD_CONST 0, 1\nRET 0"), "F64(1.5)");
    assert_eq!(value("LOAD_CONST 0, 2\nRET 0"), "Bool(true)");
    assert_eq!(value("LOAD_CONST 0, 3\nRET 0"), "Nil");
    assert_eq!(value("LOAD_CONST 0, 4\nRET 0"), "\"text\"");
    assert_eq!(value("LOAD_STRING 0, 4\nRET 0"), "\"text\"");
    // Known kinds are used without a check.
    let sum = "LOAD_CONST 0, 0\nPUSH 0\nPUSH 0\nADD_I64\nPOP 0\nRET 0";
    assert_eq!(value(sum), "I64(-10)");
}

#[test]
fn string_constant_is_one_object_in_a_call() {
    let source = "constant string \"a\"\nfunction main, 0, 1\nLOAD_STRING 0, 0\nCONST_I64_PUSH 1000\nPOP_STORE 0\n\
        again:\nLOAD_STRING 0, 0\nLOAD_PUSH 0\nCONST_I64_PUSH 1\nSUB_I64\nPOP_STORE 0\n\
        CONST_I64_PUSH 0\nLOAD_PUSH 0\nLT_JMP_IF_NOT end\nJMP again\nend:\nRET 0";
    let mut arena = ObjectArena::with_limits(ArenaLimits { objects: 2, bytes: 1000 });
    assert_eq!(run_in(&mut arena, source, &[]), Ok("\"a\"".to_string()));
    assert_eq!(arena.len(), 2);
}

const ARRAY: &str = "CONST_I64_PUSH 10\nCONST_I64_PUSH 20\nCONST_I64_PUSH 30\nARRAY_LIT 0, 3, 0\n";

#[test]
fn collections_are_made_and_read() {
    let array = |rest: &str| value(&format!("{ARRAY}{rest}"));
    assert_eq!(array("RET 0"), "I64(10) I64(20) I64(30)");
    assert_eq!(array("CONST_I64 1, -1\nINDEX_GET 2, 0, 1\nRET 2"), "I64(30)");
    assert_eq!(array("LEN 1, 0\nRET 1"), "I64(3)");
    let append = "CONST_TRUE 1\nAPPEND 0, 1\nRET 0";
    assert_eq!(array(append), "I64(10) I64(20) I64(30) Bool(true)");
    let set = "CONST_I64 1, 1\nCONST_NONE 2\nINDEX_SET 0, 1, 2\nRET 0";
    assert_eq!(array(set), "I64(10) Nil I64(30)");
    let slice = "CONST_I64 1, 1\nCONST_I64 2, 9\nSLICE 3, 0, 1, 2\nRET 3";
    assert_eq!(array(slice), "I64(20) I64(30)");
    let sum = "CONST_I64 1, 0\nINDEX_GET 2, 0, 1\nPUSH 2\nPUSH 2\nADD_I64\nPOP 1\nRET 1";
    assert_eq!(array(sum), "I64(20)");
    let tuple = "CONST_TRUE 0\nCONST_I64_PUSH 1\nPUSH 0\nTUPLE_LIT 1, 2\n";
    assert_eq!(value(&format!("{tuple}RET 1")), "I64(1) Bool(true)");
    let dict = "LOAD_STRING 0, 4\nPUSH 0\nCONST_I64_PUSH 7\nDICT_LIT 1, 1\nINDEX_GET 2, 1, 0\n";
    assert_eq!(value(&format!("{dict}RET 2")), "I64(7)");
    assert_eq!(value(&format!("{dict}RET 1")), "\"text\" I64(7)");
    assert_eq!(value(&format!("{dict}INDEX_GET 3, 1, 2\nRET 3")), "Nil");
}

#[test]
fn errors_of_objects_trap_at_their_instruction() {
    let out = Cause::from(ValueError::IndexOutOfRange);
    let array = |rest: &str| cause(&format!("{ARRAY}{rest}"), &[]);
    assert_eq!(array("CONST_I64 1, 3\nINDEX_GET 2, 0, 1"), (out, 50));
    assert_eq!(array("CONST_I64 1, -4\nINDEX_SET 0, 1, 1"), (out, 50));
    let found = kind(ValueKind::I64, ValueKind::Bool);
    assert_eq!(array("CONST_TRUE 1\nINDEX_GET 2, 0, 1"), (found, 42));
    assert_eq!(array("CONST_TRUE 1\nINDEX_SET 0, 1, 1"), (found, 42));
    let array_only = kind(ValueKind::Array, ValueKind::Tuple);
    let tuple = |rest: &str| cause(&format!("TUPLE_LIT 0, 0\n{rest}"), &[]);
    assert_eq!(tuple("APPEND 0, 0"), (array_only, 6));
    assert_eq!(tuple("CONST_I64 1, 0\nSLICE 2, 0, 1, 1"), (array_only, 18));
    assert_eq!(tuple("LOAD_HEAP 1, 0, 0"), (kind(ValueKind::Block, ValueKind::Tuple), 6));
    assert_eq!(tuple("ENUM_PAYLOAD 1, 0, 0"), (kind(ValueKind::Variant, ValueKind::Tuple), 6));
    assert_eq!(
        cause("GC_ALLOC 0, 8, 0\nLEN 1, 0", &[]).0,
        kind(ValueKind::Collection, ValueKind::Block)
    );
    assert_eq!(cause("GC_ALLOC 0, 8, 0\nSTORE_HEAP 0, 4, 0", &[]), (out, 10));
    let nil = "CONST_NONE 0\nPUSH 0\nPUSH 0\nDICT_LIT 1, 1";
    assert_eq!(cause(nil, &[]), (kind(ValueKind::Key, ValueKind::Nil), 12));
    let handle = ValueError::BadHandle.into();
    let args = [Value::Object(ObjectHandle(77 << 32))];
    assert_eq!(cause("LOAD 0, 0\nLEN 1, 0", &args), (handle, 6));
}

#[test]
fn value_of_another_kind_traps_by_name() {
    // The last instruction makes the function dynamic.
    let with = |body: &str, arg: Value| {
        cause(&format!("LOAD 0, 0\n{body}\nLOAD_CONST 0, 0\nRET 0"), &[arg])
    };
    let (nil, five) = (Value::Nil, Value::I64(5));
    let arith = |name: &str| with(&format!("PUSH 0\nPUSH 0\n{name}"), nil);
    for name in ["ADD_I64", "SUB_I64", "MUL_I64", "DIV_I64", "MOD_I64", "ADD_I64_POP 1"] {
        assert_eq!(arith(name), (kind(ValueKind::I64, ValueKind::Nil), 14), "{name}");
    }
    for name in ["ADD_F64", "SUB_F64", "MUL_F64", "DIV_F64"] {
        assert_eq!(arith(name), (kind(ValueKind::F64, ValueKind::Nil), 14), "{name}");
    }
    for name in ["LT", "LE", "GT", "GE", "LT_JMP_IF_NOT +0"] {
        assert_eq!(arith(name), (kind(ValueKind::Number, ValueKind::Nil), 14), "{name}");
    }
    for name in ["AND", "OR"] {
        assert_eq!(arith(name), (kind(ValueKind::Bool, ValueKind::Nil), 14), "{name}");
    }
    for name in ["NOT", "JMP_IF +0", "JMP_IF_NOT +0"] {
        let found = with(&format!("PUSH 0\n{name}"), five);
        assert_eq!(found, (kind(ValueKind::Bool, ValueKind::I64), 10), "{name}");
    }
    let typed = kind(ValueKind::I64, ValueKind::Nil);
    assert_eq!(with("PUSH 0\nNEG_I64", nil), (typed, 10));
    assert_eq!(with("PUSH 0\nCALL_SFFI 0, 1", nil), (typed, 10));
    assert_eq!(with("LEN 1, 0", five), (kind(ValueKind::Collection, ValueKind::I64), 6));
    assert_eq!(with("APPEND 0, 0", five), (kind(ValueKind::Array, ValueKind::I64), 6));
    assert_eq!(with("INDEX_SET 0, 0, 0", five), (kind(ValueKind::Array, ValueKind::I64), 6));
    assert_eq!(with("LOAD_HEAP 1, 0, 0", five), (kind(ValueKind::Block, ValueKind::I64), 6));
    assert_eq!(with("STORE_HEAP 0, 0, 0", five), (kind(ValueKind::Block, ValueKind::I64), 6));
    assert_eq!(with("ENUM_PAYLOAD 1, 0, 0", five), (kind(ValueKind::Variant, ValueKind::I64), 6));
    assert_eq!(
        with("PUSH 0\nCALL_INDIRECT 0", nil),
        (kind(ValueKind::Function, ValueKind::Nil), 10)
    );
    let by_zero = "PUSH 0\nCONST_I64_PUSH 0\nDIV_I64";
    assert_eq!(with(by_zero, five), (Cause::DivisionByZero, 20));
}

#[test]
fn values_of_different_kinds_are_compared() {
    let equal = |left: Value, right: Value| {
        run("LOAD_PUSH 0\nLOAD_PUSH 1\nEQ\nIS_SOME 3, 0\nPOP 3\nRET 0", &[left, right]).unwrap()
    };
    let (yes, no) = ("Bool(true)", "Bool(false)");
    assert_eq!(equal(Value::I64(2), Value::F64(2.0)), yes);
    assert_eq!(equal(Value::F64(2.5), Value::I64(2)), no);
    assert_eq!(equal(Value::F64(f64::NAN), Value::F64(f64::NAN)), no);
    assert_eq!(equal(Value::Nil, Value::Nil), yes);
    assert_eq!(equal(Value::Nil, Value::I64(0)), no);
    assert_eq!(equal(Value::Bool(true), Value::I64(1)), no);
    assert_eq!(equal(Value::Function(1), Value::Function(1)), yes);
    let less = |left: Value, right: Value| {
        run("LOAD_PUSH 0\nLOAD_PUSH 1\nLT\nIS_SOME 3, 0\nPOP 3\nRET 0", &[left, right]).unwrap()
    };
    assert_eq!(less(Value::I64(i64::MAX - 1), Value::I64(i64::MAX)), yes);
    assert_eq!(less(Value::I64(2), Value::F64(2.5)), yes);
    let strings = "LOAD_STRING 0, 4\nCONST_I64 1, 0\nCONST_I64 2, 4\nSLICE 3, 0, 1, 2\nPUSH 0\nPUSH 3\nEQ\nPOP 0\nRET 0";
    assert_eq!(value(strings), yes);
    let tuples = "TUPLE_LIT 0, 0\nTUPLE_LIT 1, 0\nPUSH 0\nPUSH 1\nNE\nPOP 0\nRET 0";
    assert_eq!(value(tuples), yes);
}

#[test]
fn variants_are_made_matched_and_taken_apart() {
    let legacy = "CONST_I64_PUSH 1\nCONST_I64_PUSH 2\nENUM_NEW 0, 3, 2\n";
    let with = |rest: &str| value(&format!("{legacy}{rest}"));
    assert_eq!(with("ENUM_MATCH 1, 0, 3\nRET 1"), "Bool(true)");
    assert_eq!(with("ENUM_MATCH 1, 0, 4\nRET 1"), "Bool(false)");
    assert_eq!(with("ENUM_MATCH_TYPED 1, 0, 0, 3\nRET 1"), "Bool(true)");
    assert_eq!(with("ENUM_PAYLOAD 1, 0, 1\nRET 1"), "I64(2)");
    let out = Cause::from(ValueError::IndexOutOfRange);
    assert_eq!(cause(&format!("{legacy}ENUM_PAYLOAD 1, 0, 2"), &[]), (out, 28));
    let typed = "CONST_I64_PUSH 1\nENUM_NEW_TYPED 0, 0x80000001, 0xfffffffe, 1\n";
    let with = |rest: &str| value(&format!("{typed}{rest}"));
    assert_eq!(with("ENUM_MATCH_TYPED 1, 0, 0x80000001, 0xfffffffe\nRET 1"), "Bool(true)");
    assert_eq!(with("ENUM_MATCH_TYPED 1, 0, 0x80000002, 0xfffffffe\nRET 1"), "Bool(false)");
    assert_eq!(with("ENUM_MATCH_TYPED 1, 0, 0x80000001, 0xfffffffd\nRET 1"), "Bool(false)");
    // What is no variant matches none.
    assert_eq!(value("CONST_I64 0, 3\nENUM_MATCH 1, 0, 3\nRET 1"), "Bool(false)");
    assert_eq!(value("TUPLE_LIT 0, 0\nENUM_MATCH_TYPED 1, 0, 0, 0\nRET 1"), "Bool(false)");
    assert_eq!(value("CONST_I64 0, 0\nIS_SOME 1, 0\nRET 1"), "Bool(true)");
    assert_eq!(value("CONST_NONE 0\nIS_SOME 1, 0\nRET 1"), "Bool(false)");
}

#[test]
fn block_holds_values_at_offsets() {
    let block = "GC_ALLOC 0, 24, 5\nCONST_TRUE 1\nSTORE_HEAP 0, 16, 1\n";
    let with = |rest: &str| value(&format!("{block}{rest}"));
    assert_eq!(with("LOAD_HEAP 2, 0, 16\nRET 2"), "Bool(true)");
    assert_eq!(with("LOAD_HEAP 2, 0, 0\nRET 2"), "Nil");
    assert_eq!(
        with("STORE_HEAP 0, 0, 0\nLOAD_HEAP 2, 0, 0\nPUSH 0\nPUSH 2\nEQ\nPOP 3\nRET 3"),
        "Bool(true)"
    );
}

#[test]
fn functions_of_the_host_get_values() {
    let pair = "LOAD_STRING 0, 4\nCONST_I64_PUSH 1\nPUSH 0\nCALL_RUNTIME 1, 2\nPOP 0\nRET 0";
    assert_eq!(value(pair), "I64(1) \"text\"");
    // Host function 0 takes the place of a runtime function.
    assert_eq!(value("CONST_I64_PUSH 21\nCALL_RUNTIME 0, 1\nPOP 0\nRET 0"), "I64(42)");
    assert_eq!(
        value("CONST_I64_PUSH 21\nCALL_SFFI 0, 1\nPOP 0\nLOAD_CONST 1, 3\nRET 0"),
        "I64(42)"
    );
    assert_eq!(cause("CALL_RUNTIME 2, 0", &[]), (Cause::Host(9), 0));
    let hosts = hosts();
    assert_eq!((hosts.runtime_index("fails"), hosts.runtime_index("absent")), (Some(2), None));
    let said = |body: &str| {
        with_program(&format!("function f, 0, 0\n{body}\nRET_VOID"), |program| {
            hosts.link(program).unwrap_err().to_string()
        })
    };
    assert_eq!(
        said("CALL_RUNTIME 7, 0"),
        "function 0: CALL_RUNTIME calls runtime function 7, which is not there, at offset 0x0"
    );
    assert_eq!(
        said("CONST_I64_PUSH 0\nCALL_RUNTIME 1, 1"),
        "function 0: CALL_RUNTIME passes 1 argument to runtime function 1, which takes 2, at offset 0xa"
    );
}

#[test]
fn function_values_are_called() {
    let add = "CONST_I64_PUSH 4\nCONST_I64_PUSH 5\n";
    let with = |rest: &str| value(&format!("{add}{rest}\nPOP 0\nRET 0"));
    assert_eq!(with("CONST_I64_PUSH 1\nCALL_INDIRECT 2"), "I64(9)");
    assert_eq!(with("CALL_RUNTIME 3, 0\nCALL_INDIRECT 2"), "I64(9)");
    let none = Cause::from(ValueError::NoFunction);
    assert_eq!(cause("CONST_I64_PUSH 3\nCALL_INDIRECT 0", &[]), (none, 10));
    assert_eq!(cause("CONST_I64_PUSH -1\nCALL_INDIRECT 0", &[]), (none, 10));
    let count = Cause::from(ValueError::Arguments);
    assert_eq!(cause("CONST_I64_PUSH 1\nCALL_INDIRECT 0", &[]), (count, 10));
}

#[test]
fn typed_function_gets_values_of_any_kind() {
    // `add` and `same` are typed; here they are called with an array, a float and a bool.
    assert_eq!(value(&format!("{ARRAY}PUSH 0\nCALL same, 1\nPOP 1\nLEN 2, 1\nRET 2")), "I64(3)");
    assert_eq!(value(&format!("{ARRAY}PUSH 0\nTAIL_CALL same, 1")), "I64(10) I64(20) I64(30)");
    let floats = "CONST_F64 0, 1.5\nPUSH 0\nPUSH 0\nCALL add, 2\nLOAD_CONST 1, 0\nRET 1";
    let trap = run(floats, &[]).unwrap_err();
    let expected = Trap { cause: kind(ValueKind::I64, ValueKind::F64), function: 1, at: 8 };
    assert_eq!(trap, expected);
    assert_eq!(
        value("CONST_I64_PUSH 4\nCONST_I64_PUSH 5\nCALL add, 2\nPOP 0\nLOAD_CONST 1, 0\nRET 0"),
        "I64(9)"
    );
    assert_eq!(
        value("LOAD_CONST 0, 0\nCONST_I64_PUSH 4\nCONST_I64_PUSH 5\nTAIL_CALL add, 2"),
        "I64(9)"
    );
}

#[test]
fn end_of_the_code_returns_the_top() {
    assert_eq!(value("LOAD_CONST 0, 0\nCONST_I64_PUSH 7"), "I64(7)");
}

#[test]
fn depth_and_interruption_stop_dynamic_functions() {
    let recursion =
        "function f, 1, 1\nLOAD_PUSH 0\nCALL f, 1\nLOAD_CONST 0, 0\nRET 0\nconstant nil";
    let trap = run_in(&mut ObjectArena::new(), recursion, &[Value::Nil]).unwrap_err();
    assert_eq!((trap.cause, trap.at), (Cause::CallDepth, 0));
    let tail = "constant nil\nfunction f, 1, 1\nLOAD_CONST 0, 0\nLOAD_PUSH 0\nCONST_I64_PUSH 0\nEQ_JMP_IF_NOT more\n\
        RET 0\nmore:\nLOAD_PUSH 0\nCONST_I64_PUSH 1\nSUB_I64\nTAIL_CALL f, 1";
    let result = run_in(&mut ObjectArena::new(), tail, &[Value::I64(5000)]);
    assert_eq!(result, Ok("Nil".to_string()));
    struct Stop<'s>(&'s Signals, u32);
    impl TierUp for Stop<'_> {
        fn on_call(&mut self, _: u32, _: &[u64], _: StackSpace) -> Option<Result<u64, Trap>> {
            None
        }
        fn on_back_edge(&mut self, _: LoopHead<'_>) -> Option<Result<u64, Trap>> {
            None
        }
        fn on_dynamic(&mut self) {
            self.1 += 1;
            if self.1 == 5 {
                self.0.interrupt();
            }
        }
    }
    with_program(
        "constant nil\nfunction f, 0, 0\nLOAD_CONST 0, 0\nagain:\nLOAD_CONST 0, 0\nJMP again",
        |program| {
            let (hosts, signals) = (HostTable::new(), Signals::new());
            let environment = Environment { program, hosts: &hosts, signals: &signals };
            let mut tier = Stop(&signals, 0);
            let trap = Interpreter::new().call(environment, &mut tier, 0, &[], SPACE).unwrap_err();
            assert_eq!(trap, Trap { cause: Cause::Interrupted, function: 0, at: 16 });
            assert_eq!(tier.1, 5);
        },
    );
}

#[test]
fn call_without_objects_of_the_host_gets_an_arena() {
    let source = "constant nil\nfunction f, 1, 1\nLOAD_PUSH 0\nARRAY_LIT 0, 1, 0\nLOAD_PUSH 0\nCONST_I64_PUSH 0\nEQ_JMP_IF_NOT more\n\
        RET 0\nmore:\nCONST_I64 1, 0\nINDEX_GET 2, 0, 1\nRET 2";
    with_program(source, |program| {
        let (hosts, signals) = (HostTable::new(), Signals::new());
        let environment = Environment { program, hosts: &hosts, signals: &signals };
        let mut interpreter = Interpreter::new();
        let mut call = |arg| interpreter.call(environment, &mut NoTierUp, 0, &[arg], SPACE);
        assert_eq!(call(7), Ok(7));
        let cause = ValueError::ObjectResult.into();
        assert_eq!(call(0), Err(Trap { cause, function: 0, at: 0 }));
    });
}

/// An arena that is emptied of everything but one object when it is full.
#[derive(Debug)]
struct Collected {
    arena: ObjectArena,
    roots: Vec<ObjectHandle>,
}

macro_rules! forward {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $result:ty;)+) => {
        $(fn $name(&mut self, $($arg: $ty),*) -> Result<$result, ValueError> {
            self.arena.$name($($arg),*)
        })+
    };
}

impl Objects for Collected {
    forward! {
        fn new_array(type_id: u16, elements: &[Value]) -> ObjectHandle;
        fn new_tuple(elements: &[Value]) -> ObjectHandle;
        fn new_dict(pairs: &[Value]) -> ObjectHandle;
        fn new_string(bytes: &[u8]) -> ObjectHandle;
        fn new_variant(variant: Variant, fields: &[Value]) -> ObjectHandle;
        fn new_block(size: u32, type_id: u16) -> ObjectHandle;
        fn get(collection: ObjectHandle, index: Value) -> Value;
        fn set(collection: ObjectHandle, index: Value, value: Value) -> ();
        fn append(array: ObjectHandle, value: Value) -> ();
        fn slice(collection: ObjectHandle, start: i64, end: i64) -> ObjectHandle;
        fn store(block: ObjectHandle, offset: u32, value: Value) -> ();
    }
    fn kind(&self, object: ObjectHandle) -> Result<ValueKind, ValueError> {
        self.arena.kind(object)
    }
    fn length(&self, collection: ObjectHandle) -> Result<u64, ValueError> {
        self.arena.length(collection)
    }
    fn variant(&self, object: ObjectHandle) -> Result<Option<Variant>, ValueError> {
        self.arena.variant(object)
    }
    fn field(&self, variant: ObjectHandle, field: u16) -> Result<Value, ValueError> {
        self.arena.field(variant, field)
    }
    fn load(&self, block: ObjectHandle, offset: u32) -> Result<Value, ValueError> {
        self.arena.load(block, offset)
    }
    fn equal(&self, left: ObjectHandle, right: ObjectHandle) -> Result<bool, ValueError> {
        self.arena.equal(left, right)
    }
    fn collect(&mut self, roots: &mut dyn Iterator<Item = ObjectHandle>) -> bool {
        if !self.roots.is_empty() {
            return false;
        }
        self.roots = roots.collect();
        self.arena.clear();
        true
    }
}

#[test]
fn collection_gets_all_objects_of_the_call_and_the_operation_is_repeated() {
    let source = "constant string \"a\"\nfunction f, 0, 1\nLOAD_STRING 0, 0\nTUPLE_LIT 1, 0\nSTORE 0, 1\nCALL g, 0\nPOP 0\nRET 0\n\
        function g, 0, 1\nTUPLE_LIT 0, 0\nPUSH 0\nPUSH 0\nTUPLE_LIT 1, 2\nRET 1";
    with_program(source, |program| {
        let (hosts, signals) = (HostTable::new(), Signals::new());
        let environment = Environment { program, hosts: &hosts, signals: &signals };
        let arena = ObjectArena::with_limits(ArenaLimits { objects: 3, bytes: 1 << 20 });
        let mut objects = Collected { arena, roots: Vec::new() };
        let mut interpreter = Interpreter::new();
        let result = interpreter.call_with(environment, &mut objects, &mut NoTierUp, 0, &[], SPACE);
        // The string, the tuple in a slot and in a local, the tuple of the callee three times, and the pool's string.
        assert_eq!(objects.roots.len(), 7);
        let Ok(Value::Object(made)) = result else { panic!("{result:?}") };
        assert_eq!(objects.arena.elements(made).map(<[Value]>::len), Some(2));
        // A second time nothing is freed.
        objects.arena = ObjectArena::with_limits(ArenaLimits { objects: 0, bytes: 0 });
        let trap = interpreter.call_with(environment, &mut objects, &mut NoTierUp, 0, &[], SPACE);
        assert_eq!(trap.unwrap_err().cause, ValueError::OutOfMemory.into());
    });
}
