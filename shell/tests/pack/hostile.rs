//! Broken objects are errors, whatever is broken; nothing panics and nothing takes for ever.

use smf_loader::pack::{Input, Options, pack};

use crate::made::{ar, c};

const SOURCE: &str = r#"
    extern int far(int); int common[4]; int data = 3; const char *name = "name";
    static int (*const table[])(int) = {far, far};
    __attribute__((weak)) int weak(int x) { return x; }
    int go(int x) { switch (x) { case 0: return far(1); case 1: return weak(2); case 2: return 9;
        case 3: return data; case 4: return table[x & 1](x); } return common[x & 3] + name[0]; }
"#;

fn try_all(name: &str, data: &[u8]) {
    for options in [Options::default(), Options { entry: Some("go"), ..Options::default() }] {
        let _ = pack(&[Input { name, data }], &options);
    }
}

#[test]
fn every_shorter_object_is_refused_or_packed() {
    let object = c(SOURCE, &["-O1", "-fPIC"]);
    for len in 0..object.len() {
        try_all("a.o", &object[..len]);
    }
    let archive = ar("rcs", &[("a.o", &object)]);
    for len in 0..archive.len().min(400) {
        try_all("a.a", &archive[..len]);
    }
}

#[test]
fn every_byte_may_be_anything() {
    let object = c(SOURCE, &["-O1", "-fPIC", "-ffunction-sections"]);
    let mut mutant = object.clone();
    for at in 0..object.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, object[at] ^ 4] {
            mutant[at] = value;
            try_all("a.o", &mutant);
        }
        mutant[at] = object[at];
    }
}

#[test]
fn many_changes_at_once() {
    let object = c(SOURCE, &["-O2"]);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    for _ in 0..2000 {
        let mut mutant = object.clone();
        for _ in 0..=next(12) {
            let at = next(mutant.len());
            mutant[at] = u8::try_from(next(256)).unwrap();
        }
        try_all("a.o", &mutant);
    }
}

/// Many sections that all claim the same bytes would ask for far more memory than the file has.
#[test]
fn sections_that_overlap_are_refused() {
    let object = c(SOURCE, &["-O0"]);
    let mut mutant = object.clone();
    let table = usize::try_from(u64::from_le_bytes(object[40..48].try_into().unwrap())).unwrap();
    for header in mutant[table..].chunks_exact_mut(64).skip(1) {
        // Program bits that are loaded, all of the file.
        header[4..8].copy_from_slice(&1u32.to_le_bytes());
        header[8..16].copy_from_slice(&2u64.to_le_bytes());
        header[24..32].fill(0);
        header[32..40].copy_from_slice(&(object.len() as u64).to_le_bytes());
    }
    let error = pack(&[Input { name: "a.o", data: &mutant }], &Options::default()).err().unwrap();
    assert_eq!(error.to_string(), "a.o: its sections overlap");
}

#[test]
fn more_zeroes_than_an_image_can_have_are_refused() {
    for size in ["0x7fffffff", "0xffffffffff"] {
        let source = format!("char zeroes[{size}]; int go(void) {{ return 1; }}");
        let object = c(&source, &["-mcmodel=medium"]);
        let error =
            pack(&[Input { name: "a.o", data: &object }], &Options::default()).err().unwrap();
        assert!(error.to_string().starts_with("the module would take 2 GiB or more"), "{error}");
    }
}
