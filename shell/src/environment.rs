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
    use std::process::Command;

    const NAME: &str = "SMF_TEST_OF_THE_ENVIRONMENT";

    /// Runs this test in another process; `privilege` is the value of the variable there.
    fn run(program: &Path, privilege: &str) {
        let name = "environment::tests::variable_is_absent_in_a_privileged_program";
        let mut command = Command::new(program);
        let output = command.args(["--exact", name]).env(NAME, privilege).output().unwrap();
        assert!(output.status.success(), "{privilege}: {output:?}");
    }

    #[test]
    fn variable_is_absent_in_a_privileged_program() {
        if let Some(privilege) = std::env::var_os(NAME) {
            let is_plain = rustix::process::getuid() == rustix::process::geteuid();
            assert_eq!(privilege == "plain", is_plain);
            assert_eq!(variable(NAME).is_some(), is_plain);
            return;
        }
        let program = std::env::current_exe().unwrap();
        run(&program, "plain");
        if !rustix::process::geteuid().is_root() {
            skip("root alone gives a program to another user");
            return;
        }
        let copy = program.with_extension("set-user-id");
        // By another process: a child that another test forks meanwhile would have a copy that is being written open.
        let mut install = Command::new("install");
        install.args(["-m", "4755", "-o", "65534"]).args([&program, &copy]);
        assert!(install.status().unwrap().success());
        run(&copy, "set-user-id");
        fs::remove_file(&copy).unwrap();
    }
}
