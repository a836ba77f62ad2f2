//! Which of our environment variables a child may see: an allow-list, so that no cloud key reaches it and no
//! `LLAMA_ARG_*` changes its flags.

use std::ffi::{OsStr, OsString};

/// Variables passed on: where programs, libraries, homes and temporary files are, and the language.
const NAMES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
];

/// Families passed on: locale, GPU runtimes and their devices, thread libraries.
const PREFIXES: &[&str] = &[
    "LC_",
    "GGML_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "HSA_",
    "ROCR_",
    "ROCM_",
    "AMD_",
    "SYCL_",
    "ONEAPI_",
    "ZE_",
    "VK_",
    "MTL_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "OPENBLAS_",
    "MKL_",
];

/// What the name of a secret ends with; such a variable stays here even in an allowed family.
const SECRET_SUFFIXES: &[&str] = &["_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_CREDENTIALS"];

/// Those of the given variables that a child may see.
pub(crate) fn allowed(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    variables.filter(|(name, _)| is_allowed(name))
}

fn is_allowed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let listed = NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    listed && !SECRET_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_the_list_and_nothing_else() {
        for (name, expected) in [
            ("PATH", true),
            ("LC_ALL", true),
            ("CUDA_VISIBLE_DEVICES", true),
            ("OMP_NUM_THREADS", true),
            ("OPENAI_API_KEY", false),
            ("ANTHROPIC_API_KEY", false),
            ("NVIDIA_API_KEY", false),
            ("LLAMA_ARG_HOST", false),
            ("LLAMA_SERVER_SLOTS_DEBUG", false),
            ("AIP_HTTP_PORT", false),
            ("HF_TOKEN", false),
            ("PATHS", false),
            ("LD_PRELOAD", false),
        ] {
            assert_eq!(is_allowed(OsStr::new(name)), expected, "{name}");
        }
    }
}
