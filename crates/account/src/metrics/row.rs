//! What a row of the table of metrics says. Data only: [`super::family`] makes metrics of it, `docs/metrics.md` and the tests of
//! dashboards read it.

/// One metric.
#[derive(Debug)]
pub struct Row {
    /// Its name, by the conventions of Prometheus.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// Its labels. One whose values are [`Values::Configured`] comes first.
    pub labels: &'static [Label],
    /// One sentence, as it stands in the exposition.
    pub help: &'static str,
}

/// The part of the table that one file of [`super`] holds.
#[derive(Debug)]
pub struct Area {
    /// Its heading in `docs/metrics.md`.
    pub title: &'static str,
    /// Its metrics.
    pub rows: &'static [&'static Row],
}

/// The types of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by these upper bounds, which ascend.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word of the exposition format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What a value is measured in: base units only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things that the name says.
    Count,
    /// Seconds.
    Seconds,
    /// Seconds since 1970.
    UnixTime,
    /// Bytes.
    Bytes,
    /// Tokens of a model.
    Tokens,
    /// US dollars.
    UsDollars,
    /// A share, 1 being the whole.
    Ratio,
    /// 1 for yes, 0 for no.
    YesNo,
    /// Always 1: the labels say it.
    Info,
}

impl Unit {
    /// The word in `docs/metrics.md`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::UnixTime => "Unix time in seconds",
            Self::Bytes => "bytes",
            Self::Tokens => "tokens",
            Self::UsDollars => "US dollars",
            Self::Ratio => "ratio",
            Self::YesNo => "1 or 0",
            Self::Info => "always 1",
        }
    }
}

/// One label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What values it takes; whatever else is given becomes [`OTHER`].
    pub values: Values,
}

/// The value of what is on no list.
pub const OTHER: &str = "other";
/// The value where there is nothing to name, as of the target of a request that nobody answered.
pub const NONE: &str = "none";

/// The values that a label takes: bounded in every case.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These.
    Closed(fn() -> Vec<&'static str>),
    /// What the configuration names, and [`NONE`].
    Configured(Source),
    /// One at a time: the one before is gone. The text says what it is.
    One(&'static str),
}

/// Lists that the configuration makes. What they hold is told by [`super::Metrics::declare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Ids of targets.
    Targets,
    /// Ids of routes and placement rules of the policies that were in force, and the built-in ones.
    Rules,
    /// Kinds of what the privacy scan and the tagger find, the configured ones included.
    Kinds,
    /// Codes of the errors that the gateway answers with.
    ErrorCodes,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 4] = [Self::Targets, Self::Rules, Self::Kinds, Self::ErrorCodes];

    /// Most values; what is declared beyond them becomes [`OTHER`].
    #[must_use]
    pub const fn values_max(self) -> usize {
        match self {
            // As many as a configuration may have.
            Self::Targets => 256,
            // Two policies of 500 placement rules and 500 routes each.
            Self::Rules => 2000,
            Self::Kinds => 512,
            Self::ErrorCodes => 64,
        }
    }

    /// What the values are, for `docs/metrics.md`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Targets => "configured target ids",
            Self::Rules => "rule ids of the policies that were in force",
            Self::Kinds => "kinds that are built in or configured",
            Self::ErrorCodes => "error codes of the API",
        }
    }
}
