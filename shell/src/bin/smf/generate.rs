//! `smf completions` and `smf man`: files that a package installs with the command.

use std::io::Write;

use clap::Command;
use clap_complete::Shell;

use crate::output::{self, Failure};

pub(crate) fn completions(shell: Shell, mut command: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "smf", &mut text);
    output::to_stdout(|out| out.write_all(&text))
}

pub(crate) fn man(name: Option<&str>, mut page: Command) -> Result<(), Failure> {
    page.build();
    if let Some(name) = name {
        let command = page.find_subcommand(name).cloned();
        page = command.ok_or_else(|| Failure::Because(format!("no command `{name}`")))?;
    }
    output::to_stdout(|out| clap_mangen::Man::new(page).render(out))
}
