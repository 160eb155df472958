//! Properties of every machine, with or without a compiler for it.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::bytecode::objects::{ObjectArena, Objects, Value};
use crate::bytecode::text::{assemble, assemble_program, write_module};
use crate::format::write::bytecode::{NewFunction, write_functions};
use crate::format::{Flags, Smf};
use crate::loader::{LoadError, LoaderOptions, ModuleBytes, ModuleLoader};
use crate::vm::{CallError, Tiers};

const SAMPLE: &[u8] = include_bytes!("../../../../tests/samples/bcod.smf");

fn module(source: &str) -> Vec<u8> {
    write_module(&assemble(source).unwrap(), Flags(0)).unwrap()
}

fn interpreting() -> ModuleLoader {
    ModuleLoader::new(LoaderOptions { tiers: Tiers::Interpret, ..LoaderOptions::default() })
        .unwrap()
}

#[test]
fn every_machine_runs_bytecode() {
    // Miri cannot run machine code.
    let loaders = [interpreting(), ModuleLoader::new(LoaderOptions::default()).unwrap()];
    for loader in loaders.into_iter().take(if cfg!(miri) { 1 } else { 2 }) {
        let bcod = loader.load(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
        let bcod = loader.get(bcod).unwrap();
        let (engine, sum) = (bcod.engine().unwrap(), bcod.bytecode_function(b"sum").unwrap());
        for n in (0..300).step_by(if cfg!(miri) { 60 } else { 1 }) {
            assert_eq!(engine.call(sum, &[n]), Ok(n * (n + 1) / 2));
        }
        let given = 0;
        let arguments = CallError::Arguments { function: sum, given, params: 1 };
        assert_eq!(engine.call(sum, &[]), Err(arguments));
        let names: Vec<_> = bcod.bytecode_functions().collect();
        assert_eq!(names, [(&b"answer"[..], 0), (b"sum", 1)]);
        assert_eq!((bcod.bytecode_function(b"absent"), bcod.bytecode_entry()), (None, None));
    }
}

#[test]
fn interpreted_only_function_has_no_address_and_a_named_error() {
    let loader = interpreting();
    let source = "function main, 0, 0\nCONST_I64 0, 7\nRET 0\n";
    let m = loader.load(b"m", ModuleBytes::new(module(source)).unwrap()).unwrap();
    {
        let m = loader.get(m).unwrap();
        assert_eq!(m.engine().unwrap().call(m.bytecode_entry().unwrap(), &[]), Ok(7));
        assert_eq!((m.function(b"main"), m.entry_point()), (None, None));
        assert!(m.export(b"main").is_none() && !m.contains(0));
        assert_eq!((m.bytecode_exports().count(), m.bytecode_functions().count()), (0, 1));
        assert!(m.refusal(b"main").is_some() && m.refusal(b"absent").is_none());
    }
    let why = if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        "m: the engine interprets bytecode alone, so that its functions have neither machine code nor addresses"
    } else {
        "m: there is no compiler of bytecode for this machine, so that its functions have neither machine code nor addresses"
    };
    let refused = loader.resolve(b"main").unwrap_err();
    assert!(matches!(refused, LoadError::Bytecode { .. }));
    assert_eq!(refused.to_string(), why);
    assert!(loader.resolve(b"absent").unwrap().is_none());
    loader.unload(m).unwrap();
}

