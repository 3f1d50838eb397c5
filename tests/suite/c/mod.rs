//! Compiling C programs against this very build of the library, and running them.

mod calls;
mod folders;
mod layout;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use crate::common::{self, Model};

const STRICT: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1"];
const STRICT_CPP: &[&str] =
    &["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror"];
const C11: &[&str] = &["-std=c11", "-D_XOPEN_SOURCE=700"];
const THREADS: &str = "-fsanitize=thread";
const SANITIZERS: &[&str] = &["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
/// What `rustc --print native-static-libs` says on Linux.
const STATIC_NEEDS: &[&str] = &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];

/// Held while a folder is prepared. Tests share folders, and another may be compiling with what is in one: so what is right already is
/// left alone.
static MAKING: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Shared,
    Static,
    Sanitized,
    Threads,
    Valgrind,
    EveryModel,
    SeveralParts,
    Header,
    HeaderExample,
    TwoShards,
    Generate,
    Devices,
    Device,
    Exits,
    Readme,
    Bindings,
    Cpp,
    Earlier,
}

/// A way to build, with a folder of its own so that tests can run side by side.
pub(crate) struct Setup {
    build: Build,
    pub(crate) folder: PathBuf,
    /// Holds the libraries as they are installed: with the name that programs look for at run time.
    pub(crate) libraries: PathBuf,
}

pub(crate) struct Program {
    name: String,
    pub(crate) path: PathBuf,
}

pub(crate) fn root() -> PathBuf {
    common::root()
}

/// What the header declares, for programs.
pub(crate) fn json() -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("include/ortshard.json")).unwrap()).unwrap()
}

/// Whether the programs are there already, in a folder that `make gpu-suite` made.
pub(crate) fn prebuilt() -> bool {
    std::env::var_os("ORTSHARD_TEST_ROOT").is_some()
}

/// The programs of `c_tests/`, in whichever of its folders.
pub(crate) fn sources() -> impl Iterator<Item = PathBuf> {
    let inside = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    inside(root().join("c_tests")).filter(|path| path.is_dir()).flat_map(inside)
}

/// The file of `c_tests/` of this name.
fn source(name: &str) -> PathBuf {
    sources().find(|path| path.file_name() == Some(OsStr::new(name))).unwrap_or_else(|| panic!("no c_tests/*/{name}"))
}

/// The names of the programs in `c_tests/` that are one file.
pub(crate) fn programs() -> Vec<String> {
    let mut names: Vec<String> = sources()
        .filter(|path| path.extension() == Some(OsStr::new("c")) && path.file_stem() != Some(OsStr::new("two_units")))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 15, "{names:?}");
    names
}

/// The runtime library of `ThreadSanitizer`, if this test was built with it: `make threads` says where it is.
pub(crate) fn thread_sanitizer() -> Option<PathBuf> {
    std::env::var_os("ORTSHARD_THREAD_SANITIZER").map(PathBuf::from)
}

pub(crate) fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The program in the header's introduction.
pub(crate) fn header_example() -> String {
    let header = std::fs::read_to_string(root().join("include/ortshard.h")).unwrap();
    let introduction = header.split("#ifndef ORTSHARD_H").next().unwrap();
    let lines = introduction.lines().skip_while(|line| !line.contains("A COMPLETE PROGRAM"));
    let program: Vec<&str> = lines
        .skip_while(|line| !line.contains("#include"))
        .take_while(|line| !line.contains("With text:"))
        .map(|line| line.strip_prefix(" *").unwrap())
        .collect();
    assert!(program.len() > 20);
    program.join("\n")
}

