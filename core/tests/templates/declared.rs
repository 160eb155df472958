//! Structs of a requesting module as type arguments of another module's templates.

use smf_core::templates::JitInstantiator;
use smf_core::types::Type;

use crate::source::{
    Record, SOURCE, compiled, error, function, instance, jit, module, run, structure,
};

const ROW: [&str; 3] = ["pick", "Point", "pick$Point"];

fn pick() -> Record {
    function("pick", &["T"], &["first: bool", "a: T", "b: T"], "T", &["if first: a else: b"])
}

fn point() -> Record {
    structure("Point", &[], &["x: i64", "y: i64"])
}

fn other_point() -> Record {
    structure("Point", &[], &["x: f64"])
}

fn load(jit: &JitInstantiator, name: &str, records: &[Record], rows: &[[&str; 3]]) {
    jit.load_smf_bytes(name.as_bytes(), &module(2, records, rows)).unwrap();
}

/// `pick(false, [1, 2], [3, 4])`, in place.
fn picks(jit: &JitInstantiator) {
    let pick = instance(jit, "pick$Point");
    let (one, two, mut result) = ([1i64, 2], [3i64, 4], [0i64; 2]);
    let address = |point: &[i64; 2]| point.as_ptr().expose_provenance() as i64;
    let out = result.as_mut_ptr().expose_provenance() as i64;
    run(&pick, &[out, 0, address(&one), address(&two)]).unwrap();
    // SAFETY: the instance wrote the result there.
    assert_eq!(unsafe { std::ptr::read_volatile(&raw const result) }, [3, 4]);
}

#[test]
fn struct_of_the_requesting_module_is_an_argument_of_another_template() {
    for templates in [module(2, &[pick()], &[]), compiled(&SOURCE.replace("Point", "Own"), &[])] {
        for rows in [&[ROW][..], &[]] {
            let jit = jit(&templates);
            assert!(error(&jit, "pick$Point").contains("type `Point` not found"));
            load(&jit, "user.smf", &[point()], rows);
            picks(&jit);
            let ty = Type::Named { name: "Point".into(), args: Vec::new() };
            let resolved = jit.resolve_generic("pick", &[ty]).unwrap();
            assert_eq!(resolved.address(), instance(&jit, "pick$Point").address());
        }
    }
}

#[test]
fn structs_of_one_name_are_not_mixed() {
    // That of the template's module, in a record and in source.
    for templates in [module(2, &[pick(), point()], &[]), compiled(SOURCE, &[])] {
        for rows in [&[ROW][..], &[]] {
            let jit = jit(&templates);
            load(&jit, "user.smf", &[other_point()], rows);
            let found = error(&jit, "pick$Point");
            let expected = "the type `Point` of `max.smf` differs from that of `user.smf`";
            assert!(found.ends_with(expected), "{found}");
        }
        let jit = jit(&templates);
        load(&jit, "user.smf", &[point()], &[ROW]);
        picks(&jit);
    }
    // Those of two requesting modules.
    for rows in [&[ROW][..], &[]] {
        let jit = jit(&module(2, &[pick()], &[]));
        load(&jit, "one.smf", &[point()], rows);
        load(&jit, "two.smf", &[other_point()], rows);
        let found = error(&jit, "pick$Point");
        let expected = "the type `Point` of `one.smf` differs from that of `two.smf`";
        assert!(found.ends_with(expected), "{found}");
    }
    // The other module does not request the instance.
    let jit = jit(&module(2, &[pick()], &[]));
    load(&jit, "two.smf", &[other_point()], &[]);
    load(&jit, "one.smf", &[point()], &[ROW]);
    picks(&jit);
}

#[test]
fn struct_that_contains_different_structs_is_not_mixed() {
    let line = || structure("Line", &[], &["from: Point", "to: Point"]);
    let row = ["pick", "Line", "pick$Line"];
    let jit = jit(&module(2, &[pick()], &[]));
    load(&jit, "one.smf", &[line(), point()], &[row]);
    instance(&jit, "pick$Line");
    let two = module(2, &[line(), other_point()], &[row]);
    let found = jit.load_smf_bytes(b"two.smf", &two).unwrap_err().to_string();
    assert!(
        found.starts_with("the type `Point` of `two.smf` differs from that of `one.smf`"),
        "{found}"
    );
    // A new version of the module itself, and the same types in another one.
    load(&jit, "one.smf", &[line(), point()], &[row]);
    load(&jit, "three.smf", &[line(), point()], &[row]);
}
