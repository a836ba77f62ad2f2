//! Telling a person how far an installation is: a bar on a terminal, log lines elsewhere.
//!
//! Nothing here influences the work; an implementation that does nothing is fine.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

/// Longest silence of [`LogProgress`] while something advances.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Shortest time between two lines of [`LogProgress`].
const LOG_PAUSE: Duration = Duration::from_secs(2);
/// How often a terminal's bar is redrawn while nothing advances.
const TICK: Duration = Duration::from_millis(250);

/// What a stage is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Steps of a build.
    Steps,
}

/// One stretch of work that can be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage<'a> {
    /// What is being done, such as `downloading smollm2-135m-instruct`.
    pub what: Cow<'a, str>,
    /// What it is counted in.
    pub unit: Unit,
    /// How much there is in all, where known.
    pub total: Option<u64>,
    /// How much of it was there before (a download that is resumed).
    pub already: u64,
}

/// Hears how an installation goes. Stages follow one another; none lies within another.
pub trait Progress: Send + Sync {
    /// A stage begins.
    fn began(&self, stage: &Stage<'_>);
    /// This much more of the stage (in its unit) is done.
    fn advanced(&self, amount: u64);
    /// Something a person may want to know, at any time.
    fn note(&self, line: &str);
    /// The stage is over, well or not; may be said again, or when none is on.
    fn finished(&self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentProgress;

/// A bar on standard error: bytes, rate and time left.
#[derive(Debug, Default)]
pub struct TerminalProgress {
    bar: Mutex<Option<ProgressBar>>,
}

/// Log lines: one at each tenth, none within 2 s of the last, at least one every 10 s.
#[derive(Debug, Default)]
pub struct LogProgress {
    stage: Mutex<Option<Logged>>,
}

#[derive(Debug)]
struct Logged {
    what: String,
    unit: Unit,
    total: Option<u64>,
    done: u64,
    tenth_told: u64,
    told_at: Instant,
}

/// The bar when standard error is a terminal, log lines otherwise.
pub fn progress_for_stderr() -> Box<dyn Progress> {
    match std::io::stderr().is_terminal() {
        true => Box::new(TerminalProgress::default()),
        false => Box::new(LogProgress::default()),
    }
}

impl Progress for SilentProgress {
    fn began(&self, _: &Stage<'_>) {}
    fn advanced(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn finished(&self) {}
}

impl Progress for TerminalProgress {
    fn began(&self, stage: &Stage<'_>) {
        let bar = ProgressBar::with_draw_target(stage.total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template(stage)) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(stage.what.clone().into_owned());
        bar.set_position(stage.already);
        bar.reset_eta();
        bar.enable_steady_tick(TICK);
        if let Some(old) = hold(&self.bar).replace(bar) {
            old.abandon();
        }
    }

    fn advanced(&self, amount: u64) {
        if let Some(bar) = hold(&self.bar).as_ref() {
            bar.inc(amount);
        }
    }

    fn note(&self, line: &str) {
        match hold(&self.bar).as_ref() {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn finished(&self) {
        if let Some(bar) = hold(&self.bar).take() {
            bar.abandon();
        }
    }
}

impl Progress for LogProgress {
    fn began(&self, stage: &Stage<'_>) {
        let logged = Logged {
            what: stage.what.clone().into_owned(),
            unit: stage.unit,
            total: stage.total,
            done: stage.already,
            tenth_told: tenth(stage.already, stage.total),
            told_at: Instant::now(),
        };
        info!(stage = logged.what, done = logged.amount(logged.done), total = logged.total_text(), "stage began");
        *hold(&self.stage) = Some(logged);
    }

    fn advanced(&self, amount: u64) {
        if let Some(logged) = hold(&self.stage).as_mut() {
            logged.done += amount;
            let now = tenth(logged.done, logged.total);
            if is_due(logged.told_at.elapsed(), now > logged.tenth_told) {
                info!(
                    stage = logged.what,
                    done = logged.amount(logged.done),
                    total = logged.total_text(),
                    "stage advanced"
                );
                logged.told_at = Instant::now();
                logged.tenth_told = now;
            }
        }
    }

    fn note(&self, line: &str) {
        info!("{line}");
    }

    fn finished(&self) {
        if let Some(logged) = hold(&self.stage).take() {
            info!(stage = logged.what, done = logged.amount(logged.done), total = logged.total_text(), "stage ended");
        }
    }
}

impl Logged {
    fn amount(&self, count: u64) -> String {
        match self.unit {
            Unit::Bytes => HumanBytes(count).to_string(),
            Unit::Steps => count.to_string(),
        }
    }

    fn total_text(&self) -> String {
        self.total.map_or_else(|| "unknown".to_owned(), |total| self.amount(total))
    }
}

fn template(stage: &Stage<'_>) -> &'static str {
    match (stage.unit, stage.total) {
        (Unit::Bytes, Some(_)) => "{msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        (Unit::Bytes, None) => "{msg} {spinner} {bytes} {bytes_per_sec}",
        (Unit::Steps, Some(_)) => "{msg} [{bar:24}] {pos}/{len} {elapsed} so far, {eta} left",
        (Unit::Steps, None) => "{msg} {spinner} {pos} {elapsed}",
    }
}

fn tenth(done: u64, total: Option<u64>) -> u64 {
    match total {
        Some(total) if total > 0 => done.saturating_mul(10) / total,
        _ => 0,
    }
}

fn is_due(since_last: Duration, has_new_tenth: bool) -> bool {
    since_last >= LOG_EVERY || (has_new_tenth && since_last >= LOG_PAUSE)
}

/// A panic elsewhere must not silence progress, so poison is ignored.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_neither_too_many_nor_too_few() {
        let check = |seconds, new_tenth, due| assert_eq!(is_due(Duration::from_secs(seconds), new_tenth), due);
        check(0, true, false);
        check(2, true, true);
        check(9, false, false);
        check(10, false, true);
        assert_eq!(
            (tenth(0, Some(50)), tenth(49, Some(50)), tenth(50, Some(50)), tenth(7, None), tenth(7, Some(0))),
            (0, 9, 10, 0, 0)
        );
    }

    #[test]
    fn every_template_is_one_that_indicatif_accepts() {
        for unit in [Unit::Bytes, Unit::Steps] {
            for total in [None, Some(3)] {
                let stage = Stage { what: "x".into(), unit, total, already: 1 };
                assert!(ProgressStyle::with_template(template(&stage)).is_ok());
                for progress in
                    [&TerminalProgress::default() as &dyn Progress, &LogProgress::default(), &SilentProgress]
                {
                    progress.began(&stage);
                    progress.advanced(2);
                    progress.finished();
                    progress.advanced(1);
                    progress.finished();
                }
            }
        }
    }
}
