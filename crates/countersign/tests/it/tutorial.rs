//! The tutorial, followed word by word: its commands run and its files are written in a fresh
//! folder, in their order, and what it says is answered is answered.

use crate::server::free_port;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block, with its language and what the paragraph before it ends with.
struct Block {
    language: String,
    before: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| *line != "```");
            let text = text.map(|line| format!("{line}\n")).collect();
            blocks.push(Block { language: language.to_owned(), before: before.clone(), text });
        } else if !line.is_empty() {
            line.clone_into(&mut before);
        }
    }
    blocks
}

/// What a reader types, as one script. What a block says goes to a file of its own.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -eu\nout=\"$PWD\"\n".to_owned();
    for (number, Block { language, before, text }) in blocks.iter().enumerate() {
        match language.as_str() {
            "yaml" => {
                let file = before.strip_suffix("`:").and_then(|text| text.rsplit('`').next());
                let file = file.unwrap_or_else(|| panic!("no file is named before: {text}"));
                writeln!(script, "cat > {file} <<'FILE'\n{text}FILE").unwrap();
            }
            // It goes on: the next commands are those of the second terminal.
            "sh" if text == "countersign serve\n" => {
                script.push_str("mkfifo said\ncountersign serve 2> said & server=$!\n");
                script.push_str(
                    "trap 'kill $server' EXIT\nexec 9< said\ngrep -q -m 1 'serves MCP' <&9\n",
                );
            }
            "sh" => writeln!(script, "{{\n{text}}} > \"$out/{number}\" 2>&1").unwrap(),
            "sh fails" => {
                writeln!(script, "if {{\n{text}}} > \"$out/{number}\" 2>&1; then exit 9; fi")
                    .unwrap();
            }
            "text" => {}
            other => panic!("a block of `{other}`"),
        }
    }
    script
}

/// Whether a line says what was expected, where `…` stands for anything.
fn says(line: &str, expected: &str) -> bool {
    let Some((first, parts)) = expected.split_once('…') else { return line == expected };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in parts.split('…') {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.is_empty() || expected.ends_with('…')
}

#[test]
fn whoever_follows_the_tutorial_literally_sees_what_it_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/tutorial.md")).unwrap();
    // The one thing that differs: other tests run beside this one.
    let free = free_port();
    let page = page.replace("127.0.0.1:8787", &format!("127.0.0.1:{free}"));
    let page = page
        .replace("countersign token", &format!("countersign token --url http://127.0.0.1:{free}"));
    let blocks = blocks(&page);
    let dir = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the program is put where a shell finds it")]
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    let ran = shell.args(["-c", &script(&blocks)]).env("PATH", path).current_dir(dir.path());
    let ran = ran.output().unwrap();
    let said = |number: usize| {
        std::fs::read_to_string(dir.path().join(number.to_string())).unwrap_or_default()
    };
    let everything: Vec<_> = (0..blocks.len()).map(said).collect();
    assert!(ran.status.success(), "{ran:?}\n{}", everything.join("\n"));
    let mut compared = 0;
    for (number, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "text") {
        let said = said(number - 1);
        let mut lines = said.lines();
        for expected in block.text.lines() {
            let found = lines.any(|line| says(line, expected));
            assert!(found, "`{expected}` is not said, or not there:\n{said}");
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared}");
}
