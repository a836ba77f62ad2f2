//! A value that never shows itself.

use std::fmt;

/// A secret read from the environment or a file. `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes the value, without the white space around it (files end in newlines).
    #[must_use]
    pub(crate) fn new(value: &str) -> Self {
        Self(value.trim().to_owned())
    }

    /// The value itself, for the header that carries it and nothing else.
    #[must_use]
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
