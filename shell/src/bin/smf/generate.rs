//! `smf completions` and `smf man`: what a package installs beside the command.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::output::{self, Failure};

#[derive(clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// The command; without one, the page that lists them all
    command: Option<String>,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "smf", &mut text);
    output::to_stdout(|out| out.write_all(&text))
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut page = Cli::command();
    page.build();
    if let Some(name) = &args.command {
        let command = page.find_subcommand(name).cloned();
        page = command.ok_or_else(|| Failure::Because(format!("there is no command `{name}`")))?;
    }
    output::to_stdout(|out| clap_mangen::Man::new(page).render(out))
}
