//! Does what the texts say, in a repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::document::{Block, Content, Step, blocks};
use crate::matching::is_shown;
use crate::{At, Error};

/// What needs another release build than that of the first command: texts and their sections, or a whole text.
const FULL_ONLY: [(&str, Option<&str>); 8] = [
    ("README.md", Some("Install")),
    ("README.md", Some("Rust")),
    ("README.md", Some("C")),
    ("c.md", None),
    ("exec.md", None),
    ("ir.md", None),
    ("rust.md", None),
    ("porting.md", None),
];

/// The most commands that the texts may leave out.
const MAX_NOT_RUN: usize = 9;

/// Seconds after which a command counts as failed.
const LIMIT: &str = "1800";

/// How a C program is built where the text shows no command.
const COMPILE: &str = "cc program.c -lsmf_loader -o program";

/// How many of each kind.
#[derive(Default)]
struct Counts {
    commands: usize,
    files: usize,
    programs: usize,
    plain: usize,
    not_run: Vec<String>,
    later: usize,
    failed: usize,
}

/// Follows README and guide of `repository`; returns whether all was as shown. `is_quick` leaves out `FULL_ONLY`.
pub(crate) fn follow(repository: &Path, is_quick: bool) -> Result<bool, Error> {
    let texts = texts(repository)?;
    let mut counts = Counts::default();
    let mut all = BTreeSet::new();
    let read = |path: &PathBuf| fs::read_to_string(path).at(path).map(|text| blocks(&text));
    let parsed = texts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let programs = match is_quick {
        true => None,
        false => Some(RustPrograms::build(repository, parsed.iter().flatten())?),
    };
    for (path, blocks) in texts.iter().zip(&parsed) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let before = files(repository)?;
        let mut reader = Reader {
            name,
            repository,
            directory: repository.to_owned(),
            programs: programs.as_ref(),
            counts: &mut counts,
        };
        for block in blocks {
            reader.block(block)?;
        }
        all.extend(reader.counts.not_run.iter().cloned());
        for new in files(repository)?.difference(&before) {
            fs::remove_file(new).at(new)?;
        }
    }
    Ok(summarise(&counts))
}

/// Prints the counts; returns whether nothing failed.
fn summarise(counts: &Counts) -> bool {
    let Counts { commands, files, programs, plain, not_run, later, failed } = counts;
    not_run.iter().for_each(|line| println!("not run: {line}"));
    let marked = not_run.len();
    println!(
        "{commands} commands, {files} files and {programs} programs of README and guide: {failed} \
         failed; {marked} marked as not run, {later} blocks left to the full set, {plain} plain"
    );
    if marked > MAX_NOT_RUN {
        println!("more than {MAX_NOT_RUN} commands are marked as not run");
    }
    *failed == 0 && marked <= MAX_NOT_RUN && *commands != 0
}

/// README.md and the chapters of the guide, by name.
fn texts(repository: &Path) -> Result<Vec<PathBuf>, Error> {
    let guide = repository.join("shell/src/guide");
    let entries = fs::read_dir(&guide).at(&guide)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).at(&guide));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths.insert(0, repository.join("README.md"));
    Ok(paths)
}

/// All files of a directory except those of builds.
fn files(directory: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).at(&directory)? {
            let path = entry.at(&directory)?.path();
            let is_build = path.file_name().is_some_and(|name| name == "target" || name == ".git");
            match path.symlink_metadata().at(&path)?.is_dir() {
                true if !is_build => directories.push(path),
                true => {}
                false => drop(found.insert(path)),
            }
        }
    }
    Ok(found)
}

/// The reader of one text.
struct Reader<'a> {
    name: String,
    repository: &'a Path,
    /// Where the next command runs.
    directory: PathBuf,
    programs: Option<&'a RustPrograms>,
    counts: &'a mut Counts,
}

