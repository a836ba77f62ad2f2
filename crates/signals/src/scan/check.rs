//! Check digits and letters of published numbers. All functions take digits as values from 0 to 9.

pub(crate) mod coin;

/// Luhn's checksum, of payment cards.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match u32::from(*digit) {
            digit if index % 2 == 0 => digit,
            digit if digit > 4 => 2 * digit - 9,
            digit => 2 * digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 7064 mod 97-10 over letters and digits in ASCII, of IBANs: the first four characters count last.
pub(crate) fn iban(characters: &[u8]) -> bool {
    let Some((head, tail)) = characters.split_at_checked(4) else { return false };
    let mut rest = 0;
    for character in tail.iter().chain(head) {
        let value = match character {
            b'0'..=b'9' => u32::from(character - b'0'),
            b'A'..=b'Z' => u32::from(character - b'A') + 10,
            b'a'..=b'z' => u32::from(character - b'a') + 10,
            _ => return false,
        };
        rest = (if value > 9 { rest * 100 } else { rest * 10 } + value) % 97;
    }
    rest == 1
}

/// Verhoeff's checksum, of Aadhaar numbers.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    const SHIFTED: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let mut check = 0;
    for (index, digit) in digits.iter().rev().enumerate() {
        let permuted = (0..index % 8).fold(*digit, |digit, _| SHIFTED.get(usize::from(digit)).copied().unwrap_or(0));
        check = dihedral(check, permuted);
    }
    check == 0
}

/// The product in the dihedral group of order ten.
fn dihedral(left: u8, right: u8) -> u8 {
    match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => (left + right - 5) % 5 + 5,
        (false, true) => (left - 5 + 5 - right) % 5 + 5,
        (false, false) => (left + 5 - right) % 5,
    }
}

fn weighted(digits: &[u8], weights: impl IntoIterator<Item = u32>) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// The ten digits of the British National Health Service, mod 11.
pub(crate) fn nhs(digits: &[u8]) -> bool {
    let [head @ .., check] = digits else { return false };
    let expected = (11 - weighted(head, (2..=10).rev()) % 11) % 11;
    digits.len() == 10 && u32::from(*check) == expected
}

/// The key of a French NIR: 97 less the number mod 97. Corsica's departments count as 19 and 18.
pub(crate) fn nir(number: u64, key: u64) -> bool {
    97 - number % 97 == key
}

/// The German tax identification number: ISO 7064 mod 11,10; among the first ten digits exactly one stands twice or
/// three times.
pub(crate) fn steuer_id(digits: &[u8]) -> bool {
    let ([first, ..], [head @ .., check]) = (digits, digits) else { return false };
    if digits.len() != 11 || *first == 0 {
        return false;
    }
    let mut counts = [0u8; 10];
    for digit in head {
        if let Some(count) = counts.get_mut(usize::from(*digit)) {
            *count += 1;
        }
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    if repeated != 1 || counts.iter().any(|count| *count > 3) {
        return false;
    }
    let product = head.iter().fold(10u32, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// The letter of a Spanish DNI, mod 23.
pub(crate) fn dni_letter(number: u64) -> u8 {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    usize::try_from(number % 23).ok().and_then(|index| LETTERS.get(index)).copied().unwrap_or(b'?')
}

/// The check letter of an Italian fiscal code of 16 capitals and digits.
pub(crate) fn codice_fiscale(characters: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let [head @ .., check] = characters else { return false };
    if characters.len() != 16 {
        return false;
    }
    let mut sum = 0;
    for (index, character) in head.iter().enumerate() {
        let value = match character {
            b'0'..=b'9' => character - b'0',
            b'A'..=b'Z' => character - b'A',
            _ => return false,
        };
        // Places count from one, so that the first is odd.
        sum += if index % 2 == 0 { ODD.get(usize::from(value)).copied().unwrap_or(0) } else { u32::from(value) };
    }
    u32::from(b'A') + sum % 26 == u32::from(*check)
}

/// The two check digits of a Brazilian CPF.
pub(crate) fn cpf(digits: &[u8]) -> bool {
    let check = |len: u32| {
        let rest = weighted(digits, (2..=len + 1).rev()) * 10 % 11;
        rest % 10
    };
    matches!(digits, [.., first, second] if digits.len() == 11
        && u32::from(*first) == check(9) && u32::from(*second) == check(10))
}

/// The check character of a Chinese resident identity number, ISO 7064 mod 11-2 over its first 17 digits.
pub(crate) fn cn_resident_id(digits: &[u8], check: u8) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let rest = usize::try_from(weighted(digits, WEIGHTS) % 11).unwrap_or(0);
    digits.len() == 17 && b"10X98765432".get(rest) == Some(&check.to_ascii_uppercase())
}

/// Whether this is a day of the Gregorian calendar.
pub(crate) fn is_date(year: u64, month: u64, day: u64) -> bool {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests;
