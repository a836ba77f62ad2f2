//! Facts set by name: for the tests of a policy and for "what would happen if".

use crate::document::FactValue;
use crate::tag::{TAG_FORM, is_tag};
use crate::{BreakerCause, Connectivity, Facts, Mode, ModelAsked, Privacy, QualitySignal, TargetId, TargetState};

/// What comes before a target's id in the name of its predicted quality.
const QUALITY_PREFIX: &str = "signals.quality:";

impl Facts {
    /// Sets the fact `name` to `value`; an absent value forgets it. `signals.quality:<target id>` sets the predicted quality
    /// of one target.
    ///
    /// # Errors
    /// A sentence: the name is no fact or one that follows from others, or the value does not fit.
    pub fn set(&mut self, name: &str, value: &FactValue) -> Result<(), String> {
        if let Some(id) = name.strip_prefix(QUALITY_PREFIX) {
            let id = TargetId::new(id).map_err(|error| error.to_string())?;
            self.signals.quality.retain(|(known, _)| *known != id);
            self.signals.quality.extend(
                optional(value, number)?.map(|probability| (id, QualitySignal { probability, standard_error: 0.0 })),
            );
            return Ok(());
        }
        match name.split_once('.') {
            Some(("request", field)) => self.set_request(field, value),
            Some(("caller", field)) => self.set_caller(field, value),
            Some(("signals", field)) => self.set_signals(field, value),
            Some(("moment", field)) => self.set_moment(field, value),
            Some(("conversation", field)) => self.set_conversation(field, value),
            Some(("budget", "remaining_usd")) => {
                self.budget.remaining_usd = optional(value, number)?;
                Ok(())
            }
            _ => Err(NOT_SETTABLE.to_owned()),
        }
    }

    fn set_request(&mut self, field: &str, value: &FactValue) -> Result<(), String> {
        let request = &mut self.request;
        match field {
            "model" => request.model = required(value, |word| ModelAsked::parse(word).map_err(|e| e.to_string()))?,
            "mode" => request.mode = required(value, |word| Mode::parse(word).map_err(|e| e.to_string()))?,
            "mode_stated" => request.mode_stated = required(value, boolean)?,
            "privacy" => request.privacy = required(value, privacy)?,
            "tags" => request.tags = tags(value)?,
            "tools" => request.needs.tools = required(value, boolean)?,
            "vision" => request.needs.vision = required(value, boolean)?,
            "json_schema" => request.needs.json_schema = required(value, boolean)?,
            "logprobs" => request.needs.logprobs = required(value, boolean)?,
            "stream" => request.stream = required(value, boolean)?,
            "max_tokens" => request.max_tokens = optional(value, whole)?,
            "prompt_tokens" => request.prompt_tokens = required(value, whole)?,
            "messages" => request.messages = required(value, whole)?,
            "in_tool_loop" => request.in_tool_loop = required(value, boolean)?,
            "language" => request.language = optional(value, text)?,
            _ => return Err(NOT_SETTABLE.to_owned()),
        }
        Ok(())
    }

    fn set_caller(&mut self, field: &str, value: &FactValue) -> Result<(), String> {
        match field {
            "key_id" => self.caller.key_id = optional(value, text)?,
            "team" => self.caller.team = optional(value, text)?,
            "tags" => self.caller.tags = tags(value)?,
            _ => return Err(NOT_SETTABLE.to_owned()),
        }
        Ok(())
    }

    fn set_signals(&mut self, field: &str, value: &FactValue) -> Result<(), String> {
        match field {
            "task" => self.signals.task = optional(value, text)?,
            "personal_data" => self.signals.personal_data = optional(value, whole)?,
            "secrets" => self.signals.secrets = optional(value, whole)?,
            "kinds" => self.signals.kinds = if *value == FactValue::Absent { None } else { Some(words(value)) },
            "entities" => self.signals.entities = if *value == FactValue::Absent { None } else { Some(words(value)) },
            "opaque_parts" => self.signals.opaque_parts = optional(value, whole)?,
            "task_probability" => self.signals.task_probability = optional(value, number)?,
            "seen_share" => self.signals.seen_share = optional(value, number)?,
            "out_of_distribution" => self.signals.out_of_distribution = optional(value, boolean)?,
            "injection" => self.signals.injection = optional(value, number)?,
            _ => return Err(NOT_SETTABLE.to_owned()),
        }
        Ok(())
    }