#[test]
fn functions_on_objects_are_interpreted_beside_compiled_ones() {
    // `main` makes an array of its argument and two strings, whose lengths `double` adds.
    let source = "constant string \"four\"\nfunction main, 1, 1\nLOAD_PUSH 0\nLOAD_STRING 0, 0\nPUSH 0\n\
        ARRAY_LIT 1, 1, 0\nCONST_I64 2, 0\nINDEX_GET 3, 1, 2\nLEN 4, 3\nPUSH 4\nCALL double, 1\nPOP 5\nRET 5\n\
        function double, 1, 1\nLOAD_PUSH 0\nLOAD_PUSH 0\nADD_I64\nPOP 0\nRET 0\n\
        function array, 0, 0\nARRAY_LIT 0, 0, 0\nRET 0\n";
    let module = assemble_program(source).unwrap().to_module(Flags(0)).unwrap();
    let compiling = ModuleLoader::new(LoaderOptions::default()).unwrap();
    for loader in [interpreting(), compiling].into_iter().take(if cfg!(miri) { 1 } else { 2 }) {
        let m = loader.load(b"m", ModuleBytes::new(module.clone()).unwrap()).unwrap();
        let m = loader.get(m).unwrap();
        let engine = m.engine().unwrap();
        for _ in 0..300 {
            assert_eq!(engine.call(0, &[7]), Ok(8));
        }
        let error = engine.call(2, &[]).unwrap_err().to_string();
        assert!(error.starts_with("the result is an object"), "{error}");
        let mut arena = ObjectArena::new();
        let array = engine.call_with(&mut arena, 2, &[]).unwrap();
        assert_eq!(arena.length(array.as_object().unwrap()), Ok(0));
        assert_eq!(engine.call_with(&mut arena, 1, &[Value::I64(4)]), Ok(Value::I64(8)));
        let given = CallError::Arguments { function: 1, given: 0, params: 1 };
        assert_eq!(engine.call_with(&mut arena, 1, &[]), Err(given));
        let none = CallError::NoFunction { function: 9 };
        assert_eq!(engine.call_with(&mut arena, 9, &[]), Err(none));
        if engine.compile(1).is_ok() {
            let refused = engine.compile(0).unwrap_err();
            assert_eq!(refused.to_string(), "function 0 works on objects, and is only interpreted");
            // Its address works all the same, and so does that of a result that is lost.
            let address = m.function(b"main").unwrap();
            assert_ne!(address, 0);
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[test]
fn compiling_is_refused_where_there_is_no_compiler() {
    let tiers = Tiers::Compile { threshold: 0 };
    let loader = ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() }).unwrap();
    let refused = loader.load(b"m", ModuleBytes::new(SAMPLE).unwrap()).unwrap_err().to_string();
    assert!(
        refused.starts_with("m: there is no compiler of bytecode for this machine"),
        "{refused}"
    );
}

#[test]
fn machine_and_system_in_the_header_are_ignored() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    for number in (0..=u8::MAX).step_by(if cfg!(miri) { 51 } else { 1 }) {
        let mut file = SAMPLE.to_vec();
        // Platform and architecture of the native layout.
        (file[6], file[7]) = (number, number.wrapping_mul(7));
        let header = Smf::parse(&file).unwrap().header();
        assert_eq!((header.platform.0, header.arch.0), (file[6], file[7]));
        let handle = loader.load(b"m", ModuleBytes::new(file).unwrap()).unwrap();
        assert_eq!(loader.get(handle).unwrap().engine().unwrap().call(0, &[]), Ok(42));
        loader.unload(handle).unwrap();
    }
}

#[test]
fn duplicate_name_refers_to_the_first_function() {
    for count in [0, 1, 2, 7, if cfg!(miri) { 30 } else { 300 }] {
        let names: Vec<String> = (0..count).map(|n| format!("f{}", n * 7919 % 97)).collect();
        let new = |name: &'_ String| (name.clone().into_bytes(), [0x45, 0]);
        let made: Vec<_> = names.iter().map(new).collect();
        let made = made.iter().map(|(name, code)| NewFunction { name, params: 0, locals: 0, code });
        let file = write_functions(&made.collect::<Vec<_>>(), Flags(0)).unwrap();
        let smf = Smf::parse(&file).unwrap();
        let functions = smf.functions().unwrap().unwrap();
        let table = names_of(&functions).unwrap();
        for wanted in (0..100).map(|n| format!("f{n}")).chain(["".into(), "f".into(), "g1".into()])
        {
            let first = names.iter().position(|name| *name == wanted).map(|index| index as u32);
            assert_eq!(table.get(wanted.as_bytes()).copied(), first, "{wanted} of {count}");
        }
    }
}
