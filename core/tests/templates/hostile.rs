//! Malformed input: errors name the symbol and the cause, and have no side effects.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{OnceLock, Weak};

use smf_core::format::{Arch, RelocKind};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    Callback, CodeReloc, CompileRequest, Compiled, Environment, InstantiateError, JitConfig,
    JitInstantiator, PrecompiledReloc, Target, Variant, encode_precompiled,
};

use crate::build::{SILENT, Spec, loaded, returns};
use crate::call_at;

/// The error for `symbol`. Nothing may remain of the instance.
fn refused(module: Spec, symbol: &str) -> String {
    let (jit, _) = loaded(SILENT, &[module]);
    let error = jit.try_jit_instantiate(symbol.as_bytes()).unwrap_err().to_string();
    assert_eq!(jit.stats().cached_count, 0);
    assert_eq!(jit.address(symbol.as_bytes()), None);
    let again = jit.try_jit_instantiate(symbol.as_bytes());
    assert_eq!(error, again.unwrap_err().to_string());
    assert!(error.contains(symbol), "{error}");
    error
}

#[test]
fn invalid_rows_are_refused_with_the_cause() {
    let with = |arguments: &str| Spec::new().template("f", "ret 1").possible("f", arguments, "f$x");
    let many = vec!["i64"; 65].join(",");
    for (module, cause) in [
        (Spec::new().possible("gone", "i64", "f$x"), "no loaded module has a template `gone`"),
        (with(""), "there are no type arguments"),
        (with("Vec<"), "syntax error in the type arguments at byte 4"),
        (with("?T"), "the type argument at byte 0 contains a type variable"),
        (with(&many), "more than 64 type arguments"),
        (with(&"[".repeat(100_000)), "nested deeper than 32 levels"),
        (with("i64").parameters(2), "`f` has 2 type parameters, and 1 type is given"),
        (with("i64").parameters(65), "`f` has 65 type parameters; the limit is 64"),
        (
            with("i64").possible("f", "f64", "f$x"),
            "lines 3 and 4 of note.sdn define different instances",
        ),
    ] {
        let told = refused(module, "f$x");
        assert!(told.contains(cause), "{told}");
    }
}

#[test]
fn compiler_errors_are_returned_with_the_cause() {
    for (script, cause) in [
        ("fail no such operation\u{7}", "no such operation"),
        ("empty", "the compiler returned 0 bytes of code"),
        ("far", "relocation 0 of the compiled code, at 0x1, is out of bounds"),
        ("call absent_name", "undefined symbol `absent_name`"),
        (
            "instance gone i64",
            "required instance `gone$i64`: no loaded module has a template `gone`",
        ),
        ("needs g i64\nret 1", "required instance `g$i64`: inner"),
    ] {
        let module = Spec::new().both("f", script).both("g", "fail inner");
        let told = refused(module, "f$i64");
        assert!(told.contains(cause), "{told}");
    }
}

/// Each template requires an instance for a larger type, without an end.
#[test]
fn unbounded_recursion_over_types_reaches_the_depth_limit() {
    let grow = Callback::new(|request: &CompileRequest<'_>, environment: &mut dyn Environment| {
        let inner = smf_core::types::Type::Array(Box::new(request.arguments[0].clone()));
        environment.instance(request.template, &[inner])?;
        Ok(returns(1))
    });
    let config = JitConfig { max_nesting: 100, ..SILENT };
    let jit =
        JitInstantiator::new(config, CodeMemory::default()).unwrap().with_compiler(grow).unwrap();
    jit.load_smf_bytes(b"m", &Spec::new().both("f", "x").file()).unwrap();
    let told = jit.try_jit_instantiate(b"f$i64").unwrap_err().to_string();
    assert!(told.ends_with("Maximum JIT depth (50) exceeded"), "{told}");
    assert_eq!(jit.stats().cached_count, 0);
}

