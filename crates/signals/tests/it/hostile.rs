//! Texts, files and callers that mean no good, against the profile `layers2` and its tagger: no panic, no figure that is none, no finding outside
//! the text, and the deadline holds.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use signals::classify::tagger::Tagged;
use signals::classify::{Classifier, Encoder, Files, NotEncoded, Tagger};
use signals::scan::{ScanConfig, Scanner};

use super::{layers2, layers2_files, layers2_folder, runtime};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(&ScanConfig::default()).unwrap());
static JSON: LazyLock<Vec<u8>> = LazyLock::new(|| std::fs::read(layers2_folder().join("tagger.json")).unwrap());
static TAGGER: LazyLock<Tagger> = LazyLock::new(|| Tagger::parse(&JSON).unwrap());

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// What is short enough to be looked at whole in a test, and odd.
fn texts() -> Vec<String> {
    vec![
        String::new(),
        " \u{a0}\u{3000}\t\r\n".repeat(50),
        "\0".repeat(3000),
        "Anna\0 Kel\0ler \0".repeat(20),
        "\u{200b}\u{200d}\u{feff}\u{2060}".repeat(500),
        "An\u{200b}na Kel\u{200d}ler, Ber\u{ad}lin".to_owned(),
        "👩‍👩‍👧‍👦🏳️‍🌈🦀".repeat(200),
        "שלום אנה קלר, ירושלים \u{202e}reverse\u{202c} السلام عليكم".repeat(10),
        "e\u{301}\u{302}\u{303}\u{304}".repeat(800),
        "ﬃ ß İ ı ǆ Ⅷ １２３ ㍿ ﷽".repeat(40),
        "東京都千代田区丸の内一丁目".repeat(40),
        "[CLS] [SEP] [PAD] [UNK] [MASK] ".repeat(60),
        "[SEP]".repeat(300),
        "##ing ##s ##".repeat(60),
        "!?.,;:".repeat(150),
        "a".repeat(20_000),
        format!("{}é", "x".repeat(8191)),
        "\u{fffd}\u{e000}\u{10ffff}\u{7f}\u{85}\u{2028}".repeat(100),
        "Z̷̛a̸l̵g̶o̷ A\u{36f}n\u{36f}n\u{36f}a".repeat(30),
    ]
}

#[test]
fn odd_texts_have_a_vector_of_numbers_and_findings_within_them() {
    for text in texts() {
        let start: String = text.chars().take(20).collect();
        let vector = layers2().encoder().encode(&text, later()).unwrap();
        assert!(vector.vector.iter().all(|value| value.is_finite()), "{start:?}");
        assert!(vector.seen_bytes <= vector.bytes && vector.bytes == text.len(), "{start:?}");
        let words: Vec<Tagged> = TAGGER.words(layers2().encoder(), &text, later()).unwrap();
        for word in &words {
            let sum: f32 = word.probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-3, "{start:?}: {word:?}");
            assert!(text.get(word.span.clone()).is_some(), "{start:?}: {word:?}");
        }
        assert!(words.windows(2).all(|pair| pair[0].span.start <= pair[1].span.start), "{start:?}");
        let found = TAGGER.tag(layers2().encoder(), &SCANNER, &text, later()).unwrap();
        for finding in found.iter() {
            assert!(text.get(finding.span.clone()).is_some_and(|part| !part.is_empty()), "{start:?}: {finding:?}");
            assert!((0.0..=1.0).contains(&finding.confidence), "{start:?}: {finding:?}");
        }
    }
}

#[test]
fn a_name_is_found_whatever_stands_around_it() {
    let plain = "My name is Anna Keller and I live in Hamburg.";
    for text in [
        plain.to_owned(),
        format!("{} {plain}", "\0".repeat(200)),
        format!("{} {plain}", "\u{200b}".repeat(200)),
        format!("{} {plain}", "🦀 ".repeat(60)),
        format!("{}\n{plain}", "x".repeat(20_000)),
        format!("{plain} {}", "word ".repeat(3000)),
    ] {
        let found = TAGGER.tag(layers2().encoder(), &SCANNER, &text, later()).unwrap();
        let names: Vec<_> =
            found.iter().filter(|f| f.kind.as_str() == "person").map(|f| &text[f.span.clone()]).collect();
        assert!(names.iter().any(|name| name.contains("Keller")), "{names:?} behind {:?}", &text.chars().next());
    }
}

