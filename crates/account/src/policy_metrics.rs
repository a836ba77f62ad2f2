//! What the metrics say of policies. Names and labels stand in the table of `metrics`.

use crate::Metrics;

/// How the shadow policy would have decided one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShadowDifference {
    /// Other localities would be left.
    pub placement: bool,
    /// Another target would be tried first, or none.
    pub first_target: bool,
    /// The first attempt is estimated to cost something else, or one of the two is not known.
    pub estimated_cost: bool,
    /// Estimated cost in US dollars by the active policy.
    pub active_cost_usd: Option<f64>,
    /// Estimated cost in US dollars by the shadow policy.
    pub shadow_cost_usd: Option<f64>,
}

impl Metrics {
    /// Counts a reload of the policy.
    pub fn policy_reloaded(&self, ok: bool) {
        self.policy_reloads.with_label_values(&[if ok { "ok" } else { "failed" }]).inc();
    }

    /// Shows which policy is in force.
    pub fn show_policy(&self, generation: u64, hash: &str) {
        self.policy_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        // One hash at a time, so that the label stays bounded.
        self.policy_info.reset();
        self.policy_info.with_label_values(&[hash]).set(1);
    }

    /// Counts a decision of the shadow policy.
    pub fn shadow_decided(&self, difference: &ShadowDifference) {
        self.shadow_decisions.with_label_values::<&str>(&[]).inc();
        let differences = [
            ("placement", difference.placement),
            ("first_target", difference.first_target),
            ("estimated_cost", difference.estimated_cost),
        ];
        for (name, _) in differences.into_iter().filter(|(_, differs)| *differs) {
            self.shadow_differences.with_label_values(&[name]).inc();
        }
        if let (Some(active), Some(shadow)) = (difference.active_cost_usd, difference.shadow_cost_usd) {
            self.shadow_cost.with_label_values(&["active"]).inc_by(active);
            self.shadow_cost.with_label_values(&["shadow"]).inc_by(shadow);
        }
    }
}
