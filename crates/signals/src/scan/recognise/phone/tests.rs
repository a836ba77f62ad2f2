//! The tables.

use super::*;

#[test]
fn tables_are_well_formed() {
    assert!(CALLING_CODES.is_sorted());
    for (regions, pattern, tight, spaced) in SHAPES {
        assert!(regions.split(' ').all(|region| region.len() == 2 && regions::is_known(region)), "{regions}");
        let shape = compile(pattern, *tight, *spaced);
        assert!((DIGITS_MIN..=DIGITS_MAX).contains(&shape.digits.len()), "{pattern}");
        assert!(spaced <= tight && *tight <= 1.0, "{pattern}");
    }
}
