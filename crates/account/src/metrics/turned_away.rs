//! Requests that are answered with an error before there is an exchange: counted here, and nowhere else.

use super::Metrics;
use super::family::{Counts, Registering};
use super::row::{Area, Kind, Label, Row, Unit, Values};

const REASON: Label =
    Label { name: "reason", values: Values::Closed(|| TurnedAway::ALL.iter().map(|reason| reason.as_str()).collect()) };

static TURNED_AWAY: Row = Row {
    name: "tidegate_turned_away_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[REASON],
    help: "Requests to the data port answered with an error before they were an exchange, so that they are in no other metric and not in the ledger: no HTTP/1.1, headers over limits.header_bytes_max, of a web page of elsewhere, no such address, no such method. Not in it: connections that send no whole header in time, which are closed without an answer, and streams of HTTP/2 that break its rules, which are reset.",
};

pub(super) const AREA: Area = Area { title: "Requests turned away", rows: &[&TURNED_AWAY] };

pub(super) struct Families {
    turned_away: Counts,
}

impl Families {
    pub(super) fn register(of: &Registering<'_>) -> prometheus::Result<Self> {
        Ok(Self { turned_away: of.family(&TURNED_AWAY)? })
    }
}

/// Why a request did not become an exchange. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// It could not be read as HTTP/1.1.
    Unreadable,
    /// Its headers are longer than is allowed.
    HeaderTooLarge,
    /// A web page of elsewhere made a browser send it.
    ForeignOrigin,
    /// There is nothing at its address.
    NotFound,
    /// Its address does not know its method.
    MethodNotAllowed,
}

impl TurnedAway {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Unreadable, Self::HeaderTooLarge, Self::ForeignOrigin, Self::NotFound, Self::MethodNotAllowed];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::HeaderTooLarge => "header_too_large",
            Self::ForeignOrigin => "foreign_origin",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
        }
    }
}

impl Metrics {
    /// Counts a request that does not become an exchange.
    pub fn turned_away(&self, reason: TurnedAway) {
        self.0.turned_away.turned_away.of([reason.as_str().into()]).inc();
    }
}
