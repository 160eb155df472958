//! Modules of default objects in hosts of every kind.

use super::*;

/// Modules compiled without -fPIC, whose code addresses data of the host directly.
const REACH: [(&str, &str); 5] = [
    (
        "data",
        "extern void *stderr, *stdout; extern char **environ; extern long host_datum;
         void *error_stream(void) { return stderr; } void *output_stream(void) { return stdout; }
         void *output_address(void) { return &stdout; } char **environment(void) { return environ; }
         void *environment_address(void) { return &environ; }
         long add(long x) { host_datum += x; return host_datum; }
         int is_zero(void) { return host_datum == 0; }",
    ),
    (
        "near",
        "long pushed_stream(void) { long x; __asm__ volatile(\"pushq stderr(%%rip); popq %0\" : \"=r\"(x)); return x; }",
    ),
    (
        "near-host",
        "long pushed_datum(void) { long x; __asm__ volatile(\"pushq host_datum(%%rip); popq %0\" : \"=r\"(x)); return x; }",
    ),
    (
        "near-large",
        "static char large[16 << 20]; char *keep(void) { return large; }
         long pushed_stream_too(void) { long x; __asm__ volatile(\"pushq stderr(%%rip); popq %0\" : \"=r\"(x)); return x; }",
    ),
    (
        "both",
        "long pushed_both(void) { long x; __asm__ volatile(\"pushq stdout(%%rip); popq %0; pushq stderr(%%rip); popq %0\" : \"=r\"(x)); return x; }",
    ),
];

/// Modules of objects for an executable, whose code holds 32-bit addresses of imports in instructions that cannot be moved, or
/// in instructions that can.
const FIXED: [(&str, &str); 3] = [
    (
        "fixed-data",
        "extern long host_array[]; long many(long, long, long, long, long, long, long *, long);
         long many(long a, long b, long c, long d, long e, long f, long *g, long h) { return a + b + c + d + e + f + g[1] + h; }
         long (*volatile pointer)(long, long, long, long, long, long, long *, long) = many;
         long go(long x) { return pointer(1, 2, 3, 4, 5, 6, host_array, x); }",
    ),
    (
        "fixed-function",
        "extern long (*host_functions[])(long); extern long host_function(long);
         long go_there(long x) { return host_functions[x](host_functions[x] == host_function ? 5 : 6) + 1; }",
    ),
    (
        "fixed-moved",
        "extern long host_array[], host_function(long); static const long own[] = {1, 2, 4};
         long go_on(long x) { host_array[x] += own[x]; return host_function(host_array[x]); }",
    ),
];

/// Hosts built in three ways, which have copies of library data in the program or not.
#[test]
fn default_objects_reach_data_of_every_host() {
    let directory = Path::new(SCRATCH).join("reach");
    fs::create_dir_all(&directory).unwrap();
    let fixed = FIXED.map(|(name, source)| (name, source, "-fno-pie"));
    for (name, source, model) in
        REACH.map(|(name, source)| (name, source, "-fpie")).into_iter().chain(fixed)
    {
        let [c, o, smf] = ["c", "o", "smf"].map(|end| directory.join(name).with_extension(end));
        fs::write(&c, source).unwrap();
        let mut gcc = Command::new("gcc");
        // No flags but those that other systems than Debian do not have by default.
        succeed(gcc.args(["-O1", model, "-fno-builtin", "-c", "-o"]).arg(&o).arg(&c));
        let data = fs::read(&o).unwrap();
        let packed = pack(&[Input { name, data: &data }], &Options::default()).unwrap();
        fs::write(&smf, packed.bytes).unwrap();
    }
    let libraries = libraries(C);
    for (way, flags, is_apart) in [
        ("pie", &["-fpie", "-pie"][..], true),
        ("no-pie", &["-fno-pie", "-no-pie"], true),
        ("pic", &["-fPIC", "-pie"], false),
    ] {
        let program = Path::new(SCRATCH).join(format!("reach-{way}"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-I", INCLUDE]);
        gcc.args(["-Wno-unused-function"]).args(flags).arg("-o").arg(&program);
        gcc.args(["-DSMF_NO_JIT"]).arg(Path::new(SOURCES).join("reach.c"));
        succeed(
            gcc.args(["-lsmf_loader", "-L"])
                .arg(libraries)
                .arg(format!("-Wl,--disable-new-dtags,-rpath,{}", libraries.display())),
        );
        let apart = if is_apart { "apart" } else { "together" };
        let low = if way == "no-pie" { "low" } else { "high" };
        let said = succeed(Command::new(&program).arg(&directory).args([apart, low]));
        assert!(said.contains("ok"), "{way}: {said}");
    }
}
