//! What a request says about itself: the mode and privacy it asks for and the model it names.

use std::sync::Arc;

use crate::{Capabilities, Contradiction, InvalidTargetId, TargetId, TargetProfile};

/// The model name that lets Tidegate choose the target.
pub const AUTO_MODEL: &str = "auto";

/// A value outside a closed list; the message lists what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {allowed}")]
pub struct UnknownWord {
    /// What was given, cut to 64 characters.
    pub found: String,
    /// The allowed words, comma separated.
    pub allowed: &'static str,
}

impl UnknownWord {
    pub(crate) fn new(found: &str, allowed: &'static str) -> Self {
        Self { found: found.chars().take(64).collect(), allowed }
    }
}

/// Where the caller would like the request to run. The four names are those of hybrid inference SDKs
/// (Firebase AI Logic's `InferenceMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// On the device if a local target can answer, else in the cloud.
    #[default]
    PreferOnDevice,
    /// On the device or not at all.
    OnlyOnDevice,
    /// In the cloud if a cloud target can answer, else on the device.
    PreferInCloud,
    /// In the cloud or not at all.
    OnlyInCloud,
}

impl Mode {
    /// Every mode, in the order of documentation.
    pub const ALL: [Self; 4] = [Self::PreferOnDevice, Self::OnlyOnDevice, Self::PreferInCloud, Self::OnlyInCloud];

    /// The word used in headers, metadata and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreferOnDevice => "prefer_on_device",
            Self::OnlyOnDevice => "only_on_device",
            Self::PreferInCloud => "prefer_in_cloud",
            Self::OnlyInCloud => "only_in_cloud",
        }
    }

    /// Reads one of the four words, exactly.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else; there is no default for a misspelt mode.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or_else(|| UnknownWord::new(word, "prefer_on_device, only_on_device, prefer_in_cloud, only_in_cloud"))
    }

    /// Joins two statements about the same request, the first from the more specific place.
    /// `only_*` beats `prefer_*`; of two preferences the first is kept.
    ///
    /// # Errors
    /// [`Contradiction::Modes`] when one says only here and the other only there.
    pub fn combine(self, other: Self) -> Result<Self, Contradiction> {
        match (self, other) {
            (Self::OnlyOnDevice, Self::OnlyInCloud) | (Self::OnlyInCloud, Self::OnlyOnDevice) => {
                Err(Contradiction::Modes)
            }
            (Self::OnlyOnDevice | Self::OnlyInCloud, _) => Ok(self),
            (_, Self::OnlyOnDevice | Self::OnlyInCloud) => Ok(other),
            _ => Ok(self),
        }
    }
}

/// How far a prompt may be exposed, from loosest to strictest; ordered, so that the stricter of two is `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privacy {
    /// Anybody may read it.
    Public,
    /// For the organisation; may go to the cloud targets that the operator configured.
    #[default]
    Internal,
    /// Never leaves the device.
    Confidential,
    /// Never leaves the device.
    Restricted,
}

impl Privacy {
    /// Every class, loosest first.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// The word used in headers, metadata and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }

    /// Reads one of the four words, exactly.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else; a misspelt class is never read as a looser one.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == word)
            .ok_or_else(|| UnknownWord::new(word, "public, internal, confidential, restricted"))
    }

    /// Whether this class keeps a prompt on the device.
    #[must_use]
    pub fn stays_on_device(self) -> bool {
        self >= Self::Confidential
    }
}

/// The model a caller named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelAsked {
    /// [`AUTO_MODEL`]: Tidegate chooses.
    Auto,
    /// One target and no other.
    Target(TargetId),
}

impl ModelAsked {
    /// Reads the `model` field.
    ///
    /// # Errors
    /// [`InvalidTargetId`] when it is neither `auto` nor shaped like a target id; such a target cannot exist.
    pub fn parse(model: &str) -> Result<Self, InvalidTargetId> {
        if model == AUTO_MODEL { Ok(Self::Auto) } else { TargetId::new(model).map(Self::Target) }
    }
}

/// The protocol a request came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI's `POST /v1/chat/completions`.
    #[default]
    ChatCompletions,
}

impl Api {
    /// The word used in conditions, after OpenTelemetry's `gen_ai.operation.name` style.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
        }
    }
}

/// What is known of one request when it is decided. Never holds text of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The protocol.
    pub api: Api,
    /// The model named by the caller.
    pub model: ModelAsked,
    /// The combined mode of configuration, headers and metadata.
    pub mode: Mode,
    /// Whether the caller named a mode.
    pub mode_stated: bool,
    /// The strictest privacy class of configuration, headers and metadata.
    pub privacy: Privacy,
    /// Labels given in `x-tidegate-tags` and `metadata.tidegate_tags`, sorted, without duplicates.
    pub tags: Vec<String>,
    /// What the request needs of a target beside text.
    pub needs: Capabilities,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Most tokens of the answer, when the caller said.
    pub max_tokens: Option<u64>,
    /// Tokens of the whole prompt, estimated, all messages and tools included.
    pub prompt_tokens: u64,
    /// Number of messages.
    pub messages: u64,
    /// Whether the last message is the result of a tool: the request is a turn inside a tool loop.
    pub in_tool_loop: bool,
    /// ISO 639-1 code of the language of the prompt, when known.
    pub language: Option<String>,
}

impl Default for RequestFacts {
    /// `auto`, one short message, everything else as if the request said nothing.
    fn default() -> Self {
        Self {
            api: Api::default(),
            model: ModelAsked::Auto,
            mode: Mode::default(),
            mode_stated: false,
            privacy: Privacy::default(),
            tags: Vec::new(),
            needs: Capabilities::default(),
            stream: false,
            max_tokens: None,
            prompt_tokens: 16,
            messages: 1,
            in_tool_loop: false,
            language: None,
        }
    }
}