#[test]
fn invalid_relocations_are_refused() {
    let reloc = |kind, target| CodeReloc { offset: 0, kind, target, addend: 0 };
    for (kind, cause) in [
        (RelocKind::Abs32, "(abs32) does not apply to this machine"),
        (RelocKind::Arm64Branch26, "(arm64branch26) does not apply to this machine"),
        (RelocKind::Unknown(77), "(unknown(77)) does not apply to this machine"),
        (RelocKind::Abs64, "at 0x0, is out of bounds or has no target"),
    ] {
        let compile = Callback::new(move |_: &CompileRequest<'_>, _: &mut dyn Environment| {
            Ok(Compiled { code: vec![0xc3; 4], relocations: vec![reloc(kind, Target::OWN)] })
        });
        let jit = JitInstantiator::new(SILENT, CodeMemory::default())
            .unwrap()
            .with_compiler(compile)
            .unwrap();
        jit.load_smf_bytes(b"m", &Spec::new().both("f", "x").file()).unwrap();
        let told = jit.try_jit_instantiate(b"f$i64").unwrap_err().to_string();
        assert!(told.contains(cause), "{told}");
    }
}

/// A nested request on the same thread sees the job of the outer request.
#[test]
fn compiler_may_reenter_the_instantiator() {
    static SELF: OnceLock<Weak<JitInstantiator>> = OnceLock::new();
    let compile = Callback::new(|request: &CompileRequest<'_>, _: &mut dyn Environment| {
        let jit = SELF.get().unwrap().upgrade().unwrap();
        assert!(matches!(
            jit.try_jit_instantiate(b"unknown"),
            Err(InstantiateError::NotFound { .. })
        ));
        let Err(InstantiateError::CircularDependency { cycle }) =
            jit.try_jit_instantiate(request.symbol)
        else {
            panic!("the instance is being compiled");
        };
        assert!(cycle.len() >= 2 && *cycle[0] == *request.symbol);
        let value = match request.template {
            b"f" => call_at(jit.try_jit_instantiate(b"g$i64").unwrap().address(), &[]),
            _ => 20,
        };
        jit.load_smf_bytes(b"more", &Spec::new().both("h", "x").file()).unwrap();
        Ok(returns(value as i32 + 1))
    });
    let jit = Arc::new(
        JitInstantiator::new(SILENT, CodeMemory::default())
            .unwrap()
            .with_compiler(compile)
            .unwrap(),
    );
    SELF.set(Arc::downgrade(&jit)).unwrap();
    jit.load_smf_bytes(b"m", &Spec::new().both("f", "x").both("g", "y").file()).unwrap();
    let result = jit.try_jit_instantiate(b"f$i64");
    assert_eq!(call_at(result.as_ref().unwrap().address(), &[]), 22);
    assert!(jit.can_jit_instantiate(b"h$i64"));
}

#[test]
fn panicking_compiler_leaves_no_thread_waiting() {
    let compile = Callback::new(|request: &CompileRequest<'_>, _: &mut dyn Environment| {
        assert!(request.template != b"f", "on purpose");
        Ok(returns(1))
    });
    let jit = JitInstantiator::new(SILENT, CodeMemory::default())
        .unwrap()
        .with_compiler(compile)
        .unwrap();
    jit.load_smf_bytes(b"m", &Spec::new().both("f", "x").both("g", "x").file()).unwrap();
    for _ in 0..2 {
        let panics = std::panic::AssertUnwindSafe(|| jit.try_jit_instantiate(b"f$i64"));
        assert!(std::panic::catch_unwind(panics).is_err());
    }
    assert!(jit.try_jit_instantiate(b"g$i64").is_ok());
}

#[test]
fn malformed_metadata_is_refused_without_effect() {
    let (jit, _) = loaded(SILENT, &[Spec::new().both("f", "ret 1")]);
    let sound = Spec::new().both("f", "ret 2");
    let text = sound.note_text();
    let not_text = [text.as_bytes(), b"\xff"].concat();
    let not_text: Vec<u8> = not_text.into_iter().filter(|byte| *byte != b'#').collect();
    for note in [
        text.replace("\"f\", ", "").into_bytes(),
        text.replace("mangled_name, required_by", "required_by").into_bytes(),
        text.replace("a.spl", "\"").into_bytes(),
        not_text,
    ] {
        let module = Spec::new().both("f", "ret 2").note(&note).file();
        let error = jit.load_smf_bytes(b"m0", &module).unwrap_err().to_string();
        assert!(error.starts_with("note.sdn"), "{error}");
    }
    let archive = include_bytes!("../../../tests/samples/library.lsm");
    assert!(jit.load_smf_bytes(b"m0", archive).unwrap_err().to_string().contains("archive"));
    let mut cut = sound.file();
    let at = cut.windows(4).position(|four| four == 1u32.to_le_bytes()).unwrap();
    cut[at..at + 4].copy_from_slice(&1000u32.to_le_bytes());
    assert!(jit.load_smf_bytes(b"m0", &cut).is_err());
    assert_eq!(jit.stats().loaded_smf_count, 1);
    assert!(jit.can_jit_instantiate(b"f$i64"));
}

