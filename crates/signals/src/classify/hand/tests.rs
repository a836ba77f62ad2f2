use super::*;

/// The value of one hand feature.
fn of(name: &str, text: &str) -> f32 {
    features(text)[NAMES.iter().position(|known| *known == name).unwrap()]
}

#[test]
fn an_empty_text_has_only_zeros() {
    assert_eq!(features(""), [0.0; HAND_FEATURES]);
}

#[test]
fn lengths_and_shares_are_those_of_the_table() {
    let long = "x".repeat(50);
    let cases = [
        ("log_chars", "abé", 4f32.ln()),
        ("log_words", "one  two\tthree\n", 4f32.ln()),
        ("word_length", "ab abcd", 3.0),
        ("word_length", long.as_str(), 20.0),
        ("digit_share", "a1b2", 0.5),
        ("upper_share", "AbCd", 0.5),
        ("wide_share", "aé世b", 0.5),
        ("code_share", "f(x)", 0.5),
        ("math_share", "1+2-", 0.5),
        ("quote_share", "\"a`b", 0.5),
        ("log_lines", "a\nb\nc", 3f32.ln()),
        ("log_questions", "a? b?", 3f32.ln()),
        ("log_sentences", "It is 1.5. Really! a.b", 3f32.ln()),
        ("log_numbers", "12 and 3.4", 4f32.ln()),
    ];
    for (name, text, expected) in cases {
        assert!((of(name, text) - expected).abs() < 1e-6, "{name} of {text:?}: {}", of(name, text));
    }
}

#[test]
fn flags_are_those_of_the_table() {
    let cases = [
        ("has_options", "Which?\nA. one\n  (b) two", 1.0),
        ("has_options", "Which?\nA. one\nF. two", 0.0),
        ("has_options", "Apple\nBanana", 0.0),
        ("asks", "  \"What is it", 1.0),
        ("asks", "CAN you", 1.0),
        ("asks", "Canada is", 0.0),
        ("asks", "... what", 0.0),
        ("has_fence", "a ```rust", 1.0),
        ("has_fence", "a `` b", 0.0),
    ];
    for (name, text, expected) in cases {
        assert_eq!(of(name, text), expected, "{name} of {text:?}");
    }
}
