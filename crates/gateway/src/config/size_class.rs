//! Which head of the classifier speaks for a target: that of its model, else that of its size class.

use super::prices::known;
use super::{LlamaCppConfig, ModelSource, ProviderConfig};

/// The size classes of the classifier, by parameters: under 1 billion, 1 to 4, over 4 to 15, over 15 to 80, and above with
/// hosted flagship models.
pub(super) const SIZE_CLASSES: [&str; 5] = ["tiny", "small", "medium", "large", "frontier"];

/// Words in the names of hosted models that are smaller than the flagship of their family.
const SMALLER: [&str; 7] = ["mini", "nano", "flash", "lite", "haiku", "small", "turbo"];

/// What the classifier is asked about a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassifiedAs {
    /// The name of its model, lower case.
    pub model: String,
    /// Its size class, as configured or as its name says; unknown otherwise.
    pub size_class: Option<&'static str>,
}

/// What is known without being configured.
pub(super) fn classified_as(provider_name: &str, provider: &ProviderConfig) -> ClassifiedAs {
    let model = match provider {
        ProviderConfig::OpenAi(openai) => openai.model.to_lowercase(),
        ProviderConfig::LlamaCpp(LlamaCppConfig { model: ModelSource::Artifact(name), .. }) => name.to_lowercase(),
        ProviderConfig::LlamaCpp(LlamaCppConfig { model: ModelSource::Path(path), .. }) => {
            path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase()
        }
    };
    let hosted = || {
        known(provider_name, &model)?;
        let is_smaller = model.split(|c: char| !c.is_alphanumeric()).any(|word| SMALLER.contains(&word));
        Some(if is_smaller { "large" } else { "frontier" })
    };
    let size_class = by_name(&model).or_else(hosted);
    ClassifiedAs { model, size_class }
}

/// The size class that a name tells, such as `qwen2.5-7b-instruct`, `smollm2-135m` or `mixtral-8x7b`.
fn by_name(model: &str) -> Option<&'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let billions = model.split(|c| !is_part(c)).find_map(|word| {
        let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
        let (times, number) = number.split_once('x').unwrap_or(("1", number));
        let parameters = times.parse::<f64>().ok()? * number.parse::<f64>().ok()?;
        match unit {
            "b" => Some(parameters),
            "m" => Some(parameters / 1000.0),
            _ => None,
        }
    })?;
    Some(match billions {
        ..1.0 => "tiny",
        ..=4.0 => "small",
        ..=15.0 => "medium",
        ..=80.0 => "large",
        _ => "frontier",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_sizes() {
        let cases = [
            ("smollm2-135m-instruct", Some("tiny")),
            ("qwen2.5-0.5b-instruct-q4_k_m", Some("tiny")),
            ("llama-3.2-1b", Some("small")),
            ("qwen2.5-7b-instruct", Some("medium")),
            ("mixtral-8x7b-instruct", Some("large")),
            ("llama-3.3-70b", Some("large")),
            ("llama-3.1-405b", Some("frontier")),
            ("gpt-4o", None),
            ("q4_1", None),
            ("", None),
            ("é", None),
        ];
        for (name, expected) in cases {
            assert_eq!(by_name(name), expected, "{name}");
        }
    }
}
