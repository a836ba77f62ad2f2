//! What of a request decides how a worker serves it: whose turn it is, how long it is, what of it may be cached.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use wire::{ChatRequest, Prefix};

use crate::admission::{AdmissionLimits, Flow, Need};
use crate::forecast::{EngineSpeed, Prefixes};

/// One request as a worker's queue sees it. Holds no text.
#[derive(Clone, Debug)]
pub struct Asking {
    flow: Flow,
    prefixes: Prefixes,
    /// Estimated.
    pub(crate) prompt_tokens: u64,
    max_tokens: Option<u64>,
    choices: u64,
    may_be_cached: bool,
}

impl Asking {
    /// Of `request`, whose beginnings are `prefixes`. `caller` is who asks, as far as that is known, `session` the name that the
    /// caller gave the conversation. Where neither is given, requests with the same first message (an application's instructions)
    /// count as one caller's.
    #[must_use]
    pub fn of(request: &ChatRequest, prefixes: Arc<[Prefix]>, caller: Option<&str>, session: Option<&str>) -> Self {
        let first = prefixes.first().map(|prefix| prefix.name);
        let caller = match caller {
            Some(_) => hash((caller, None)),
            None => hash((session, first.filter(|_| session.is_none()))),
        };
        let conversation = match session {
            Some(_) => hash((session, None)),
            None => hash((None, prefixes.get(1).or(prefixes.first()).map(|prefix| prefix.name))),
        };
        Self {
            flow: Flow { caller, conversation },
            prompt_tokens: request.prompt_tokens_estimate(),
            max_tokens: request.max_tokens(),
            choices: request.n(),
            // Whoever says something of it says that it must not.
            may_be_cached: !request.has_member("cache_prompt"),
            prefixes,
        }
    }

    /// Most tokens of the answer.
    pub(crate) fn max_tokens(&self) -> Option<u64> {
        self.max_tokens
    }

    /// The beginnings of its messages.
    pub(crate) fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    pub(crate) fn need(&self, limits: &AdmissionLimits, speed: &EngineSpeed) -> Need {
        Need {
            flow: self.flow,
            slots: if self.choices > 1 { limits.slots } else { 1 },
            prompt: self.prompt_tokens as f64,
            unread: speed.unread(self.prompt_tokens as f64),
            output: speed.output_tokens(self.max_tokens),
            prefixes: if self.may_be_cached { Arc::clone(&self.prefixes) } else { Prefixes::default() },
        }
    }
}

fn hash(of: (Option<&str>, Option<wire::PrefixName>)) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
