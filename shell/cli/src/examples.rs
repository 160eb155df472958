//! The examples in the help of each command.

/// All of them.
#[cfg(test)]
pub(crate) const ALL: [&str; 29] = [
    RUN,
    TRACE,
    COMPILE,
    CHECK,
    EVAL,
    INSPECT,
    NM,
    SIZE,
    TOP,
    DIFF,
    MAP,
    VERIFY,
    PACK,
    CONVERT,
    STRIP_STUB,
    EXTRACT,
    LIB_CREATE,
    LIB_LIST,
    LIB_EXTRACT,
    NOTE,
    JIT,
    TEMPLATES,
    PREFETCH,
    ASM,
    DISASM,
    HELP,
    COMPLETIONS,
    MAN,
    LIB,
];

/// Of `smf run`.
pub(crate) const RUN: &str = "\
Examples:
  smf run module.smf add 40 2
  smf run prog.smf greet str:world --host-symbols --returns str
  smf run scores.spl best 7
  smf run app.smf --with library.lsm --time
  smf run --main prog.smf --host-symbols -- first second";

/// Of `smf trace`.
pub(crate) const TRACE: &str = "\
Examples:
  smf trace module.smf add 40 2 -o trace.json
  smf trace app.smf direct 14 --with library.lsm -o trace.json
  smf trace scores.spl best 7 -o trace.json";

/// Of `smf compile`.
pub(crate) const COMPILE: &str = "\
Examples:
  smf compile scores.spl -o scores.smf
  smf compile scores.spl -o scores.smf --target aarch64 --opt 2 -g";

/// Of `smf check`.
pub(crate) const CHECK: &str = "\
Examples:
  smf check scores.spl
  smf check a.spl b.spl --json";

/// Of `smf eval`.
pub(crate) const EVAL: &str = "\
Examples:
  smf eval '21 + 21'
  smf eval '(2 ** 10) as f64'";

/// Of `smf inspect`.
pub(crate) const INSPECT: &str = "\
Examples:
  smf inspect module.smf
  smf inspect module.smf --symbols --filter sqrt
  smf inspect module.smf --json";

/// Of `smf nm`.
pub(crate) const NM: &str = "\
Examples:
  smf nm module.smf";

/// Of `smf size`.
pub(crate) const SIZE: &str = "\
Examples:
  smf size old.smf new.smf";

/// Of `smf top`.
pub(crate) const TOP: &str = "\
Examples:
  smf top module.smf";

/// Of `smf diff`.
pub(crate) const DIFF: &str = "\
Examples:
  smf diff old.smf new.smf";

/// Of `smf map`.
pub(crate) const MAP: &str = "\
Examples:
  smf map module.smf -o map.html
  smf map module.smf --svg -o map.svg";

/// Of `smf verify`.
pub(crate) const VERIFY: &str = "\
Examples:
  smf verify module.smf library.lsm
  smf verify --cfi module.smf";

/// Of `smf pack`.
pub(crate) const PACK: &str = "\
Examples:
  smf pack greet.o -o greet.smf
  smf pack main.o libz.a -o prog.smf --entry main --export-all
  smf pack --reloadable -g plugin.o -o plugin.smf --needed libm.so.6
  smf pack a.smf b.smf c.o -o all.smf";

/// Of `smf convert`.
pub(crate) const CONVERT: &str = "\
Examples:
  smf convert module.smf -o native.smf --layout native";

/// Of `smf strip-stub`.
pub(crate) const STRIP_STUB: &str = "\
Examples:
  smf strip-stub prog.smf -o module.smf";

/// Of `smf extract`.
pub(crate) const EXTRACT: &str = "\
Examples:
  smf extract prog.smf -o module.smf";

/// Of `smf lib create`.
pub(crate) const LIB_CREATE: &str = "\
Examples:
  smf lib create -o library.lsm math/scale=scale.smf app=app.smf";

/// Of `smf lib list`.
pub(crate) const LIB_LIST: &str = "\
Examples:
  smf lib list library.lsm";

/// Of `smf lib extract`.
pub(crate) const LIB_EXTRACT: &str = "\
Examples:
  smf lib extract library.lsm app -o app.smf";

/// Of `smf note`.
pub(crate) const NOTE: &str = "\
Examples:
  smf note module.smf
  smf note module.smf --json";

/// Of `smf jit`.
pub(crate) const JIT: &str = "\
Examples:
  smf jit scores.smf 'max$f64' 1.5 2.5
  smf jit lists.smf 'sum<i64>' i64:1,2,3 3";

/// Of `smf templates`.
pub(crate) const TEMPLATES: &str = "\
Examples:
  smf templates lists.smf
  smf templates lists.smf sum --json";

/// Of `smf prefetch`.
pub(crate) const PREFETCH: &str = "\
Examples:
  smf prefetch a.smf b.smf --threads 2";

/// Of `smf asm`.
pub(crate) const ASM: &str = "\
Examples:
  smf asm sum.sbc -o sum.smf";

/// Of `smf disasm`.
pub(crate) const DISASM: &str = "\
Examples:
  smf disasm module.smf
  smf disasm module.smf add";

/// Of `smf help`.
pub(crate) const HELP: &str = "\
Examples:
  smf help pack
  smf help security";

/// Of `smf completions`.
pub(crate) const COMPLETIONS: &str = "\
Examples:
  smf completions --install
  smf completions zsh";

/// Of `smf man`.
pub(crate) const MAN: &str = "\
Examples:
  smf man run
  smf man --directory man";

/// Of `smf lib`.
pub(crate) const LIB: &str = "\
Examples:
  smf lib create -o library.lsm app=app.smf
  smf run library.lsm:app";
