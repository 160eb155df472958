//! The examples in the help of each command.

macro_rules! examples {
    ($($name:ident: $($line:literal)+;)*) => {
        $(pub(crate) const $name: &str = concat!("Examples:", $("\n  ", $line),+);)*

        /// All of them.
        #[cfg(test)]
        pub(crate) const ALL: &[&str] = &[$($name),*];
    };
}

examples! {
    RUN:
        "smf run module.smf add 40 2"
        "smf run prog.smf greet str:world --host-symbols --returns str"
        "smf run scores.spl best 7"
        "smf run app.smf --with library.lsm --time"
        "smf run --main prog.smf --host-symbols -- first second";
    TRACE:
        "smf trace module.smf add 40 2 -o trace.json"
        "smf trace app.smf direct 14 --with library.lsm -o trace.json"
        "smf trace scores.spl best 7 -o trace.json";
    COMPILE:
        "smf compile scores.spl -o scores.smf"
        "smf compile scores.spl -o scores.smf --target aarch64 --opt 2 -g";
    CHECK:
        "smf check scores.spl"
        "smf check a.spl b.spl --json";
    EVAL:
        "smf eval '21 + 21'"
        "smf eval '(2 ** 10) as f64'";
    INSPECT:
        "smf inspect module.smf"
        "smf inspect module.smf --symbols --filter sqrt"
        "smf inspect module.smf --json";
    NM: "smf nm module.smf";
    SIZE: "smf size old.smf new.smf";
    TOP: "smf top module.smf";
    DIFF: "smf diff old.smf new.smf";
    MAP:
        "smf map module.smf -o map.html"
        "smf map module.smf --svg -o map.svg";
    VERIFY:
        "smf verify module.smf library.lsm"
        "smf verify --cfi module.smf";
    PACK:
        "smf pack greet.o -o greet.smf"
        "smf pack main.o libz.a -o prog.smf --entry main --export-all"
        "smf pack --reloadable -g plugin.o -o plugin.smf --needed libm.so.6"
        "smf pack a.smf b.smf c.o -o all.smf";
    CONVERT: "smf convert module.smf -o native.smf --layout native";
    STRIP_STUB: "smf strip-stub prog.smf -o module.smf";
    EXTRACT: "smf extract prog.smf -o module.smf";
    LIB_CREATE: "smf lib create -o library.lsm math/scale=scale.smf app=app.smf";
    LIB_LIST: "smf lib list library.lsm";
    LIB_EXTRACT: "smf lib extract library.lsm app -o app.smf";
    NOTE:
        "smf note module.smf"
        "smf note module.smf --json";
    JIT:
        "smf jit scores.smf 'max$f64' 1.5 2.5"
        "smf jit lists.smf 'sum<i64>' i64:1,2,3 3";
    TEMPLATES:
        "smf templates lists.smf"
        "smf templates lists.smf sum --json";
    PREFETCH: "smf prefetch a.smf b.smf --threads 2";
    ASM: "smf asm sum.sbc -o sum.smf";
    DISASM:
        "smf disasm module.smf"
        "smf disasm module.smf add";
    HELP:
        "smf help pack"
        "smf help security";
    COMPLETIONS:
        "smf completions --install"
        "smf completions zsh";
    MAN:
        "smf man run"
        "smf man --directory man";
    LIB:
        "smf lib create -o library.lsm app=app.smf"
        "smf run library.lsm:app";
}
