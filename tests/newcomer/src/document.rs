//! The blocks of a text: files, sessions of commands with their output, and programs.

/// A command of a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line of the text, from 1.
    pub(crate) line: usize,
    /// What the shell gets; several lines for one that continues behind `> `.
    pub(crate) command: String,
    /// What is shown below it.
    pub(crate) shown: Vec<String>,
}

impl Step {
    /// Why the command is not run, if the text says so.
    pub(crate) fn not_run(&self) -> Option<&str> {
        self.command.split_once("# not run: ").map(|(_, reason)| reason)
    }
}

/// What a block is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file that the text names.
    File(String, String),
    /// Commands.
    Session(Vec<Step>),
    /// A whole program in C.
    C(String),
    /// A program in Rust, or the statements of its `main`.
    Rust(String),
    /// The dependencies of the Rust programs that follow.
    Toml(String),
    /// Text that is neither executed nor written to a file.
    Plain,
}

/// A block of code in a text.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its first line, from 1.
    pub(crate) line: usize,
    /// The heading of its section.
    pub(crate) section: String,
    /// What it is.
    pub(crate) content: Content,
}

/// The blocks of a text, indented by four spaces or between fences.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let (mut section, mut paragraph) = (String::new(), String::new());
    let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, line)).peekable();
    while let Some((number, line)) = lines.next() {
        let is_start = paragraph.is_empty() || paragraph.ends_with('\n');
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            found.push(block(number + 1, &section, &paragraph, language, &body));
            paragraph.clear();
        } else if let Some(first) = line.strip_prefix("    ").filter(|_| is_start) {
            let mut body = vec![first];
            while let Some((_, line)) =
                lines.next_if(|(_, line)| line.is_empty() || line.starts_with("    "))
            {
                body.push(line.strip_prefix("    ").unwrap_or(""));
            }
            while body.last().is_some_and(|line| line.is_empty()) {
                body.pop();
            }
            found.push(block(number, &section, &paragraph, "", &body));
            paragraph.clear();
        } else if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
            paragraph.clear();
        } else if line.is_empty() {
            paragraph.push('\n');
        } else {
            let begin = if paragraph.ends_with('\n') { "" } else { &paragraph };
            paragraph = format!("{begin} {line}");
        }
    }
    found
}

fn block(line: usize, section: &str, before: &str, language: &str, body: &[&str]) -> Block {
    let section = section.to_owned();
    Block { line, section, content: content(line, before, language, body) }
}

fn content(line: usize, before: &str, language: &str, body: &[&str]) -> Content {
    let text = || body.iter().map(|line| format!("{line}\n")).collect::<String>();
    let first = body.first().copied().unwrap_or("");
    let begin = body.iter().position(|line| line.starts_with("$ ")).unwrap_or(body.len());
    if begin == 0 {
        return Content::Session(steps(line, body));
    }
    if let Some(name) = file_name(before, first) {
        return Content::File(name, text());
    }
    match language {
        "c" => Content::C(text()),
        "rust" => Content::Rust(rust(body)),
        "toml" => Content::Toml(text()),
        "" if first.starts_with("use ") => Content::Rust(rust(body)),
        _ => Content::Plain,
    }
}

/// The name of the file that a block is: the paragraph before it ends with the name, or its first line has it.
fn file_name(before: &str, first: &str) -> Option<String> {
    let stated = before.trim_end().strip_suffix("`:").and_then(|text| text.rsplit_once('`'));
    let in_comment = first.strip_prefix("# ").filter(|name| name.ends_with(".spl"));
    let name = stated.map(|(_, name)| name).or(in_comment)?;
    let is_name = !name.contains([' ', '/']) && name.contains('.');
    is_name.then(|| name.to_owned())
}

fn steps(line: usize, body: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (offset, text) in body.iter().enumerate() {
        let line = line + offset;
        if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step { line, command: command.to_owned(), shown: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            match text.strip_prefix("> ").filter(|_| step.shown.is_empty()) {
                Some(more) => step.command = format!("{}\n{more}", step.command),
                None => step.shown.push((*text).to_owned()),
            }
        }
    }
    for step in &mut steps {
        while step.shown.last().is_some_and(String::is_empty) {
            step.shown.pop();
        }
    }
    steps
}

/// A whole program: with the lines that rustdoc hides, and with a `main` if there is none.
fn rust(body: &[&str]) -> String {
    let lines = body.iter().map(|line| match *line {
        "#" => "",
        line => line.strip_prefix("# ").unwrap_or(line),
    });
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    match text.contains("fn main()") {
        true => text,
        false => {
            format!("fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{text}Ok(())\n}}\n")
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_both_forms_are_found_with_their_sections() {
        let text = "\
# Title

Text `a.txt` in a line:

    $ echo 1   # comment
    1

    $ echo 2 # not run: needs echo

## Files

A file, `a.c`:

```c
int x;
```

```console
$ smf eval 'a
> b'
3
```

* an item

```text
# x.spl
f
```
";
        let blocks = blocks(text);
        let sections: Vec<&str> = blocks.iter().map(|block| &*block.section).collect();
        assert_eq!(sections, ["", "Files", "Files", "Files"]);
        assert_eq!([blocks[0].line, blocks[1].line, blocks[2].line], [5, 15, 19]);
        let Content::Session(steps) = &blocks[0].content else { panic!("{blocks:?}") };
        assert_eq!(steps[0].shown, ["1"]);
        assert_eq!((steps[1].line, steps[1].not_run()), (8, Some("needs echo")));
        assert_eq!(blocks[1].content, Content::File("a.c".into(), "int x;\n".into()));
        let Content::Session(steps) = &blocks[2].content else { panic!("{blocks:?}") };
        assert_eq!(steps[0].command, "smf eval 'a\nb'");
        assert_eq!(steps[0].shown, ["3"]);
        assert_eq!(blocks[3].content, Content::File("x.spl".into(), "# x.spl\nf\n".into()));
    }

    #[test]
    fn statements_in_rust_become_a_program() {
        let [statements, program] = ["let x = 1;", "# fn main() {\n# }"]
            .map(|code| blocks(&format!("```rust\n{code}\n```\n")).remove(0).content);
        let Content::Rust(text) = statements else { panic!() };
        assert!(text.starts_with("fn main()") && text.contains("let x = 1;\nOk(())"), "{text}");
        assert_eq!(program, Content::Rust("fn main() {\n}\n".into()));
    }
}
