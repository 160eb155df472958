//! Code of `-mcmodel=tiny`, which refers to data and to the GOT by distances of 21 bits.

use std::path::Path;

use smf_core::format::Layout;

use crate::pack::try_text;
use crate::tools::{File, Loader, compiled, program};

#[test]
fn position_independent_code_of_the_tiny_model_runs() {
    let Some(loader) = Loader::get() else { return };
    for flags in [["-O2", "-fPIC", "-mcmodel=tiny"], ["-O0", "-fpic", "-mcmodel=tiny"]] {
        let objects = ["caller.c", "callee.c"].map(|name| program(name, &flags));
        let [Some(caller), Some(callee)] = objects else { return };
        let linked = File::packed(&[&caller, &callee], Layout::Packed);
        assert_eq!(loader.call(&linked.path(), "scaled_sum", &[4, 5], &[]), 27);
        let [caller, callee] =
            [caller, callee].map(|object| File::packed(&[&object], Layout::Packed));
        let callee = callee.path();
        let with = ["--with", callee.to_str().unwrap()];
        assert_eq!(loader.call(&caller.path(), "scaled_sum", &[4, 5], &with), 27);
        assert_eq!(loader.call(&caller.path(), "letter_of_name", &[0, 1], &with), 97);
    }
}

#[test]
fn initial_exec_of_the_tiny_model_has_storage_in_every_thread() {
    let Some(loader) = Loader::get() else { return };
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/thread_local"));
    let flags = ["-O2", "-fPIC", "-mcmodel=tiny", "-ftls-model=initial-exec", "-DALIGNMENT=16"];
    let Some(object) = compiled(&directory.join("storage.c"), &flags) else { return };
    let file = File::packed(&[&object], Layout::Packed);
    assert_eq!(loader.call(&file.path(), "check_threads", &[], &["--host-symbols"]), 0);
}

/// The forms that gcc does not emit: a descriptor and the general access by distances of 21 bits.
#[test]
fn dynamic_access_of_the_tiny_model_has_storage() {
    let Some(loader) = Loader::get() else { return };
    let storage =
        ".section .tdata,\"awT\",@progbits\n.balign 8\n.quad 9\n.globl value\nvalue: .quad 42\n";
    let frame = |code: &str| {
        format!(
            "stp x29, x30, [sp, #-16]!\n{code}ldr x0, [x0]\nldp x29, x30, [sp], #16\nret\n{storage}"
        )
    };
    for code in [
        "ldr x1, :tlsdesc:value\nadr x0, :tlsdesc:value\n.tlsdesccall value\nblr x1\n\
         mrs x1, tpidr_el0\nadd x0, x0, x1\n",
        "adr x0, :tlsgd:value\nbl __tls_get_addr\n",
        "adr x0, :tlsldm:value\nbl __tls_get_addr\nadd x0, x0, #8\n",
    ] {
        let Some(packed) = try_text(&frame(code), Layout::Packed) else { return };
        let file = File::new(&packed.unwrap().bytes);
        let call = || loader.call(&file.path(), "go", &[], &["--host-symbols"]);
        assert_eq!(call(), 42, "{code}");
    }
}

#[test]
fn distance_of_the_tiny_model_out_of_reach_is_refused_with_the_remedy() {
    for (code, kind) in [
        ("ldr x0, :got:far", "R_AARCH64_GOT_LD_PREL19 against `far`"),
        ("ldr x0, value", "R_AARCH64_LD_PREL_LO19 against `value`"),
        ("adr x0, value", "R_AARCH64_ADR_PREL_LO21 against `value`"),
    ] {
        let text = |gap| {
            format!("{code}\nret\n.space {gap}\n.data\n.balign 4\n.globl value\nvalue: .quad 1\n")
        };
        let Some(near) = try_text(&text(0xf_0000), Layout::Packed) else { return };
        near.unwrap();
        for (layout, gap, why) in [
            (Layout::Packed, 0x11_0000, "is out of range; compile with -mcmodel=small"),
            (
                Layout::Native,
                4,
                "which no relocation of a module expresses; compile with -mcmodel=small",
            ),
        ] {
            if layout == Layout::Native && code.starts_with("adr") {
                continue;
            }
            let error = try_text(&text(gap), layout).unwrap().err();
            let error = error.unwrap_or_else(|| panic!("{code} can be packed")).to_string();
            assert!(error.contains(kind) && error.ends_with(why), "{error}");
        }
    }
}

#[test]
fn literal_of_an_import_is_refused_with_the_remedy() {
    let Some(packed) = try_text("ldr x0, far\nret", Layout::Packed) else { return };
    let error = packed.map(drop).unwrap_err().to_string();
    let expected = "R_AARCH64_LD_PREL_LO19 against `far` leaves its section with fewer than 21 bits of distance, which no relocation of a module expresses; compile with -mcmodel=small";
    assert!(error.ends_with(expected), "{error}");
}