#[test]
fn note_of_size_0_requires_an_end_marker() {
    let sample = include_bytes!("../../../tests/samples/note-zero-size.smf");
    let (jit, _) = loaded(SILENT, &[]);
    jit.load_smf_bytes(b"a", sample).unwrap();
    assert!(jit.can_jit_instantiate(b"fn$Vec$i64") && jit.can_jit_instantiate(b"Pair$i64_f64"));
    let end = sample.windows(10).position(|part| part == b"# END_NOTE").unwrap();
    let mut endless = sample.to_vec();
    endless[end + 2] = b'x';
    let error = jit.load_smf_bytes(b"b", &endless).unwrap_err().to_string();
    assert!(error.contains("no line `# END_NOTE`"), "{error}");
}

/// The maximum size of a note without a stated size: 1 MiB, including the terminator.
#[test]
fn note_of_1_mib_is_read_and_updated() {
    let spec = Spec::new().both("f", "ret 1").both("g", "ret 2");
    let text = spec.note_text();
    let (rows, end) = text.split_at(text.rfind("# END_NOTE").unwrap());
    let room = (1 << 20) - rows.len() - end.len() - 3;
    let note = format!("{rows}# {}\n{end}", "x".repeat(room));
    assert_eq!(note.len(), 1 << 20);
    let module = spec.note(note.as_bytes());
    let (jit, _) = loaded(JitConfig::default(), &[module]);
    assert!(jit.try_jit_instantiate(b"f$i64").is_ok());
    assert!(!jit.can_jit_instantiate(b"f$i64") && jit.can_jit_instantiate(b"g$i64"));
    let updated = String::from_utf8(jit.note(b"m0").unwrap().unwrap()).unwrap();
    assert!(updated.contains("\"jit_compiled\"") && updated.len() > 1 << 20);
}

#[test]
fn hundred_thousand_possible_rows_are_found() {
    let mut module = Spec::new().template("f", "ret 1");
    for number in 0..100_000 {
        module = module.possible("f", &format!("T{number}"), &format!("fn$f$T{number}"));
    }
    let (jit, count) = loaded(SILENT, &[module]);
    for number in [0, 1, 777, 50_000, 99_999] {
        let symbol = format!("fn$f$T{number}");
        assert!(jit.can_jit_instantiate(symbol.as_bytes()));
        assert!(jit.try_jit_instantiate(symbol.as_bytes()).is_ok());
    }
    assert!(!jit.can_jit_instantiate(b"fn$f$T100000"));
    assert_eq!((jit.stats().cached_count, count.load(Relaxed)), (5, 5));
}

#[test]
fn precompiled_code_of_two_instances_is_linked() {
    // mov eax, edi; add eax, 5; ret; and a call of that.
    let five = encode_precompiled(&[Variant {
        arch: Arch::X86_64,
        arguments: &[],
        code: &[0x89, 0xf8, 0x83, 0xc0, 5, 0xc3],
        relocations: &[],
    }]);
    let reloc =
        PrecompiledReloc { offset: 1, kind: RelocKind::Plt32, symbol: b"five$i64", addend: -4 };
    let tail = encode_precompiled(&[Variant {
        arch: Arch::X86_64,
        arguments: &[smf_core::types::Type::I64],
        code: &[0xe9, 0, 0, 0, 0],
        relocations: &[reloc],
    }]);
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    let module = Spec::new()
        .both("five", five.unwrap())
        .both("tail", tail.unwrap())
        .possible("tail", "f64", "tail$f64");
    jit.load_smf_bytes(b"m", &module.file()).unwrap();
    let result = jit.try_jit_instantiate(b"tail$i64");
    assert_eq!(call_at(result.as_ref().unwrap().address(), &[37]), 42);
    let other = jit.try_jit_instantiate(b"tail$f64").unwrap_err().to_string();
    assert!(other.contains("no precompiled code for these types"), "{other}");
}