impl Reader<'_> {
    fn block(&mut self, block: &Block) -> Result<(), Error> {
        let is_later = FULL_ONLY.iter().any(|(name, section)| {
            *name == self.name && section.is_none_or(|section| section == block.section)
        });
        // Without the programs in Rust, this is the quick form.
        if is_later && self.programs.is_none() {
            self.counts.later += 1;
            return Ok(());
        }
        match &block.content {
            Content::Session(steps) => {
                // Each block begins at the top of the repository.
                self.repository.clone_into(&mut self.directory);
                steps.iter().try_for_each(|step| self.step(step))
            }
            Content::File(name, text) => {
                self.counts.files += 1;
                let path = self.repository.join(name);
                fs::write(&path, text).at(&path)
            }
            Content::C(text) => self.c(block.line, text),
            Content::Rust(text) => self.rust(block.line, text),
            Content::Toml(_) => Ok(()),
            Content::Plain => {
                self.counts.plain += 1;
                Ok(())
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Error> {
        let place = format!("{}:{}", self.name, step.line);
        if step.not_run().is_some() {
            self.counts.not_run.push(format!("{place}: {}", step.command));
            return Ok(());
        }
        self.counts.commands += 1;
        let printed = self.shell(&step.command)?;
        let shown: Vec<&str> = step.shown.iter().map(String::as_str).collect();
        self.compare(&place, &step.command, &shown, &printed);
        Ok(())
    }

    /// Runs a command where the last one ended; returns what it prints.
    fn shell(&mut self, command: &str) -> Result<String, Error> {
        let to = std::env::temp_dir().join("newcomer-directory");
        // As typed: a `cd` stays in effect to the end of the block.
        let script =
            format!("exec 2>&1\n{command}\nstatus=$?\npwd >{}\nexit $status", to.display());
        let mut shell = Command::new("timeout");
        shell.args([LIMIT, "sh", "-c", &script]).current_dir(&self.directory);
        let output = shell.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| Error::Program(format!("timeout, sh: {error}")))?;
        let directory = fs::read_to_string(&to).at(&to)?;
        self.directory = PathBuf::from(directory.trim_end());
        let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() == Some(124) {
            printed.push_str(&format!("(stopped after {LIMIT} s)\n"));
        }
        Ok(printed)
    }

    fn compare(&mut self, place: &str, command: &str, shown: &[&str], printed: &str) {
        let lines: Vec<&str> = printed.trim_end_matches('\n').lines().collect();
        if is_shown(shown, &lines) {
            println!("{place}: ok");
        } else {
            self.counts.failed += 1;
            println!("{place}: FAILED\n$ {command}\n{}", lines.join("\n"));
            println!("-- shown:\n{}\n--", shown.join("\n"));
        }
    }

    /// Compiles a program, runs it at the top of the repository, and compares with its comments.
    fn c(&mut self, line: usize, text: &str) -> Result<(), Error> {
        self.counts.programs += 1;
        let place = format!("{}:{line}", self.name);
        let path = self.repository.join("program.c");
        fs::write(&path, text).at(&path)?;
        self.repository.clone_into(&mut self.directory);
        let shown: Vec<&str> = text.lines().filter_map(comment).collect();
        let printed = self.shell(&format!("{COMPILE} && ./program"))?;
        self.compare(&place, COMPILE, &shown, &printed);
        Ok(())
    }

    fn rust(&mut self, line: usize, text: &str) -> Result<(), Error> {
        self.counts.programs += 1;
        let place = format!("{}:{line}", self.name);
        let path = self.programs.and_then(|programs| programs.path(text));
        let path = path.ok_or_else(|| Error::Program(format!("{place}: it was not built")))?;
        self.repository.clone_into(&mut self.directory);
        let run = format!("{} || echo \"exit status $?\"", path.display());
        let printed = self.shell(&run)?;
        self.compare(&place, "the program", &[], &printed);
        Ok(())
    }
}

/// The text of a comment that says what is printed.
fn comment(line: &str) -> Option<&str> {
    line.trim_end().strip_suffix(" */")?.rsplit_once("/* prints ").map(|(_, text)| text)
}

/// The programs in Rust, built at once in a project beside the crates, with the dependencies that the guide shows.
struct RustPrograms {
    texts: Vec<String>,
    built: PathBuf,
}

impl RustPrograms {
    fn build<'b>(
        repository: &Path,
        blocks: impl Iterator<Item = &'b Block>,
    ) -> Result<Self, Error> {
        let (mut texts, mut dependencies) = (Vec::new(), None);
        for block in blocks {
            match &block.content {
                Content::Rust(text) => texts.push(text.clone()),
                Content::Toml(text) => dependencies = Some(text),
                _ => {}
            }
        }
        let dependencies = dependencies
            .ok_or_else(|| Error::Program("no dependencies are shown (```toml)".to_owned()))?;
        let project = repository.join("newcomer-programs");
        let sources = project.join("src/bin");
        fs::create_dir_all(&sources).at(&sources)?;
        let manifest = format!("[package]\nname = \"host\"\nedition = \"2024\"\n\n{dependencies}");
        let write = |path: PathBuf, text: &str| fs::write(&path, text).at(&path);
        write(project.join("Cargo.toml"), &manifest)?;
        for (number, text) in texts.iter().enumerate() {
            write(sources.join(format!("program{number}.rs")), text)?;
        }
        // The versions that are downloaded.
        let lock = repository.join("Cargo.lock");
        fs::copy(&lock, project.join("Cargo.lock")).at(&lock)?;
        let target = repository.join("target/newcomer-host");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--target-dir"]).arg(&target).current_dir(&project);
        let status = cargo.status();
        match status.is_ok_and(|status| status.success()) {
            true => Ok(Self { texts, built: target.join("debug") }),
            false => Err(Error::Program("the programs in Rust do not compile".to_owned())),
        }
    }

    fn path(&self, text: &str) -> Option<PathBuf> {
        let number = self.texts.iter().position(|other| other == text)?;
        Some(self.built.join(format!("program{number}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository of two texts.
    fn repository(name: &str, readme: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("newcomer-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("shell/src/guide")).unwrap();
        fs::write(path.join("README.md"), readme).unwrap();
        fs::write(path.join("shell/src/guide/a.md"), "```console\n$ cat made\ncat: ...\n```\n")
            .unwrap();
        path
    }

    #[test]
    fn output_that_differs_from_the_text_fails() {
        let good = "    $ mkdir d; cd d; echo one\n    one\n    $ pwd; touch ../made\n    .../d\n\n\
                    Then:\n\n    $ ls -d d\n    d\n    $ gdb # not run: needs gdb\n";
        for (name, text, expected) in [
            ("same", good.to_owned(), true),
            ("other", good.replace("    one\n", "    two\n"), false),
            ("empty", "No commands.\n".to_owned(), true),
            ("many", good.to_owned() + &"    $ x # not run: y\n".repeat(MAX_NOT_RUN), false),
        ] {
            let path = repository(name, &text);
            assert_eq!(follow(&path, true).unwrap(), expected, "{name}");
            // Nothing is left for the next text.
            assert!(!path.join("made").exists());
            fs::remove_dir_all(&path).unwrap();
        }
    }
}
