//! The C program in the README compiles and starts by the commands that stand under it, from the repository and installed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::c::{self, Build, Setup};
use crate::common;

const REPOSITORY: &str = "target/release";
const INSTALLED: &str = "$HOME/.local";

fn link(from: impl AsRef<Path>, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(from, to).unwrap();
}

#[test]
fn the_program_tells_a_story() {
    let setup = Setup::new(Build::Readme);
    let readme = std::fs::read_to_string(common::root().join("README.md")).unwrap();
    let program = readme.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(program.lines().count() <= 15, "{program}");
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    cc hello.c ")).collect();
    let [repository, installed] = commands[..] else { panic!("{commands:?}") };
    assert!(repository.contains(REPOSITORY) && installed.contains(INSTALLED), "{commands:?}");

    // A repository and a home in which the libraries of this very build lie where the commands look for them.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hello.c"), program).unwrap();
    for name in ["include", "models"] {
        link(common::root().join(name), &folder.path().join(name));
    }
    link(&setup.libraries, &folder.path().join(REPOSITORY));
    let home = folder.path().join("home");
    link(common::root().join("include"), &home.join(".local/include"));
    link(&setup.libraries, &home.join(".local/lib"));

    for arguments in [repository, installed] {
        let mut line = String::from("exec 2>&1; \"$CC\" -std=c11 -Wall -Wextra -Wpedantic -Werror hello.c ");
        write!(line, "{arguments}").unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(&folder).env("HOME", &home).env("CC", c::compiler().get_program());
        let said = c::succeed(&mut shell, "the program of README.md").stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("Once upon a time, ") && said.len() > 150, "{said}");
    }
}
