//! `train`: a head fitted anew, compared with what there is on requests that none of them has seen.

use super::curves::{Predicted, Ranked, Scores};
use super::logistic::Logistic;
use super::refit::{Refit, Training};
use super::resample::{BOOTSTRAP_RESAMPLES, Interval, resamples};
use super::rows::{Design, Part, Row};
use crate::classify::heads::{FEATURES, HAND_FEATURES, Heads, QualityHead};

/// Held-out requests needed, and of them on either side of a label of 0.5.
pub const HELD_OUT_LEAST: usize = 20;
/// See [`HELD_OUT_LEAST`].
pub const EITHER_SIDE_LEAST: usize = 3;
/// Where `log_chars` stands among the features.
const LOG_CHARS: usize = FEATURES - HAND_FEATURES;
/// Labels that the mean over all counts for in the prior of a task.
const TASK_PRIOR_ROWS: f64 = 5.0;

/// Why nothing was fitted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// Not enough labels to say whether a new head is better.
    #[error(
        "{held_out} of {rows} labels are held out, {good} of them good and {bad} bad; at least {HELD_OUT_LEAST} are needed, {EITHER_SIDE_LEAST} on either side"
    )]
    TooFew {
        /// Labels in all.
        rows: usize,
        /// Of them held out.
        held_out: usize,
        /// Of these from 0.5 on.
        good: usize,
        /// Of these below.
        bad: usize,
    },
}

/// Whether the new head takes the place of the current one.
///
/// Rule: both are compared on the same resamples of the held-out requests. The new one is better when the 95 % interval of
/// one of the differences in log loss and APGR lies on its side of 0 altogether, and that of the other does not lie on the
/// current one's side altogether. By chance alone a head that is no better passes at most one time in twenty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is better.
    Activate,
    /// It is not.
    Keep,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What predicted.
    pub name: &'static str,
    /// On the held-out requests.
    pub scores: Scores,
    /// Their bootstrap intervals, in the order of [`Scores::NAMES`].
    pub intervals: [Interval; 6],
}

/// A new head with all that is to be said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The head, fitted to the training part.
    pub head: QualityHead,
    /// How much of it was fitted.
    pub refit: Refit,
    /// Labels in the training part.
    pub training: usize,
    /// Labels held out.
    pub held_out: usize,
    /// Of these how many say how the other target answered.
    pub pairs: usize,
    /// Length, task prior, current head, new head.
    pub lines: Vec<Line>,
    /// Log loss of the new head less that of the current one; below 0 is better.
    pub log_loss_difference: Interval,
    /// APGR of the new head less that of the current one; above 0 is better.
    pub apgr_difference: Interval,
    /// What follows.
    pub decision: Decision,
}

/// Fits a head to `rows` with `shipped` as prior and compares it with `current`. The same arguments give the same head.
///
/// # Errors
/// [`TrainError`] when there are too few labels to compare with.
pub fn train(heads: &Heads, shipped: &QualityHead, current: &QualityHead, rows: &[Row]) -> Result<Trained, TrainError> {
    let held_out: Vec<&Row> = rows.iter().filter(|row| row.part() == Part::HeldOut).collect();
    let good = held_out.iter().filter(|row| row.label >= 0.5).count();
    let bad = held_out.len() - good;
    if held_out.len() < HELD_OUT_LEAST || good < EITHER_SIDE_LEAST || bad < EITHER_SIDE_LEAST {
        return Err(TrainError::TooFew { rows: rows.len(), held_out: held_out.len(), good, bad });
    }
    let seen: Vec<&Row> = rows.iter().filter(|row| row.part() != Part::HeldOut).collect();
    let training = Training::new(heads, shipped, rows);
    let (head, refit) = training.refit();
    let of = |head: &QualityHead, row: &Row| head.estimate(&row.features, &heads.project(&row.features)).probability;
    let (length, tasks) = (by_length(&seen), by_task(heads, &seen));
    let ranked = |predict: &dyn Fn(&Row) -> f64| {
        let predicted = |row: &&Row| Predicted {
            probability: predict(row),
            weak: row.label.into(),
            strong: row.other.map_or(1.0, f64::from),
            weight: row.weight.into(),
        };
        Ranked::new(&held_out.iter().map(predicted).collect::<Vec<_>>())
    };
    let predictors = [
        ("length", ranked(&|row| length.of(row))),
        ("task prior", ranked(&|row| tasks.of(heads, row))),
        ("current head", ranked(&|row| of(current, row).into())),
        ("new head", ranked(&|row| of(&head, row).into())),
    ];
    let samples = counts(held_out.len());
    let whole = vec![1.0; held_out.len()];
    let sampled: Vec<Vec<Scores>> =
        predictors.iter().map(|(_, ranked)| samples.iter().map(|counts| ranked.scores(counts)).collect()).collect();
    let lines = predictors.iter().zip(&sampled).map(|((name, ranked), sampled)| Line {
        name,
        scores: ranked.scores(&whole),
        intervals: Scores::intervals(sampled),
    });
    let lines = lines.collect();
    let difference = |of: fn(&Scores) -> f64| match sampled.as_slice() {
        [.., current, new] => {
            let differences = current.iter().zip(new).map(|(current, new)| of(new) - of(current));
            Interval::of(differences.filter(|value| value.is_finite()).collect())
        }
        _ => Interval::of(Vec::new()),
    };
    let (log_loss_difference, apgr_difference) =
        (difference(|scores| scores.log_loss), difference(|scores| scores.apgr));
    Ok(Trained {
        decision: decide(log_loss_difference, apgr_difference),
        head,
        refit,
        training: training.rows(),
        held_out: held_out.len(),
        pairs: held_out.iter().filter(|row| row.other.is_some()).count(),
        lines,
        log_loss_difference,
        apgr_difference,
    })
}

