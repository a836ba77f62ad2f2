//! Published examples, and each of them with one digit changed.

use super::*;

fn digits(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
}

/// Each example is valid, and no longer when its last digit is another.
fn check(valid: impl Fn(&[u8]) -> bool, examples: &[&str]) {
    for example in examples {
        let mut digits = digits(example);
        assert!(valid(&digits), "{example}");
        let last = digits.last_mut().unwrap();
        *last = (*last + 1) % 10;
        assert!(!valid(&digits), "{example} with another last digit");
    }
}

#[test]
fn luhn_of_test_cards() {
    check(
        luhn,
        &[
            "4111 1111 1111 1111",
            "5555 5555 5555 4444",
            "3782 822463 10005",
            "6011 1111 1111 1117",
            "3056 9309 0259 04",
        ],
    );
}

#[test]
fn iban_of_the_registry() {
    for example in [
        "GB82WEST12345698765432",
        "DE89370400440532013000",
        "FR1420041010050500013M02606",
        "NO9386011117947",
        "mt84malt011000012345mtlcast001s",
    ] {
        assert!(iban(example.as_bytes()), "{example}");
        assert!(!iban(example.replace('1', "2").as_bytes()), "{example}");
    }
    assert!(!iban(b"GB8"));
    assert!(!iban("GB82WEST1234569876543é".as_bytes()));
}

#[test]
fn verhoeff_of_published_numbers() {
    check(verhoeff, &["2363", "2341 2341 2346", "9999 4105 7058"]);
    assert!(!verhoeff(&digits("2633")), "a transposition");
}

#[test]
fn british_and_french() {
    check(nhs, &["943 476 5919", "401 023 2137"]);
    assert!(nir(2_550_814_168_025, 38));
    assert!(!nir(2_550_814_168_025, 39));
}

#[test]
fn german_tax_numbers() {
    check(steuer_id, &["86095742719", "47036892816", "65929970489", "57549285017", "25768131411"]);
    assert!(!steuer_id(&digits("01234567897")), "begins with zero");
}

#[test]
fn spanish_letters() {
    for (number, letter) in [(12_345_678, b'Z'), (0, b'T'), (99_999_999, b'R'), (87_654_321, b'X')] {
        assert_eq!(dni_letter(number), letter, "{number}");
    }
}

#[test]
fn italian_codes() {
    for example in ["RSSMRA85T10A562S", "MRTMTT91D08F205J", "MLLSNT82P65Z404U"] {
        assert!(codice_fiscale(example.as_bytes()), "{example}");
        assert!(!codice_fiscale(example.replace('A', "B").replace('M', "N").as_bytes()), "{example}");
    }
}

#[test]
fn brazilian_and_chinese() {
    check(cpf, &["529.982.247-25", "111.444.777-35", "123.456.789-09"]);
    assert!(cn_resident_id(&digits("11010519491231002"), b'X'));
    assert!(cn_resident_id(&digits("11010519491231002"), b'x'));
    assert!(cn_resident_id(&digits("44052418800101001"), b'4'));
    assert!(!cn_resident_id(&digits("44052418800101001"), b'5'));
}

#[test]
fn dates() {
    for (year, month, day, wanted) in [
        (2000, 2, 29, true),
        (1900, 2, 29, false),
        (2023, 4, 31, false),
        (2023, 13, 1, false),
        (2023, 1, 0, false),
        (1999, 12, 31, true),
    ] {
        assert_eq!(is_date(year, month, day), wanted, "{year}-{month}-{day}");
    }
}
