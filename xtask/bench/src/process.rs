//! The `smf` command from start to exit: the cost of one call in a shell script.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::measure::{Bench, Measure, Target, repeat};

const RUN: &str = "smf run of a small module, start to result";

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[RUN]) {
        return;
    }
    // Built beside this program by `cargo xtask bench`.
    let smf = std::env::current_exe().unwrap().with_file_name("smf");
    let module = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/samples/packed.smf"));
    let run = move || {
        let mut command = Command::new(&smf);
        let output = command.arg("run").arg(module).arg("answer").stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", smf.display()));
        assert_eq!(output.stdout, b"42\n");
    };
    let nothing = || Command::new("/bin/true").stdin(Stdio::null()).output().unwrap();
    let measure = Measure {
        name: RUN,
        peer: "/bin/true",
        batches: 200,
        target: Target::limit(2e6),
        ..Measure::default()
    };
    bench.take(&measure, repeat(run), Some(repeat(nothing)));
}
