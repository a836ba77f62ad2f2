//! The option and the number that an answer names.

/// How far behind the word "answer" its letter may stand, in characters.
const ANSWER_WINDOW_CHARS: usize = 40;
/// What may stand around an option's letter at the beginning of a line.
const OPENING: [char; 6] = ['*', '(', '[', '"', '\'', '`'];

/// The option that a text chooses, as a capital letter: the last one named after "answer" or in `\boxed{}`; else the one
/// that it begins with, unless it lists several; else the only one it marks as in `(B)`; else the only capital letter that
/// stands alone and is no word (A, I). `None` where it chooses none.
pub(super) fn choice(text: &str) -> Option<char> {
    let chars: Vec<char> = text.chars().collect();
    if let [letter] = chars.as_slice() {
        return letter.is_ascii_alphabetic().then(|| letter.to_ascii_uppercase());
    }
    let letters = letters(&chars);
    let marks = letters.iter().any(|letter| letter.is_marked);
    let counts = |letter: &&Letter| match marks {
        true => letter.is_marked,
        false => letter.is_capital && !matches!(letter.name, 'A' | 'I'),
    };
    said(&chars, &letters)
        .or_else(|| begun_with(text))
        .or_else(|| only(letters.iter().filter(counts).map(|letter| letter.name)))
}

/// A letter that stands alone.
struct Letter {
    at: usize,
    name: char,
    is_capital: bool,
    /// In brackets, or with a closing one.
    is_marked: bool,
    /// Followed by a word in small letters, as an article is.
    is_article: bool,
}

fn letters(chars: &[char]) -> Vec<Letter> {
    let is_word = |at: Option<usize>| {
        at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}' | '_'))
    };
    let alone = |(at, c): (usize, &char)| {
        let before = at.checked_sub(1);
        if !c.is_ascii_alphabetic() || is_word(before) || is_word(Some(at + 1)) {
            return None;
        }
        let (is_capital, next) = (c.is_ascii_uppercase(), chars.get(at + 1));
        let opened = before.and_then(|at| chars.get(at)).is_some_and(|c| matches!(c, '(' | '[' | '{'));
        let is_marked = matches!(next, Some(')' | ']' | '}')) && (opened || is_capital);
        let follower = chars.get(at + 2).is_some_and(|c| c.is_lowercase());
        let is_article = next == Some(&' ') && follower && matches!(c, 'A' | 'I');
        (is_capital || is_marked).then(|| Letter {
            at,
            name: c.to_ascii_uppercase(),
            is_capital,
            is_marked,
            is_article,
        })
    };
    chars.iter().enumerate().filter_map(alone).collect()
}

/// The letter after the last "answer" or "boxed" that is followed by one.
fn said(chars: &[char], letters: &[Letter]) -> Option<char> {
    let lower: Vec<char> = chars.iter().map(char::to_ascii_lowercase).collect();
    ["answer", "boxed"]
        .into_iter()
        .flat_map(|word| {
            let word: Vec<char> = word.chars().collect();
            let ends = lower.windows(word.len()).enumerate().filter(|(_, window)| *window == word);
            ends.map(|(at, _)| at + word.len()).collect::<Vec<_>>()
        })
        .filter_map(|end| {
            let mut near = letters.iter().filter(|letter| letter.at >= end && letter.at < end + ANSWER_WINDOW_CHARS);
            near.find(|letter| !letter.is_article).map(|letter| (end, letter.name))
        })
        .max_by_key(|(end, _)| *end)
        .map(|(_, name)| name)
}

/// The letter that the first line begins with, when no other line begins with another.
fn begun_with(text: &str) -> Option<char> {
    let first = text.lines().map(line_mark).next().flatten()?;
    let all = text.lines().filter_map(line_mark);
    only(all).filter(|letter| *letter == first)
}

/// The letter of a line such as `B`, `(b) text`, `**B.** text` or `B: text`.
fn line_mark(line: &str) -> Option<char> {
    let inner = line.trim().trim_start_matches(OPENING);
    let mut chars = inner.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?;
    let opened = inner.len() < line.trim().len();
    let ends = match chars.next() {
        None => opened || letter.is_ascii_uppercase(),
        Some(')' | ']' | '.' | ':' | '*') => opened || letter.is_ascii_uppercase(),
        Some('"' | '\'' | '`') => opened,
        Some(',' | ' ' | '\n') => letter.is_ascii_uppercase() && !matches!(letter, 'A' | 'I'),
        Some(_) => false,
    };
    ends.then(|| letter.to_ascii_uppercase())
}

fn only(mut letters: impl Iterator<Item = char>) -> Option<char> {
    let first = letters.next()?;
    letters.all(|letter| letter == first).then_some(first)
}

/// The last number of a text: `1,234.5`, `-3`, `1e-4`. A point or comma that ends a sentence is no part of it.
pub(super) fn last_number(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let (mut at, mut last) = (0, None);
    while at < bytes.len() {
        if digits(at) == 0 {
            at += 1;
            continue;
        }
        let mut end = at + digits(at);
        while bytes.get(end) == Some(&b',') && digits(end + 1) == 3 {
            end += 4;
        }
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let power = digits(end + 1 + sign);
            if power > 0 {
                end += 1 + sign + power;
            }
        }
        let number = text.get(at..end).and_then(|number| number.replace(',', "").parse::<f64>().ok());
        last = number.map(|number| if is_negative(text, at) { -number } else { number }).or(last);
        at = end;
    }
    last
}

/// Whether a minus stands before the number at `at` that takes nothing away from what comes before it.
fn is_negative(text: &str, at: usize) -> bool {
    let mut before = text.get(..at).unwrap_or_default().chars().rev().skip_while(|c| *c == '$');
    let minus = matches!(before.next(), Some('-' | '\u{2212}'));
    minus && !before.next().is_some_and(|c| c.is_alphanumeric() || c == ')')
}
