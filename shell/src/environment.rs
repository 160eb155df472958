//! Environment variables of the library.
//!
//! The user of a program with more privileges than that user has (set-user-ID, set-group-ID, file capabilities) chooses
//! its environment, and must not choose files that it writes. Source: secure_getenv(3), getauxval(3).
#![allow(unsafe_code)]

use std::ffi::OsString;

/// The value of a variable; `None` if it is absent, empty, or in the environment of a privileged program.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    // SAFETY: the call takes a number. Miri has no such call.
    let is_privileged = !cfg!(miri) && unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if is_privileged { None } else { std::env::var_os(name).filter(|value| !value.is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::skip;
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    const NAME: &str = "SMF_TEST_OF_THE_ENVIRONMENT";

    /// What this test says in a process of its own that has the rights of its user.
    const PLAIN: &str = "has the rights of its user";

    /// Runs this test in another process.
    fn run(program: &Path) -> Output {
        let name = "environment::tests::variable_is_absent_in_a_privileged_program";
        let mut command = Command::new(program);
        command.args(["--exact", name, "--nocapture"]).env(NAME, "1").output().unwrap()
    }

    /// Whether the test has passed with the rights of its user.
    fn is_plain(output: &Output) -> bool {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).contains(PLAIN)
    }

    #[test]
    fn variable_is_absent_in_a_privileged_program() {
        if std::env::var_os(NAME).is_some() {
            let is_plain = rustix::process::getuid() == rustix::process::geteuid();
            assert_eq!(variable(NAME).is_some(), is_plain);
            println!("{}", if is_plain { PLAIN } else { "has those of another user" });
            return;
        }
        let program = std::env::current_exe().unwrap();
        assert!(is_plain(&run(&program)));
        let copy = program.with_extension("set-user-id");
        // By another process: a child that another test forks meanwhile would have a copy that is being written open.
        let mut install = Command::new("install");
        install.args(["-m", "4755", "-o", "65534"]).args([&program, &copy]);
        if !install.output().unwrap().status.success() {
            return skip("root alone gives a program to another user");
        }
        let output = run(&copy);
        fs::remove_file(&copy).unwrap();
        if is_plain(&output) {
            skip("the set-user-ID bit has no effect on this file system");
        }
    }
}
