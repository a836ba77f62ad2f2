//! Writing to standard output where a closed one (`tidegate artifacts list | head`) is no error.

use std::sync::atomic::{AtomicBool, Ordering};

/// As `println!`, without its panic.
macro_rules! say {
    ($($arguments:tt)*) => {
        $crate::output::write_line(&format!($($arguments)*))
    };
}

/// Whether a line could not be written, as whoever read them has gone.
static IS_UNREAD: AtomicBool = AtomicBool::new(false);

/// Writes a line and flushes it.
pub(crate) fn write_line(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        IS_UNREAD.store(true, Ordering::Relaxed);
    }
}

/// Whether whoever read the output has gone: what goes on for ever has to end then.
pub(crate) fn is_unread() -> bool {
    IS_UNREAD.load(Ordering::Relaxed)
}
