//! A row of the table as metrics: the one place where label values are checked and where handles are kept.
//!
//! A handle is looked up in the registry once; from then on it is found by the places of its label values, without hashing them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::known::{Known, OTHER_PLACE, places_max};
use super::row::{Kind, Label, OTHER, Row, Source, Values};

/// Registers rows.
pub(super) struct Registering<'a> {
    pub(super) registry: &'a Registry,
    pub(super) known: &'a Arc<Known>,
    /// The names registered so far.
    pub(super) names: Mutex<Vec<&'static str>>,
}

/// The metrics of one row.
pub(super) struct Family<V: Vector> {
    vector: V,
    known: Arc<Known>,
    labels: Box<[Places]>,
    /// By the place of the first label; in there by those of the others.
    handles: Box<[OnceLock<Handles<V::Handle>>]>,
}

type Handles<H> = Box<[OnceLock<H>]>;
/// Counts things.
pub(super) type Counts = Family<IntCounterVec>;
/// Sums up what has fractions.
pub(super) type Sums = Family<CounterVec>;
/// Shows numbers.
pub(super) type Gauges = Family<IntGaugeVec>;
/// Shows what has fractions.
pub(super) type FloatGauges = Family<GaugeVec>;
/// Measures.
pub(super) type Histograms = Family<HistogramVec>;

/// What gives a label value its place.
enum Places {
    /// The place is the one in this list, whose first is [`OTHER`].
    Closed(Vec<&'static str>),
    Configured(Source),
    One,
}

/// A label value, or its place where that is known already.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Word(&'a str),
    Place(usize),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(word: &'a str) -> Self {
        Self::Word(word)
    }
}

/// A counter of what is counted elsewhere, from its own beginning.
pub(super) trait CatchUp<T> {
    /// Counts up to `total`; from 0 again where that is less than before, as what counts has been started anew.
    fn catch_up(&self, total: T);
}

impl CatchUp<u64> for IntCounter {
    fn catch_up(&self, total: u64) {
        let counted = self.get();
        if total < counted {
            self.reset();
        }
        self.inc_by(total.checked_sub(counted).unwrap_or(total));
    }
}

impl CatchUp<f64> for Counter {
    fn catch_up(&self, total: f64) {
        let counted = self.get();
        if total < counted {
            self.reset();
        }
        self.inc_by(if total < counted { total.max(0.0) } else { total - counted });
    }
}

/// A vector of the library.
pub(super) trait Vector: Collector + Clone + Sized + 'static {
    type Handle;
    fn of(row: &Row, labels: &[&str]) -> prometheus::Result<Self>;
    fn handle(&self, values: &[&str]) -> Self::Handle;
    fn clear(&self);
}

macro_rules! vector {
    ($vector:ty, $handle:ty, $options:expr) => {
        impl Vector for $vector {
            type Handle = $handle;

            fn of(row: &Row, labels: &[&str]) -> prometheus::Result<Self> {
                let options: fn(&Row) -> _ = $options;
                Self::new(options(row), labels)
            }

            fn handle(&self, values: &[&str]) -> $handle {
                self.with_label_values(values)
            }

            fn clear(&self) {
                self.reset();
            }
        }
    };
}

vector!(IntCounterVec, IntCounter, |row| Opts::new(row.name, row.help));
vector!(CounterVec, Counter, |row| Opts::new(row.name, row.help));
vector!(IntGaugeVec, IntGauge, |row| Opts::new(row.name, row.help));
vector!(GaugeVec, Gauge, |row| Opts::new(row.name, row.help));
vector!(HistogramVec, Histogram, |row| {
    let buckets = match row.kind {
        Kind::Histogram(buckets) => buckets.to_vec(),
        Kind::Counter | Kind::Gauge => Vec::new(),
    };
    HistogramOpts::new(row.name, row.help).buckets(buckets)
});

