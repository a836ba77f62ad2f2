//! The language of a text, by `whatlang` (trigrams), as an ISO 639-1 code.

use whatlang::{Lang, detect};

/// Bytes of a text that are looked at.
const BYTES_MAX: usize = 2048;
/// Least confidence, from 0 to 1. What `whatlang` itself calls reliable leaves most single sentences out.
const CONFIDENCE_MIN: f64 = 0.5;

/// The language of a text; `None` where it is too short or mixed to tell reliably.
#[must_use]
pub(crate) fn language(text: &str) -> Option<&'static str> {
    let seen = &text[..text.floor_char_boundary(BYTES_MAX)];
    detect(seen).filter(|info| info.confidence() >= CONFIDENCE_MIN).and_then(|info| code(info.lang()))
}

/// ISO 639-3 and ISO 639-1 (Library of Congress, registration authority of ISO 639-2) of what `whatlang` knows.
const CODES: &str = "afr af aka ak amh am ara ar aze az bel be ben bn bul bg cat ca ces cs cmn zh cym cy dan da deu de ell el \
    eng en epo eo est et fin fi fra fr guj gu heb he hin hi hrv hr hun hu hye hy ind id ita it jav jv jpn ja kan kn kat ka \
    khm km kor ko lat la lav lv lit lt mal ml mar mr mkd mk mya my nep ne nld nl nob nb ori or pan pa pes fa pol pl por pt \
    ron ro rus ru sin si slk sk slv sl sna sn spa es srp sr swe sv tam ta tel te tgl tl tha th tuk tk tur tr ukr uk urd ur \
    uzb uz vie vi yid yi zul zu";

fn code(language: Lang) -> Option<&'static str> {
    let mut words = CODES.split(' ');
    words.by_ref().find(|word| *word == language.code())?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_told_apart_and_scraps_are_not() {
        let cases = [
            ("What is the capital of France, and how many people live there?", Some("en")),
            ("Können Sie mir bitte erklären, wie die Photosynthese funktioniert?", Some("de")),
            ("¿Puedes explicarme con palabras sencillas cómo funciona la fotosíntesis?", Some("es")),
            ("请用简单的话解释光合作用是如何进行的。", Some("zh")),
            ("光合成の仕組みを簡単な言葉で説明してください。", Some("ja")),
            ("Почему трава зелёная, а небо голубое? Что об этом говорят учёные?", Some("ru")),
            ("", None),
            ("12345", None),
        ];
        for (text, expected) in cases {
            assert_eq!(language(text), expected, "{text}");
        }
    }

    #[test]
    fn every_language_has_a_code_of_iso_639_1() {
        let codes: Vec<_> = Lang::all().iter().filter_map(|language| code(*language)).collect();
        let distinct: std::collections::BTreeSet<_> = codes.iter().collect();
        assert_eq!((codes.len(), distinct.len()), (Lang::all().len(), Lang::all().len()), "{codes:?}");
    }
}
