//! What is said of a head that was fitted anew.

use std::fmt;

use policy::TargetId;
use signals::learn::{Decision, Interval, Scores, Trained};

/// A table of what predicts how well, and what follows.
pub(super) struct Report<'a> {
    pub target: &'a TargetId,
    pub model: &'a str,
    pub trained: &'a Trained,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, model, trained } = self;
        let (training, held_out) = (trained.training, trained.held_out);
        writeln!(f, "{target} ({model}): {training} labels to fit, {held_out} held out")?;
        if trained.pairs == 0 {
            writeln!(
                f,
                "APGR and CPT as if another target answered all of them well; CPT in % of requests sent there"
            )?;
        } else {
            let pairs = trained.pairs;
            writeln!(f, "{pairs} of them answered by another target too; CPT in % of requests sent there")?;
        }
        let names = Scores::NAMES.map(|name| format!("{name:>22}")).join("");
        writeln!(f, "{:14}{names}", "")?;
        for line in &trained.lines {
            write!(f, "{:14}", line.name)?;
            for (name, (value, interval)) in Scores::NAMES.iter().zip(line.scores.values().iter().zip(&line.intervals))
            {
                let scale = if name.starts_with("CPT") { 100.0 } else { 1.0 };
                write!(f, "{:>22}", cell(*value, *interval, scale))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "fitted: {}", trained.refit)?;
        let (log_loss, apgr) = (trained.log_loss_difference, trained.apgr_difference);
        let verdict = match trained.decision {
            Decision::Activate => "better",
            Decision::Keep => "not better",
        };
        write!(
            f,
            "new less current, 95 %: log loss {:+.4} to {:+.4}, APGR {:+.4} to {:+.4}: {verdict}",
            log_loss.low, log_loss.high, apgr.low, apgr.high
        )
    }
}

fn cell(value: f64, interval: Interval, scale: f64) -> String {
    let digits = if scale > 1.0 { 1 } else { 3 };
    let (value, low, high) = (value * scale, interval.low * scale, interval.high * scale);
    format!("{value:.digits$} ({low:.digits$}-{high:.digits$})")
}