/// Who asks. Empty for an anonymous caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerFacts {
    /// Name of the key that was used, never the key.
    pub key_id: Option<String>,
    /// The team the key belongs to.
    pub team: Option<String>,
    /// Labels of the key.
    pub tags: Vec<String>,
}

/// What classifier and privacy scan found; every field is absent until they ran.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalFacts {
    /// Kind of task, a word of the classifier's closed list.
    pub task: Option<String>,
    /// Probability from 0 to 1 of that kind.
    pub task_probability: Option<f64>,
    /// Pieces of personal data found in the whole prompt.
    pub personal_data: Option<u64>,
    /// Secrets (keys, passwords) found in the whole prompt.
    pub secrets: Option<u64>,
    /// The kinds of personal data and secrets found, sorted, without duplicates.
    pub kinds: Option<Vec<String>>,
    /// What the tagger found in the whole prompt: `person`, `address`, `organisation`, `identifier`, sorted, without duplicates.
    pub entities: Option<Vec<String>>,
    /// Parts of the prompt that are not text, into which nobody looked.
    pub opaque_parts: Option<u64>,
    /// Probability from 0 to 1 that somebody tries to subvert the model.
    pub injection: Option<f64>,
    /// Share from 0 to 1 of the prompt's text that the classifier saw.
    pub seen_share: Option<f64>,
    /// Whether the prompt is unlike everything the classifier was trained on; its quality is then not predicted.
    pub out_of_distribution: Option<bool>,
    /// How likely targets answer well, by target.
    pub quality: Vec<(TargetId, QualitySignal)>,
}

/// A predicted probability that a target answers well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QualitySignal {
    /// From 0 to 1, calibrated.
    pub probability: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// Whether there is a network, as far as cloud targets are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Connectivity {
    /// They can be reached as far as is known.
    Online,
    /// Some could not be connected to of late.
    Degraded,
    /// None can be reached.
    Offline,
    /// A captive portal answers in place of the network.
    Captive,
}

impl Connectivity {
    /// Every state, best first.
    pub const ALL: [Self; 4] = [Self::Online, Self::Degraded, Self::Offline, Self::Captive];
    /// The words of [`Self::as_str`], in the same order: a closed list, for metrics and conditions.
    pub const WORDS: [&'static str; 4] = ["online", "degraded", "offline", "captive"];

    /// The word used in conditions, metrics and the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => Self::WORDS[0],
            Self::Degraded => Self::WORDS[1],
            Self::Offline => Self::WORDS[2],
            Self::Captive => Self::WORDS[3],
        }
    }

    /// Whether nothing in the cloud can be reached.
    #[must_use]
    pub fn is_away(self) -> bool {
        matches!(self, Self::Offline | Self::Captive)
    }

    /// Reads one of the words, exactly.
    ///
    /// # Errors
    /// [`UnknownWord`] for anything else.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| UnknownWord::new(word, "online, degraded, offline, captive"))
    }
}

/// The moment of the decision, in the gateway's local time. Absent fields are not known on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MomentFacts {
    /// Minutes since midnight, 0 to 1439.
    pub minute_of_day: Option<u32>,
    /// Day of the week, 1 Monday to 7 Sunday (ISO 8601).
    pub weekday: Option<u32>,
    /// Whether there is a network.
    pub connectivity: Option<Connectivity>,
    /// Whether the network is paid by volume.
    pub metered: Option<bool>,
    /// Charge of the battery in percent.
    pub battery_percent: Option<u32>,
}

/// What is left of budgets; absent until there are any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BudgetFacts {
    /// US dollars left in the tightest budget that applies.
    pub remaining_usd: Option<f64>,
}

/// What is remembered of the conversation that a request continues. Empty for the first request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationFacts {
    /// The strictest privacy class seen in it.
    pub strictest_privacy: Option<Privacy>,
    /// The target that answered last.
    pub previous_target: Option<TargetId>,
    /// Prompt tokens of the last request, which that target may have cached.
    pub cached_tokens: u64,
}

/// What was learned from requests that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryFacts {
    /// Running mean of the tokens of an answer, by id of the route.
    pub output_tokens: Arc<[(Arc<str>, f64)]>,
}

impl Default for HistoryFacts {
    fn default() -> Self {
        Self { output_tokens: Arc::from([]) }
    }
}

/// Everything a decision knows beside the targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What the request says.
    pub request: RequestFacts,
    /// Who asks.
    pub caller: CallerFacts,
    /// What the signals say.
    pub signals: SignalFacts,
    /// The moment.
    pub moment: MomentFacts,
    /// Budgets.
    pub budget: BudgetFacts,
    /// The conversation so far.
    pub conversation: ConversationFacts,
    /// What earlier requests taught.
    pub history: HistoryFacts,
}

impl Facts {
    /// The class that holds: the stricter of what the request says and what its conversation has been.
    #[must_use]
    pub fn effective_privacy(&self) -> Privacy {
        self.conversation.strictest_privacy.map_or(self.request.privacy, |seen| seen.max(self.request.privacy))
    }

    /// The predicted quality of a target, else the one configured for it.
    #[must_use]
    pub fn quality(&self, profile: &TargetProfile) -> Option<f64> {
        self.predicted_quality(&profile.id).map(|predicted| predicted.probability).or(profile.quality)
    }

    /// The predicted quality of a target.
    #[must_use]
    pub fn predicted_quality(&self, target: &TargetId) -> Option<QualitySignal> {
        self.signals.quality.iter().find(|(id, _)| id == target).map(|(_, quality)| *quality)
    }
}
