//! Which lines of `llama-server` are harmless, and which matter while it starts. Tables and a matcher; keeps nothing.

/// How much a line of a starting child matters to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Importance {
    /// A warning or an error.
    Problem,
    /// A step of the start.
    Milestone,
    /// Anything else.
    Chatter,
}

/// Lines with nothing of a request in them, once every number is written `#`, blanks are single, and the timestamp and
/// level are gone. Compared whole: a prompt that holds such a prefix does not get through. From b10359.
const HARMLESS: &[&str] = &[
    // The last lines of a start, which the child may write just after its first healthy answer.
    "srv llama_server: model loaded",
    "slot get_availabl: id # | task # | selected slot by LRU, t_last = #",
    "slot get_availabl: id # | task # | selected slot by LCP similarity, f_sim_best = # (> # thold), f_keep = #",
    "slot get_availabl: id # | task # | selected slot by id (#)",
    "slot launch_slot_: id # | task # | processing task, is_child = #",
    "slot print_timing: id # | task # | prompt eval time = # ms / # tokens ( # ms per token, # tokens per second)",
    "slot print_timing: id # | task # | eval time = # ms / # tokens ( # ms per token, # tokens per second)",
    "slot print_timing: id # | task # | total time = # ms / # tokens",
    "slot print_timing: id # | task # | graphs reused = #",
    "slot print_timing: id # | task # | n_gen = #, tg = # t/s, tg_#s = # t/s",
    "slot print_timing: id # | task # | prompt processing, n_tokens = #, progress = #, t = # s / # tokens per second",
    "slot release: id # | task # | stop processing: n_tokens = #, truncated = #",
    "slot operator(): id # | task # | need to evaluate at least # token for each active slot (n_past = #, task.n_tokens() = #)",
    "slot operator(): id # | task # | n_past was set to #",
    "slot operator(): id # | task # | empty prompt - releasing slot",
    "srv stop: cancel task, id_task = #",
    "srv send_error: task id = #, error: request (# tokens) exceeds the available context size (# tokens), try increasing it",
    "srv process_sing: failed to launch slot with task, id_task = #",
    "srv operator(): no tokens to decode",
    "srv operator(): operator(): cleaning up before exit...",
    "srv llama_server: terminating due to signal",
    "Received second interrupt, terminating immediately.",
];

/// Words of a start that are told to an operator.
const MILESTONES: &[&str] = &["loading model", "model loaded", "listening on", "n_ctx_slot"];

/// Warnings of every start that do not concern a worker: its socket is private.
const NOT_A_PROBLEM: &[&str] =
    &["llama_server: ----", "CORS is set", "cross-origin attacks", "more info: https://github.com/ggml-org/llama.cpp"];

/// Whether the whole line is known to hold nothing but numbers and fixed words.
pub(crate) fn is_harmless(line: &str) -> bool {
    let shape = shape_of(line);
    HARMLESS.contains(&shape.as_str())
}

/// How much a line of a start matters.
pub(crate) fn importance(line: &str) -> Importance {
    let (level, text) = split_level(line);
    if matches!(level, Some("E" | "W")) || text.starts_with("error") {
        let is_known = NOT_A_PROBLEM.iter().any(|words| text.contains(words));
        return if is_known { Importance::Chatter } else { Importance::Problem };
    }
    let is_milestone = MILESTONES.iter().any(|words| text.contains(words));
    if is_milestone { Importance::Milestone } else { Importance::Chatter }
}

/// `0.06.664.377 I slot ...` without the timestamp, and its level.
fn split_level(line: &str) -> (Option<&str>, &str) {
    let is_timestamp = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (level, rest) = match is_timestamp(first) {
        true => rest.split_once(' ').unwrap_or((rest, "")),
        false => (first, rest),
    };
    match level {
        "I" | "W" | "E" | "D" | "T" => (Some(level), rest),
        _ => (None, line),
    }
}

/// The line with single blanks and every number as `#`.
fn shape_of(line: &str) -> String {
    let (_, text) = split_level(line);
    let mut shape = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let number = number_bytes(rest);
        if number > 0 && !shape.ends_with('#') {
            shape.push('#');
            rest = &rest[number..];
            continue;
        }
        rest = &rest[first.len_utf8()..];
        if first.is_whitespace() {
            if !shape.is_empty() && !shape.ends_with(' ') {
                shape.push(' ');
            }
        } else {
            shape.push(first);
        }
    }
    shape.truncate(shape.trim_end().len());
    shape
}

/// Longest number that counts as one, in bytes.
const NUMBER_BYTES_MAX: usize = 24;

/// Length of the number that the text begins with: sign, digits, fraction; `inf` and `nan` count. 0 for none.
fn number_bytes(text: &str) -> usize {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let sign = text.len() - unsigned.len();
    if unsigned.starts_with("inf ") || unsigned.starts_with("nan ") {
        return sign + 3;
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    let fraction = match unsigned[whole..].strip_prefix('.').map(digits) {
        Some(length) if length > 0 => length + 1,
        _ => 0,
    };
    if whole == 0 || whole + fraction > NUMBER_BYTES_MAX { 0 } else { sign + whole + fraction }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_shapes_are_harmless() {
        for line in [
            "0.06.338.884 I slot get_availabl: id  1 | task -1 | selected slot by LRU, t_last = -1",
            "0.06.664.377 I slot print_timing: id  1 | task 0 | prompt eval time =     267.65 ms /    37 tokens (    7.23 ms per token,   138.24 tokens per second)",
            "0.06.664.377 I slot print_timing: id  1 | task 0 |        eval time =       0.00 ms /     1 tokens (    0.00 ms per token,      inf tokens per second)",
            "0.06.664.498 I slot      release: id  1 | task 0 | stop processing: n_tokens = 41, truncated = 0",
            "0.06.827.062 W srv          stop: cancel task, id_task = 15",
        ] {
            assert!(is_harmless(line), "{line}: {}", shape_of(line));
        }
    }

    #[test]
    fn text_of_a_request_is_not() {
        for line in [
            "root ::= SECRET [",
            "parse: error parsing grammar: unexpected end of input",
            "0.06.676.229 W srv    operator(): got exception: {\"error\":{\"code\":500,\"message\":\"SECRET\"}}",
            "0.06.827.062 W srv          stop: cancel task, id_task = 15 SECRET",
            "0.06.827.062 W srv          stop: cancel task, id_task = SECRET",
            "0.06.827.062 I slot release: id  1 | task 0 | stop processing: n_tokens = 4111111111111111111111111, truncated = 0",
            "",
            "42",
        ] {
            assert!(!is_harmless(line), "{line}");
        }
    }

    #[test]
    fn warnings_and_milestones_of_a_start_matter() {
        for (line, expected) in [
            ("0.00.016.874 E llama_model_load_from_file_impl: failed to load model", Importance::Problem),
            ("error: invalid argument: --nonsense", Importance::Problem),
            ("0.00.005.672 W srv  llama_server: CORS is set to allow all origins ('*')", Importance::Chatter),
            ("0.00.547.892 I srv  llama_server: listening on unix:///tmp/a.sock", Importance::Milestone),
            ("0.00.444.247 I cmn          init: llama threadpool init, n_threads = 2", Importance::Chatter),
        ] {
            assert_eq!(importance(line), expected, "{line}");
        }
    }
}
