//! What is known of widely used cloud models without being configured: the table `prices.yaml`, part of the binary.

use std::sync::LazyLock;

use policy::Price;
use serde::Deserialize;

use super::profile::price_of;
use super::raw::{RawCapabilities, RawPrice};

const TABLE: &str = include_str!("prices.yaml");

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    prices: Vec<Row>,
}

/// One model of one provider.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Row {
    /// The part of a target's id before the first `/`.
    provider: String,
    /// The provider's name of the model.
    model: String,
    price: RawPrice,
    /// Tokens of prompt and answer together, or of the prompt where the provider counts them apart.
    pub context_tokens: Option<u64>,
    /// What the model is stated not to offer.
    pub capabilities: RawCapabilities,
    /// Where this was read.
    source: String,
    /// The day on which the source said so, `YYYY-MM-DD`.
    date: String,
}

impl Row {
    /// What the model charges.
    pub(super) fn price(&self) -> Option<Price> {
        price_of(&self.price)
    }
}

/// The row of a model; `None` when the table does not know it.
pub(super) fn known(provider: &str, model: &str) -> Option<&'static Row> {
    // A test reads the same text; were it unreadable, every price would be unknown.
    static ROWS: LazyLock<Vec<Row>> =
        LazyLock::new(|| super::yaml::read::<Table>(TABLE).map(|(table, ..)| table.prices).unwrap_or_default());
    ROWS.iter().find(|row| row.provider == provider && row.model == model)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_whole_dated_and_sourced_and_there_is_one_for_each_model() {
        let (table, _, problems) = super::super::yaml::read::<Table>(TABLE).unwrap();
        assert_eq!(problems, []);
        assert!(table.prices.len() >= 15);
        let mut seen = HashSet::new();
        for row in &table.prices {
            assert!(!row.provider.is_empty() && !row.model.is_empty(), "{row:?}");
            assert!(seen.insert((&row.provider, &row.model)), "twice: {row:?}");
            let price = row.price().unwrap();
            assert!(price.input_usd_per_mtok > 0.0 && price.output_usd_per_mtok > 0.0, "{row:?}");
            assert!(price.cached_input_usd_per_mtok <= price.input_usd_per_mtok, "{row:?}");
            assert!(row.context_tokens.is_some_and(|tokens| tokens >= 1000), "{row:?}");
            assert!(!row.source.is_empty(), "{row:?}");
            let parts: Vec<&str> = row.date.split('-').collect();
            let is_date = [4, 2, 2]
                .iter()
                .zip(&parts)
                .all(|(digits, part)| part.len() == *digits && part.bytes().all(|byte| byte.is_ascii_digit()));
            assert!(parts.len() == 3 && is_date, "{row:?}");
        }
    }
}
