//! Writing to standard output where a closed one (`tidegate artifacts list | head`) is no error.

/// As `println!`, without its panic.
macro_rules! say {
    ($($arguments:tt)*) => {
        $crate::output::write_line(&format!($($arguments)*))
    };
}

/// Writes a line and flushes it.
pub(crate) fn write_line(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
