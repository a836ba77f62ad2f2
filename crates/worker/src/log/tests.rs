//! What of a child's output is kept.

use std::io::Write;

use super::output::LINE_BYTES_MAX;
use super::*;

fn read(before_ready: &str, after_ready: &str) -> (Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = Arc::new(LogFile::new(folder.path(), "w", 1_000_000));
    let log = ChildLog::new("w".to_owned(), file);
    let (output, mut input) = std::io::pipe().unwrap();
    log.attach(output);
    // All of it is written before anything is read: what counts is when it was written.
    input.write_all(before_ready.as_bytes()).unwrap();
    log.serving_begins();
    input.write_all(after_ready.as_bytes()).unwrap();
    drop(input);
    log.read();
    (log.tail(), std::fs::read_to_string(folder.path().join("w.log")).unwrap_or_default())
}

#[test]
fn everything_is_kept_before_ready() {
    let (tail, file) = read("0.0 I srv load_model: loading\nE anything\n", "");
    assert_eq!(tail, ["0.0 I srv load_model: loading", "E anything"]);
    assert_eq!(file, "0.0 I srv load_model: loading\nE anything\n");
}

#[test]
fn only_harmless_lines_are_kept_after_ready() {
    let released = "0.06.813.205 I slot      release: id  1 | task 6 | stop processing: n_tokens = 44, truncated = 0";
    let (tail, file) = read("up\n", &format!("SECRET\nroot ::= SECRET\n{released}\nSECRET"));
    assert_eq!(tail, ["up", released]);
    assert!(!file.contains("SECRET"), "{file}");
    assert!(file.contains("2 lines withheld") && file.contains("1 lines withheld"), "{file}");
}

#[test]
fn the_tail_is_short() {
    let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
    let (tail, _) = read(&lines, "");
    assert_eq!(tail.len(), TAIL_LINES_MAX);
    assert_eq!(tail.last().unwrap(), "line 99");
}

#[test]
fn long_lines_are_cut_and_controls_replaced() {
    let (tail, _) = read(&format!("{}\nnext \u{1b}[31mred\r\nlast", "x".repeat(LINE_BYTES_MAX + 5)), "");
    assert_eq!(tail[0].len(), LINE_BYTES_MAX + " [cut]".len());
    assert!(tail[0].ends_with("x [cut]"));
    assert_eq!(tail[1..], ["next  [31mred", "last"]);
}

#[test]
fn a_line_that_was_begun_before_ready_and_ended_later_is_private() {
    let (tail, _) = read("up\nroot ::= ", "SECRET\n");
    assert_eq!(tail, ["up"]);
}

#[test]
fn text_at_the_limit_is_whole() {
    let (tail, _) = read(&format!("{}\nnext\n", "x".repeat(LINE_BYTES_MAX)), "");
    assert_eq!((tail[0].len(), tail[1].as_str()), (LINE_BYTES_MAX, "next"));
}
