//! Tags: the words by which policies tell requests and targets apart.

use policy::{TAG_FORM, is_tag};

/// Most tags of one request or one target.
pub(crate) const TAGS_MAX: usize = 32;

/// Checks one tag, see [`is_tag`].
///
/// # Errors
/// What a tag is. The word itself is not repeated: it may come from a caller.
pub(crate) fn check(word: &str) -> Result<(), String> {
    if is_tag(word) { Ok(()) } else { Err(TAG_FORM.to_owned()) }
}

/// Sorted and without duplicates, as facts and profiles hold them.
///
/// # Errors
/// When more than [`TAGS_MAX`] are left.
pub(crate) fn ordered(mut tags: Vec<String>) -> Result<Vec<String>, String> {
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > TAGS_MAX {
        Err(format!("{} tags are too many; the limit is {TAGS_MAX}", tags.len()))
    } else {
        Ok(tags)
    }
}
