//! How random a value looks.

/// Shannon entropy of the bytes, in bits each. Of at most 255 bytes.
pub(super) fn bits(value: &[u8]) -> f32 {
    let mut counts = [0u16; 256];
    for byte in value {
        counts[usize::from(*byte)] = counts[usize::from(*byte)].saturating_add(1);
    }
    let total = value.len() as f32;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f32::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

/// Whether the value looks drawn at random: letters and digits mixed, few repetitions, no words.
pub(super) fn is_random(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    if digits == 0 || letters == 0 || value.len() < 16 || is_name(value) {
        return false;
    }
    let hex = value.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    // Random values of n characters have nearly log2 of n bits; names and sentences repeat letters.
    let wanted = if hex { 2.8 } else { (value.len() as f32).log2().min(4.8) * 0.78 };
    bits(value) >= wanted && switches(value) * 100 >= value.len() * if hex { 15 } else { 18 }
}

/// Whether the value is words with dashes or underscores between: `my-k8s-secret-name`.
fn is_name(value: &[u8]) -> bool {
    let mut parts = 0;
    let mut words = 0;
    for part in value.split(|byte| matches!(byte, b'-' | b'_' | b'.' | b'/')) {
        parts += 1;
        words += usize::from(part.len() >= 2 && part.iter().all(u8::is_ascii_lowercase));
    }
    parts >= 3 && 2 * words > parts
}

/// How often a digit, a capital, a small letter and another character follow one of another class.
fn switches(value: &[u8]) -> usize {
    let class = |byte: &u8| match byte {
        b'0'..=b'9' => 0,
        b'A'..=b'Z' => 1,
        b'a'..=b'z' => 2,
        _ => 3,
    };
    value.windows(2).filter(|pair| matches!(pair, [left, right] if class(left) != class(right))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_and_written() {
        for value in
            ["9f86d081884c7d659a2feaa0c55ad015", "kJ8s0Pq2mWz7xR4tLb9V", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzq3TmPx8f"]
        {
            assert!(is_random(value.as_bytes()), "{value}");
        }
        for value in [
            "my_secret_access_token_2",
            "my-k8s-secret-name",
            "thisisaverylongpassword1",
            "AAAAAAAAAAAAAAAAAAA1",
            "short1",
            "onlylettersinthisvalue",
        ] {
            assert!(!is_random(value.as_bytes()), "{value}");
        }
        assert!((bits(b"aabb") - 1.0).abs() < 1e-6);
    }
}