/// See [`Decision`]. An interval of nothing says nothing.
fn decide(log_loss: Interval, apgr: Interval) -> Decision {
    let better = log_loss.high < 0.0 || apgr.low > 0.0;
    let worse = log_loss.low > 0.0 || apgr.high < 0.0;
    if better && !worse { Decision::Activate } else { Decision::Keep }
}

/// How often each row stands in each resample.
fn counts(rows: usize) -> Vec<Vec<f64>> {
    let mut all = Vec::with_capacity(BOOTSTRAP_RESAMPLES);
    resamples(rows, BOOTSTRAP_RESAMPLES, |drawn| {
        let mut counts = vec![0.0; rows];
        for row in drawn {
            if let Some(count) = counts.get_mut(*row) {
                *count += 1.0;
            }
        }
        all.push(counts);
        0.0
    });
    all
}

/// What the length of a request alone says.
struct ByLength {
    weights: Vec<f64>,
}

fn by_length(rows: &[&Row]) -> ByLength {
    let mut design = Design::new(2);
    rows.iter().for_each(|row| design.push([length(row), 1.0], row.label, row.weight));
    let fitted = Logistic { design: &design, calibration: (1.0, 0.0), prior: &[0.0; 2], precision: &[0.1; 2] }.fit();
    ByLength { weights: fitted }
}

fn length(row: &Row) -> f32 {
    row.features.get(LOG_CHARS).copied().unwrap_or(0.0)
}

impl ByLength {
    fn of(&self, row: &Row) -> f64 {
        super::logistic::sigmoid(super::rows::dot(&[length(row), 1.0], &self.weights))
    }
}

/// What the kind of task alone says: the mean label of each kind, near the mean of all.
struct ByTask {
    means: Vec<f64>,
    mean: f64,
}

fn by_task(heads: &Heads, rows: &[&Row]) -> ByTask {
    let mut sums = vec![(0.0, 0.0); heads.task.labels.len()];
    let (mut sum, mut count) = (0.0, 0.0);
    for row in rows {
        let (label, weight) = (f64::from(row.label), f64::from(row.weight));
        (sum, count) = (sum + weight * label, count + weight);
        if let Some((of_task, counted)) = sums.get_mut(task(heads, row)) {
            (*of_task, *counted) = (*of_task + weight * label, *counted + weight);
        }
    }
    let mean = if count > 0.0 { sum / count } else { 0.5 };
    let near = |(sum, count): &(f64, f64)| (sum + TASK_PRIOR_ROWS * mean) / (count + TASK_PRIOR_ROWS);
    ByTask { means: sums.iter().map(near).collect(), mean }
}

fn task(heads: &Heads, row: &Row) -> usize {
    let likeliest = heads.tasks(&row.features).into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    likeliest.map_or(0, |(task, _)| task)
}

impl ByTask {
    fn of(&self, heads: &Heads, row: &Row) -> f64 {
        self.means.get(task(heads, row)).copied().unwrap_or(self.mean)
    }
}
