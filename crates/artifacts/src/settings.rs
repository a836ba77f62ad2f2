//! How a store behaves on this machine: what the gateway's configuration and environment say.
//!
//! Does not read configuration files, and of the environment only what [`Settings::from_env`] names.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::manifest::Platform;

/// Default base address for `hf:` sources.
const HUB_BASE: &str = "https://huggingface.co";
/// Default command for pip: run as `python3 -m pip`.
const PYTHON: &str = "python3";
/// Default limit on making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Default limit on silence within a transfer. There is no limit on the whole of one.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Default pause before a transfer that broke off is taken up again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What a [`crate::Store`] may use of this machine. Start from [`Settings::from_env`] and change fields.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base address of `hf:` sources, for mirrors. Plain HTTP is allowed to this very origin, since
    /// somebody chose it.
    pub hub_base: String,
    /// Command that runs Python, for pip.
    pub python: String,
    /// Parallel compilers of a build; `None` is one per core.
    pub build_jobs: Option<usize>,
    /// Files that the configuration names, by artifact; these come before anything else.
    pub overrides: HashMap<String, PathBuf>,
    /// Where to look for executables (`PATH`); `None` looks nowhere.
    pub search_path: Option<OsString>,
    /// An ONNX Runtime library named from outside (`ORT_DYLIB_PATH`).
    pub ort_dylib_path: Option<PathBuf>,
    /// A C++ compiler named from outside (`CXX`).
    pub cxx: Option<OsString>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest silence within a transfer (pip has limits of its own).
    pub stall_timeout: Duration,
    /// Pause before a broken transfer is taken up again; grows with each fruitless try.
    pub retry_delay: Duration,
    /// The machine to install for.
    pub platform: Platform,
}

impl Settings {
    /// The defaults, with `PATH`, `ORT_DYLIB_PATH` and `CXX` as they are in this process's environment.
    pub fn from_env() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            search_path: set("PATH"),
            ort_dylib_path: set("ORT_DYLIB_PATH").map(PathBuf::from),
            cxx: set("CXX"),
            ..Self::isolated()
        }
    }

    /// The defaults, without anything from the environment: nothing on this machine is found but what
    /// was installed or is named in [`Settings::overrides`].
    pub fn isolated() -> Self {
        Self {
            hub_base: HUB_BASE.to_owned(),
            python: PYTHON.to_owned(),
            build_jobs: None,
            overrides: HashMap::new(),
            search_path: None,
            ort_dylib_path: None,
            cxx: None,
            connect_timeout: CONNECT_TIMEOUT,
            stall_timeout: STALL_TIMEOUT,
            retry_delay: RETRY_DELAY,
            platform: Platform::current(),
        }
    }
}
