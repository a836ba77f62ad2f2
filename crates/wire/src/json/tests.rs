//! The cursor on valid text, and that nothing makes it panic.

use proptest::prelude::*;

use super::*;

fn walk(text: &str) -> Result<Vec<(&str, &str)>, Stop> {
    let mut cursor = Cursor::new(text);
    let mut members = Vec::new();
    let object = cursor.object(|cursor, key| {
        members.push((cursor.text(key), cursor.skip()?));
        Ok::<_, Stop>(())
    })?;
    assert_eq!(object.end, cursor.offset());
    Ok(members)
}

#[test]
fn finds_members_as_written() {
    let text = " { \"a\" : [1,{\"b\":\"]}\\\"\"}] ,\n\"\\u0061\":1e400,\"\":\"\" , \"x\":null}\t";
    let expected = [("\"a\"", r#"[1,{"b":"]}\""}]"#), ("\"\\u0061\"", "1e400"), ("\"\"", "\"\""), ("\"x\"", "null")];
    assert_eq!(walk(text).unwrap(), expected);
    assert_eq!(walk("{}").unwrap(), []);
    assert_eq!(walk(" {\n} ").unwrap(), []);
}

#[test]
fn depth_is_limited_and_counts_what_encloses() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(walk(&nested(JSON_DEPTH_MAX - 1)).is_ok());
    assert_eq!(walk(&nested(JSON_DEPTH_MAX)), Err(Stop::TooDeep(5 + JSON_DEPTH_MAX - 1)));
    // Inside a string brackets are text.
    assert!(walk(&format!("{{\"a\":\"{}\"}}", "[".repeat(1000))).is_ok());
    // Depth is given back: many shallow siblings are fine.
    assert!(walk(&format!("{{\"a\":[{}1]}}", "[[]],".repeat(1000))).is_ok());
}

#[test]
fn unescapes_strings_only() {
    assert_eq!(unescape(r#""a""#).as_deref(), Some("a"));
    assert_eq!(unescape(r#""\u00e9\n""#).as_deref(), Some("é\n"));
    assert_eq!(unescape(r#""\ud83d\ude00""#).as_deref(), Some("😀"));
    for raw in [r#""\ud800""#, "a", "\"", "", "1"] {
        assert_eq!(unescape(raw), None, "{raw}");
    }
}

#[test]
fn places_are_counted_from_one() {
    assert_eq!(line_and_column("ab", 0), (1, 1));
    assert_eq!(line_and_column("a\nb", 2), (2, 1));
    assert_eq!(line_and_column("a\n\nbc", 4), (3, 2));
    assert_eq!(line_and_column("a", 9), (1, 2));
}

#[test]
fn rewriting_takes_commas_with_their_members() {
    let check = |text: &str, dropped: &[usize], append: Option<&str>, expected: &str| {
        let (mut cursor, mut spans) = (Cursor::new(text), Vec::new());
        let object = cursor
            .object(|cursor, key| {
                let start = cursor.offset();
                cursor.skip()?;
                spans.push(Span { key, value: start..cursor.offset() });
                Ok::<_, Stop>(())
            })
            .unwrap();
        let edit = |index| if dropped.contains(&index) { Edit::Drop } else { Edit::Keep };
        let out = rewrite(text.as_bytes(), object, &spans, edit, append.map(str::as_bytes));
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
    };
    let text = "{ \"a\" : 1 ,\n \"b\":2,\t\"c\":3 }";
    check(text, &[], None, text);
    check(text, &[0], None, "{ \"b\":2,\t\"c\":3 }");
    check(text, &[1], None, "{ \"a\" : 1,\t\"c\":3 }");
    check(text, &[2], None, "{ \"a\" : 1 ,\n \"b\":2 }");
    check(text, &[0, 1, 2], None, "{  }");
    check(text, &[0, 1, 2], Some("\"d\":4"), "{ \"d\":4 }");
    check(text, &[0, 2], Some("\"d\":4"), "{ \"b\":2,\"d\":4 }");
    check("{}", &[], Some("\"d\":4"), "{\"d\":4}");
    check("{ }", &[], None, "{ }");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"[\[\]{}",:\\a1 é]{0,64}"#) {
        let _ = walk(&text);
        let mut cursor = Cursor::new(&text);
        while cursor.skip().is_ok() {}
        let _ = Cursor::new(&text).array(|cursor| cursor.skip().map(|_| ()));
        let _ = unescape(&text);
    }
}