    fn set_moment(&mut self, field: &str, value: &FactValue) -> Result<(), String> {
        let below = |limit: u64, least: u64| {
            move |word: &str| match whole(word)? {
                value if (least..limit).contains(&value) => Ok(u32::try_from(value).unwrap_or(u32::MAX)),
                value => Err(format!("{value} is out of range; allowed are {least} to {}", limit - 1)),
            }
        };
        let moment = &mut self.moment;
        match field {
            "minute_of_day" => moment.minute_of_day = optional(value, below(1440, 0))?,
            "hour" => moment.minute_of_day = optional(value, below(24, 0))?.map(|hour| hour * 60),
            "weekday" => moment.weekday = optional(value, below(8, 1))?,
            "connectivity" => {
                moment.connectivity =
                    optional(value, |word| Connectivity::parse(word).map_err(|error| error.to_string()))?;
            }
            "metered" => moment.metered = optional(value, boolean)?,
            "battery_percent" => moment.battery_percent = optional(value, below(101, 0))?,
            _ => return Err(NOT_SETTABLE.to_owned()),
        }
        Ok(())
    }

    fn set_conversation(&mut self, field: &str, value: &FactValue) -> Result<(), String> {
        let conversation = &mut self.conversation;
        match field {
            "privacy" => conversation.strictest_privacy = optional(value, privacy)?,
            "previous_target" => {
                conversation.previous_target =
                    optional(value, |word| TargetId::new(word).map_err(|error| error.to_string()))?;
            }
            "cached_tokens" => conversation.cached_tokens = required(value, whole)?,
            _ => return Err(NOT_SETTABLE.to_owned()),
        }
        Ok(())
    }
}

const NOT_SETTABLE: &str = "is not a fact that can be set; see the table in policies/README.md";

impl TargetState {
    /// Reads one of the words of [`TargetState::as_str`]; `down` without a reason of its own.
    ///
    /// # Errors
    /// A sentence with the words there are.
    pub fn parse(word: &str) -> Result<Self, String> {
        let states = [
            Self::Ready,
            Self::Loading,
            Self::Cold,
            Self::Downloading,
            Self::Unreachable,
            Self::RateLimited { wait: None },
            Self::BreakerOpen { cause: BreakerCause::Failing, probe_in: None },
            Self::Down("it is said to be down".into()),
        ];
        let known = states.iter().map(Self::as_str).collect::<Vec<_>>().join(", ");
        states.into_iter().find(|state| state.as_str() == word).ok_or_else(|| format!("{word:?} is not one of {known}"))
    }
}

fn required<T>(value: &FactValue, read: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    optional(value, read)?.ok_or_else(|| "is never absent".to_owned())
}

fn optional<T>(value: &FactValue, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match value {
        FactValue::Absent => Ok(None),
        FactValue::One(word) => read(word).map(Some),
        FactValue::Many(_) => Err("is one value, not a list".to_owned()),
    }
}

fn tags(value: &FactValue) -> Result<Vec<String>, String> {
    let words = words(value);
    match words.iter().find(|word| !is_tag(word)) {
        Some(odd) => Err(format!("{odd:?} is no tag; {TAG_FORM}")),
        None => Ok(words),
    }
}

fn words(value: &FactValue) -> Vec<String> {
    let mut words = match value {
        FactValue::Absent => Vec::new(),
        FactValue::One(word) => vec![word.clone()],
        FactValue::Many(words) => words.clone(),
    };
    words.sort_unstable();
    words.dedup();
    words
}

fn privacy(word: &str) -> Result<Privacy, String> {
    Privacy::parse(word).map_err(|error| error.to_string())
}

fn boolean(word: &str) -> Result<bool, String> {
    word.parse().map_err(|_| format!("{word:?} is not true or false"))
}

fn whole(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word:?} is not a whole number"))
}

fn number(word: &str) -> Result<f64, String> {
    word.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| format!("{word:?} is not a number"))
}

#[allow(clippy::unnecessary_wraps, reason = "has the shape of the other readers")]
fn text(word: &str) -> Result<String, String> {
    Ok(word.to_owned())
}