impl Setup {
    pub(crate) fn new(build: Build) -> Self {
        if prebuilt() {
            let (folder, libraries) = (root().join("scratch"), root().join("lib"));
            std::fs::create_dir_all(&folder).unwrap();
            return Self { build, folder, libraries };
        }
        let _making = MAKING.lock();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c-{build:?}").to_lowercase());
        let libraries = folder.join("lib");
        std::fs::create_dir_all(&libraries).unwrap();
        // Cargo puts the libraries of the crate under test beside the test: made in the same step as what is tested.
        let made = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let shared = if cfg!(target_os = "macos") { "libortshard.dylib" } else { "libortshard.so" };
        for (made_as, named) in [(shared, shared), (shared, "libortshard.so.0"), ("libortshard.a", "libortshard.a")] {
            let (from, to) = (made.join(made_as), libraries.join(named));
            assert!(from.exists(), "{} is missing", from.display());
            if std::fs::read_link(&to).ok().as_ref() != Some(&from) {
                let _ = std::fs::remove_file(&to);
                std::os::unix::fs::symlink(from, to).unwrap();
            }
        }
        let json = json();
        for (name, text) in [("calls.h", calls::of_json(&json)), ("layout.h", layout::of_json(&json))] {
            let file = folder.join(name);
            if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
                std::fs::write(file, text).unwrap();
            }
        }
        Self { build, folder, libraries }
    }

    /// Compiles the program `name` of `c_tests/`, unless that is done.
    pub(crate) fn compile(&self, name: &str) -> Program {
        if prebuilt() {
            return Program { name: name.to_owned(), path: root().join("c").join(name) };
        }
        self.compile_file(name, &source(&format!("{name}.c")))
    }

    /// Compiles the program `name` of `c_tests/` under another name, for a test beside the one that runs them all.
    pub(crate) fn compile_as(&self, name: &str, program: &str) -> Program {
        self.compile_file(program, &source(&format!("{name}.c")))
    }

    pub(crate) fn compile_source(&self, name: &str, source: &str) -> Program {
        let file = self.folder.join(name).with_extension("c");
        std::fs::write(&file, source).unwrap();
        self.compile_file(name, &file)
    }

    /// Compiles examples/`name`.c.
    pub(crate) fn compile_example(&self, name: &str) -> Program {
        self.compile_file(name, &root().join("examples").join(name).with_extension("c"))
    }

    fn compile_file(&self, name: &str, source: &Path) -> Program {
        let path = self.folder.join(name);
        let mut command = compiler();
        command.args(C11).args(STRICT).arg("-I").arg(root().join("include")).arg("-I").arg(root().join("c_tests"));
        command.arg("-I").arg(&self.folder).arg(source).arg("-o").arg(&path);
        if self.build == Build::Sanitized {
            command.args(SANITIZERS);
        }
        if self.build == Build::Threads {
            // Compiled by gcc, linked with the runtime of the compiler that made the library.
            let object = path.with_extension("o");
            command.args([THREADS, "-c"]).arg("-o").arg(&object);
            succeed(&mut command, name);
            command = compiler();
            command.arg(&object).arg("-o").arg(&path);
        }
        self.link(&mut command);
        succeed(&mut command, name);
        Program { name: name.to_owned(), path }
    }

    /// `two_units.c` and `header_cpp.cc` as one program.
    pub(crate) fn compile_two_units(&self) -> Program {
        let (object, path) = (self.folder.join("header_cpp.o"), self.folder.join("two_units"));
        let (checks, include) = (root().join("c_tests"), root().join("include"));
        let mut cpp = Command::new("c++");
        cpp.arg("-std=c++17").args(STRICT).arg("-I").arg(&include).arg("-I").arg(&checks).arg("-c");
        succeed(cpp.arg(source("header_cpp.cc")).arg("-o").arg(&object), "header_cpp");
        let mut c = compiler();
        c.args(C11).args(STRICT).arg("-I").arg(&include).arg("-I").arg(&checks);
        c.arg(source("two_units.c")).arg(&object).arg("-o").arg(&path);
        self.link(&mut c);
        succeed(&mut c, "two_units");
        Program { name: "two_units".to_owned(), path }
    }

    /// Compiles `c_tests/cpp/{name}.cc`, with sanitizers where there are any.
    pub(crate) fn compile_cpp(&self, name: &str, flags: &[&str]) -> Program {
        self.compile_cpp_file(name, &source(&format!("{name}.cc")), flags)
    }

    /// Compiles `examples/{name}.cpp`.
    pub(crate) fn compile_cpp_example(&self, name: &str) -> Program {
        self.compile_cpp_file(name, &root().join("examples").join(name).with_extension("cpp"), &[])
    }

    fn compile_cpp_file(&self, name: &str, source: &Path, flags: &[&str]) -> Program {
        let path = self.folder.join(name);
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-g", "-O1"]).args(STRICT_CPP).args(flags).arg("-I").arg(root().join("include"));
        if self.can_compile() {
            command.args(SANITIZERS);
        }
        self.link(command.arg(source).arg("-o").arg(&path));
        succeed(&mut command, name);
        Program { name: name.to_owned(), path }
    }

    /// Compiles the programs of an earlier version, a folder of `tests/abi`, with its header.
    pub(crate) fn compile_earlier(&self, version: &Path) -> Vec<Program> {
        let (programs, include) = (version.join("programs"), version.join("include"));
        let folder = self.folder.join(version.file_name().unwrap());
        std::fs::create_dir_all(&folder).unwrap();
        let mut sources: Vec<PathBuf> =
            std::fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().path()).collect();
        sources.retain(|path| path.extension() == Some(OsStr::new("c")));
        sources.sort();
        let compile = |source: &PathBuf| {
            let name = source.file_stem().unwrap().to_str().unwrap().to_owned();
            let path = folder.join(&name);
            let mut command = compiler();
            command
                .args(C11)
                .args(STRICT)
                .arg("-DANY_MESSAGE")
                .arg("-I")
                .arg(&include)
                .arg(source)
                .arg("-o")
                .arg(&path);
            self.link(&mut command);
            succeed(&mut command, &name);
            Program { name, path }
        };
        sources.iter().map(compile).collect()
    }

    /// Whether the compiler knows the flags of this build.
    pub(crate) fn can_compile(&self) -> bool {
        let (source, program) = (self.folder.join("probe.c"), self.folder.join("probe"));
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let made = compiler().args(SANITIZERS).arg(&source).arg("-o").arg(&program).output();
        made.is_ok_and(|output| output.status.success()) && Command::new(program).status().is_ok_and(|s| s.success())
    }

    fn link(&self, command: &mut Command) {
        if let Some(runtime) = thread_sanitizer().filter(|_| self.build == Build::Threads) {
            command.arg(self.libraries.join("libortshard.a")).arg("-Wl,--export-dynamic,--whole-archive").arg(runtime);
            command.arg("-Wl,--no-whole-archive").args(STATIC_NEEDS);
        } else if self.build == Build::Static {
            command.arg(self.libraries.join("libortshard.a")).args(STATIC_NEEDS);
        } else {
            let run_time = format!("-Wl,-rpath,{}", self.libraries.display());
            command.arg("-L").arg(&self.libraries).args(["-lortshard", "-lpthread", "-lm", "-ldl", &run_time]);
        }
    }

    /// Runs a test, which must succeed.
    pub(crate) fn run(&self, program: &Program, model: &Model) {
        succeed(&mut self.command(program, model), &format!("{} on {}", program.name, model.name));
    }

    /// What runs a test.
    pub(crate) fn command(&self, program: &Program, model: &Model) -> Command {
        let mut command = if self.build == Build::Valgrind {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
            // Rust's collections keep pointers into blocks, which valgrind calls "possibly lost".
            valgrind.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]).arg(&program.path);
            valgrind
        } else {
            Command::new(&program.path)
        };
        self.settings(&mut command, model);
        command
    }

    /// The shared library, as programs link it.
    pub(crate) fn library(&self) -> PathBuf {
        self.libraries.join(if cfg!(target_os = "macos") { "libortshard.dylib" } else { "libortshard.so" })
    }

    /// A program in another language, with what C tests are told.
    pub(crate) fn with_settings(&self, mut command: Command, model: &Model) -> Command {
        self.settings(&mut command, model);
        command
    }

    /// What `c_tests/check.h` and `model.h` read.
    fn settings(&self, command: &mut Command, model: &Model) {
        let scratch = self.folder.join("files");
        std::fs::create_dir_all(&scratch).unwrap();
        command
            .env("TEST_VERSION", env!("CARGO_PKG_VERSION"))
            .env("TEST_ROOT", root())
            .env("TEST_FOLDER", &scratch)
            .env("TEST_MODEL", &model.path)
            .env("TEST_PROMPT", list(&model.prompt))
            .env("TEST_GREEDY", list(&model.greedy))
            .env("TEST_BROKEN_MODELS", folders::models(&scratch, &model.path))
            .env("TEST_LONG_MODEL", folders::long(&scratch))
            .env("TEST_OTHER_LIBRARY", self.libraries.join("libortshard.so.0"))
            .env("TEST_TOKENIZER", folders::tokenizer(&scratch));
        // What is freed goes back to the system at once, so that memory can be measured.
        command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536");
        // Without it the sanitizer itself ends a program that asks for too much memory.
        command.env("ASAN_OPTIONS", "allocator_may_return_null=1");
        let (text, ids) = folders::sample_text();
        command.env("TEST_TEXT", text).env("TEST_IDS", list(&ids));
    }
}

