//! What is expected of a target before it is asked: pure arithmetic over what was measured. Who measures is in the providers.

mod caches;
mod engine_speed;
mod fit;
mod quantiles;

pub(crate) use caches::{Cached, Caches, Prefixes};
pub(crate) use engine_speed::{Before, EngineSpeed};
pub(crate) use fit::Mean;
pub(crate) use quantiles::Quantiles;
