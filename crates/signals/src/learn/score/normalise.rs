//! Texts as lists of words that can be compared.

use std::collections::HashMap;

const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// How far a text is brought down to its words: as far as something of the right answer is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lower case, without punctuation and articles.
    Words,
    /// Lower case, without punctuation: the right answer is an article, such as the option `A`.
    Articles,
    /// As it stands, but for white space: the right answer is punctuation.
    AsIs,
}

impl Form {
    /// The form for a right answer, and its words.
    pub(super) fn of(gold: &str) -> (Self, Vec<String>) {
        let forms = [Self::Words, Self::Articles];
        let found = forms.into_iter().map(|form| (form, form.words(gold))).find(|(_, words)| !words.is_empty());
        found.unwrap_or_else(|| (Self::AsIs, Self::AsIs.words(gold)))
    }

    /// The words of a text in this form.
    pub(super) fn words(self, text: &str) -> Vec<String> {
        if self == Self::AsIs {
            return text.split_whitespace().map(str::to_owned).collect();
        }
        let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
        let keep = |word: &&str| self == Self::Articles || !ARTICLES.contains(word);
        plain.split_whitespace().filter(keep).map(str::to_owned).collect()
    }
}

/// Whether the words of `gold` stand in `words`, one after the other.
pub(super) fn is_among(gold: &[String], words: &[String]) -> bool {
    !gold.is_empty() && words.windows(gold.len()).any(|window| window == gold)
}

/// F1 of the words in common, each as often as it stands in both.
pub(super) fn f1(gold: &[String], words: &[String]) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in gold {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0.0;
    for word in words {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1.0;
        }
    }
    if common == 0.0 { 0.0 } else { 2.0 * common / (gold.len() + words.len()) as f64 }
}