impl Program {
    /// Runs it with arguments and returns what it prints.
    pub(crate) fn output(&self, arguments: &[&str]) -> String {
        let output = succeed(Command::new(&self.path).args(arguments), &self.name);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Compiles the header as a program of its own.
pub(crate) fn check_header(compiler: &mut Command, flags: &[&str]) {
    let header = root().join("include/ortshard.h");
    succeed(compiler.args(STRICT).args(flags).arg("-fsyntax-only").arg(header), "the header");
}

/// Compiles the C++ header as a program of its own.
pub(crate) fn check_cpp_header(compiler: &mut Command) {
    let header = root().join("include/ortshard.hpp");
    succeed(compiler.args(STRICT_CPP).args(["-fsyntax-only", "-x", "c++"]).arg(header), "the C++ header");
}

pub(crate) fn compiler() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

/// Runs a command to its end; if it fails, so does the test, with all that was printed.
pub(crate) fn succeed(command: &mut Command, what: &str) -> Output {
    let output = common::process::output(command);
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}\n{command:?}",
        output.status,
        shown(&output.stdout),
        shown(&output.stderr)
    );
    output
}

pub(crate) fn list(ids: &[i64]) -> String {
    ids.iter().enumerate().fold(String::new(), |mut text, (index, id)| {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}{id}").unwrap();
        text
    })
}