impl Registering<'_> {
    /// Makes metrics of a row and registers them. Those without labels show from the start, and counters of one closed list.
    pub(super) fn family<V: Vector>(&self, row: &'static Row) -> prometheus::Result<Family<V>> {
        let names: Vec<_> = row.labels.iter().map(|label| label.name).collect();
        let vector = V::of(row, &names)?;
        self.registry.register(Box::new(vector.clone()))?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(row.name);
        let labels: Box<[_]> = row.labels.iter().map(Places::of).collect();
        let first = labels.first().map_or(1, Places::len);
        let handles = std::iter::repeat_with(OnceLock::new).take(first).collect();
        let family = Family { vector, known: Arc::clone(self.known), labels, handles };
        match family.labels.as_ref() {
            [] => _ = family.of([]),
            // So that the first event is an increase.
            [label @ Places::Closed(_)] if row.kind == Kind::Counter => {
                (OTHER_PLACE + 1..label.len()).for_each(|place| _ = family.of([Value::Place(place)]));
            }
            _ => {}
        }
        Ok(family)
    }
}

impl Places {
    fn of(label: &Label) -> Self {
        match label.values {
            Values::Closed(list) => Self::Closed(std::iter::once(OTHER).chain(list()).collect()),
            Values::Configured(source) => Self::Configured(source),
            Values::One(_) => Self::One,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Closed(list) => list.len(),
            Self::Configured(source) => places_max(*source),
            Self::One => 1,
        }
    }

    fn place(&self, known: &Known, value: Value<'_>) -> usize {
        match (self, value) {
            (_, Value::Place(place)) => place,
            (Self::Closed(list), Value::Word(word)) => {
                list.iter().position(|known| *known == word).unwrap_or(OTHER_PLACE)
            }
            (Self::Configured(source), Value::Word(word)) => known.place(*source, word),
            (Self::One, Value::Word(_)) => OTHER_PLACE,
        }
    }

    fn value(&self, known: &Known, place: usize) -> String {
        match self {
            Self::Closed(list) => list.get(place).copied().unwrap_or(OTHER).to_owned(),
            Self::Configured(source) => known.value(*source, place),
            Self::One => OTHER.to_owned(),
        }
    }
}

impl<V: Vector> Family<V> {
    /// The metric with these label values, in the order of the row. A value that is on no list counts as [`OTHER`].
    pub(super) fn of<const N: usize>(&self, values: [Value<'_>; N]) -> &V::Handle {
        debug_assert_eq!(N, self.labels.len(), "as many values as labels");
        let mut places = [OTHER_PLACE; N];
        for ((place, label), value) in places.iter_mut().zip(&self.labels).zip(values) {
            *place = label.place(&self.known, value);
        }
        let inner = self.labels.iter().zip(places).skip(1);
        let at = inner.fold(0, |at, (label, place)| at * label.len() + place.min(label.len() - 1));
        let first = places.first().copied().unwrap_or_default();
        // Every place is one of its label's, so that both are there.
        let group = &self.handles[first.min(self.handles.len() - 1)];
        let group = group.get_or_init(|| {
            let len = self.labels.iter().skip(1).map(Places::len).product();
            std::iter::repeat_with(OnceLock::new).take(len).collect()
        });
        group[at].get_or_init(|| {
            let values = self.labels.iter().zip(places).map(|(label, place)| label.value(&self.known, place));
            let values: Vec<_> = values.collect();
            self.vector.handle(&values.iter().map(String::as_str).collect::<Vec<_>>())
        })
    }

    /// The metric with these label values, all others of the family being gone from here on. Of a family that is shown like this nothing may be
    /// taken by [`Self::of`].
    pub(super) fn only(&self, values: &[&str]) -> V::Handle {
        self.vector.clear();
        self.vector.handle(values)
    }

    /// Shows nothing of a family that is shown by [`Self::only`].
    pub(super) fn hide(&self) {
        self.vector.clear();
    }
}