#[test]
fn the_deadline_holds_for_a_megabyte_of_anything_and_where_there_is_no_word() {
    const MEGABYTE: usize = 1_000_000;
    // Each sign is a token: minutes of work.
    let endless = "!?".repeat(MEGABYTE / 2);
    let (begun, within) = (Instant::now(), Duration::from_millis(300));
    let said = TAGGER.tag(layers2().encoder(), &SCANNER, &endless, begun + within);
    assert_eq!(said, Err(NotEncoded::Late));
    let whole = begun.elapsed();
    // One group of windows and one piece beyond it; what all of it takes is far above, on any machine.
    assert!(whole < Duration::from_secs(30), "{whole:?}");
    for text in ["\0".repeat(MEGABYTE), " ".repeat(MEGABYTE), "\u{200b}".repeat(MEGABYTE / 3), "x".to_owned()] {
        let said = TAGGER.tag(layers2().encoder(), &SCANNER, &text, Instant::now());
        assert_eq!(said, Err(NotEncoded::Late), "{:?}", text.chars().next());
    }
    // The classifier looks at a stated part, of one word too.
    let vector = layers2().encoder().encode(&"x".repeat(MEGABYTE), later()).unwrap();
    assert!(vector.seen_bytes < 10_000 && vector.bytes == MEGABYTE, "{vector:?}");
}

#[test]
fn many_at_once_say_the_same_as_one() {
    let texts = ["My name is Anna Keller.", "write a haiku about rain", "Dr. Jonas Weber, Main St 4, Springfield"];
    let said = |text: &str| TAGGER.words(layers2().encoder(), text, later()).unwrap();
    let alone: Vec<_> = texts.iter().map(|text| said(text)).collect();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for (text, alone) in texts.iter().zip(&alone) {
                    assert_eq!(&said(text), alone, "{text}");
                }
            });
        }
    });
}

/// The files of the profile with one word's scale in the encoder no number: a bit that flipped in memory, or weights made with that in mind.
fn without_a_number_for(word: &str) -> Files {
    let mut files = layers2_files();
    let tokenizer: serde_json::Value = serde_json::from_slice(&files.tokenizer).unwrap();
    let id = usize::try_from(tokenizer["model"]["vocab"][word].as_u64().unwrap()).unwrap();
    // Name (field 8) and bytes (field 9) of the tensor, behind which its length has as many bytes as have their first bit set, and one.
    let name = b"\x42\x05scale\x4a";
    let at = files.encoder.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let length_bytes = files.encoder[at..].iter().take_while(|byte| **byte > 0x7f).count() + 1;
    let value = at + length_bytes + 4 * id;
    files.encoder[value..value + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    files
}

#[test]
fn an_encoder_that_gives_no_number_fails_and_does_not_say_that_there_is_no_name() {
    let files = without_a_number_for("keller");
    let encoder = Encoder::new(&files.tokenizer, files.encoder, &runtime()).unwrap();
    let tag = |text: &str| TAGGER.tag(&encoder, &SCANNER, text, later());
    assert_eq!(tag("My name is Anna Weber.").unwrap().total(), 1);
    let said = tag("My name is Anna Keller.");
    assert!(matches!(said, Err(NotEncoded::Failed(_))), "{said:?}");
    assert!(matches!(encoder.encode("My name is Anna Keller.", later()), Err(NotEncoded::Failed(_))));
    assert!(encoder.encode("My name is Anna Weber.", later()).is_ok(), "and goes on");
}

#[test]
fn an_encoder_that_is_cut_or_of_other_weights_is_refused_when_it_is_loaded() {
    let whole = layers2_files();
    for length in [0, 100, 6_000, whole.encoder.len() / 2, whole.encoder.len() - 1] {
        let cut = Files { encoder: whole.encoder[..length].to_vec(), ..whole.clone() };
        assert!(Classifier::new(&cut, &runtime()).is_err(), "{length} bytes");
    }
    // A tokenizer or heads that are cut, or something else altogether.
    for other in [&b""[..], b"{}", b"[]", &whole.heads[..whole.heads.len() / 2]] {
        assert!(Classifier::new(&Files { heads: other.to_vec(), ..whole.clone() }, &runtime()).is_err());
        assert!(Classifier::new(&Files { tokenizer: other.to_vec(), ..whole.clone() }, &runtime()).is_err());
        assert!(Tagger::parse(other).is_err());
    }
}
