//! Counts the tokens of a prompt with a local model's own tokenizer, where the estimate cannot tell whether it fits the window.
//!
//! For requests of plain text: what a template makes of tools and images is left to the estimate. Counts are kept under the
//! name of each message, so that a growing conversation is counted once.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ::signals::tokens::{ESTIMATE_ERROR, TargetTokenizer};
use lru::LruCache;
use policy::{OUTPUT_RESERVE_TOKENS, TargetFacts, TargetId};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError, RwLock};
use tracing::warn;
use wire::{ChatRequest, MessageName, Texts};

/// Messages whose count is remembered, for each target.
const COUNTS_MAX: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The counters of all local targets.
#[derive(Default)]
pub(crate) struct TokenCounts {
    counters: RwLock<Vec<Arc<Counter>>>,
}

/// Counts for one target. Its tokenizer is read when it is first needed.
struct Counter {
    target: TargetId,
    window: u64,
    gguf: PathBuf,
    tokenizer: OnceLock<Option<TargetTokenizer>>,
    known: Mutex<LruCache<MessageName, u64>>,
}

impl TokenCounts {
    /// Counts for `target` with the tokenizer in the file `gguf`, from now on.
    pub(crate) fn add(&self, target: TargetId, window: u64, gguf: PathBuf) {
        let known = Mutex::new(LruCache::new(COUNTS_MAX));
        let counter = Arc::new(Counter { target, window, gguf, tokenizer: OnceLock::new(), known });
        self.counters.write().unwrap_or_else(PoisonError::into_inner).push(counter);
    }

    /// Writes the count into the facts of each target whose window may or may not be large enough.
    pub(crate) async fn count(&self, request: &ChatRequest, targets: &mut [TargetFacts]) {
        let undecided: Vec<_> = {
            let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
            counters.iter().filter(|counter| counter.is_undecided(request)).cloned().collect()
        };
        for counter in undecided {
            let (of, request) = (Arc::clone(&counter), request.clone());
            let counted = tokio::task::spawn_blocking(move || of.count(&request)).await.ok().flatten();
            if let Some(target) = targets.iter_mut().find(|target| *target.id() == counter.target) {
                target.prompt_tokens = counted;
            }
        }
    }
}

impl Counter {
    /// Whether the estimate leaves open that the prompt fits.
    fn is_undecided(&self, request: &ChatRequest) -> bool {
        let messages = request.messages();
        if request.has_tools() || messages.images + messages.attachments > 0 {
            return false;
        }
        let estimate = request.prompt_tokens_estimate() as f64;
        let room = self.window as f64 - request.max_tokens().unwrap_or(OUTPUT_RESERVE_TOKENS) as f64;
        estimate / ESTIMATE_ERROR.1 <= room && estimate / ESTIMATE_ERROR.0 > room
    }

    /// The tokens of the prompt; `None` where it cannot be counted. Stops once they are more than the window.
    fn count(&self, request: &ChatRequest) -> Option<u64> {
        let load = || match TargetTokenizer::load(&self.gguf) {
            Ok(tokenizer) => Some(tokenizer),
            Err(error) => {
                warn!(target_id = %self.target, error, "prompts for this target are not counted, only estimated");
                None
            }
        };
        let tokenizer = self.tokenizer.get_or_init(load).as_ref()?;
        let mut count = tokenizer.base();
        for (message, name) in request.message_slices().into_iter().zip(request.message_names()) {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
            let tokens = match known {
                Some(tokens) => tokens,
                None => {
                    let texts = Texts::of_message(message);
                    let tokens = tokenizer.message(&texts.content)?;
                    self.known.lock().unwrap_or_else(PoisonError::into_inner).put(*name, tokens);
                    tokens
                }
            };
            count = count.saturating_add(tokens);
            if count > self.window {
                break;
            }
        }
        Some(count)
    }
}
