//! What the end of a child probably means, from its status and its last lines. Words only: starts and stops nothing.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A guess at the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// For the person who must act.
    pub(crate) hint: Option<&'static str>,
    /// Whether another start would end the same way.
    pub(crate) permanent: bool,
}

/// A cause: the words of `llama-server` (lower case) that give it away.
struct Cause {
    words: &'static [&'static str],
    hint: &'static str,
    permanent: bool,
}

/// Tried in order; out of memory comes first, because "failed to load model" follows it too.
const CAUSES: &[Cause] = &[
    Cause { words: MEMORY, hint: TOO_LITTLE_MEMORY, permanent: false },
    Cause {
        words: &["invalid argument:", "unknown argument", "error while handling argument"],
        hint: "it does not know one of its flags: see extra_args and the version of llama-server",
        permanent: true,
    },
    Cause {
        words: &["error while loading shared libraries", "cannot open shared object file"],
        hint: "a shared library that it needs is missing on this machine",
        permanent: true,
    },
    Cause {
        words: &["unknown model architecture", "unknown (magic, version)", "unsupported gguf"],
        hint: "this llama-server is too old for the model file",
        permanent: true,
    },
    Cause {
        words: &[
            "gguf_init_from",
            "invalid magic",
            "bad magic",
            "not within the file bounds",
            "failed to read key-value pairs",
            "failed to load model",
        ],
        hint: "the model file is not a GGUF file, or is damaged or incomplete: download it again",
        permanent: true,
    },
    Cause {
        words: &["couldn't bind"],
        hint: "it cannot listen where it was told to: the port is taken or the folder is gone",
        permanent: false,
    },
];

const MEMORY: &[&str] = &[
    "out of memory",
    "cannot allocate memory",
    "failed to allocate",
    "unable to allocate",
    "bad_alloc",
    "outofdevicememory",
    "outofhostmemory",
    "cudamalloc failed",
    "failed to create context with model",
    "failed to create_context",
];

const TOO_LITTLE_MEMORY: &str = "too little memory: choose a smaller model, fewer slots, or fewer context_tokens";

const KILLED: &str = "it was killed, perhaps by the kernel for too little memory: choose a smaller model, fewer slots, or fewer \
     context_tokens";

const SIGKILL: i32 = 9;

/// Looks for the cause of an end.
pub(crate) fn diagnose(status: ExitStatus, last_lines: &[String]) -> Diagnosis {
    let text = last_lines.join("\n").to_lowercase();
    if let Some(cause) = CAUSES.iter().find(|cause| cause.words.iter().any(|words| text.contains(words))) {
        return Diagnosis { hint: Some(cause.hint), permanent: cause.permanent };
    }
    let hint = (status.signal() == Some(SIGKILL)).then_some(KILLED);
    Diagnosis { hint, permanent: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw_status: i32, line: &str, expected_words: Option<&str>, permanent: bool) {
        let found = diagnose(ExitStatus::from_raw(raw_status), &[line.to_owned()]);
        assert_eq!(found.permanent, permanent, "{line}");
        match expected_words {
            Some(words) => assert!(found.hint.is_some_and(|hint| hint.contains(words)), "{line}: {found:?}"),
            None => assert_eq!(found.hint, None, "{line}"),
        }
    }

    #[test]
    fn names_the_cause() {
        check(0x100, "E gguf_init_from_reader: failed to read magic", Some("not a GGUF"), true);
        check(
            0x100,
            "E llama_model_load: error loading model: tensor 'x' data is not within the file bounds",
            Some("damaged"),
            true,
        );
        check(0x100, "error loading model: unknown model architecture: 'qwen9'", Some("too old"), true);
        check(
            0x100,
            "E ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory",
            Some("memory"),
            false,
        );
        check(0x100, "failed to load model: unable to allocate CPU buffer", Some("memory"), false);
        check(0x100, "error: invalid argument: --nonsense", Some("flags"), true);
        check(0x7f00, "error while loading shared libraries: libgomp.so.1", Some("shared library"), true);
        check(0x100, "E srv start: couldn't bind HTTP server socket", Some("listen"), false);
        check(9, "I srv load_model: loading model", Some("killed"), false);
        check(11, "I srv load_model: loading model", None, false);
    }
}
