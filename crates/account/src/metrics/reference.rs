//! `docs/metrics.md`, made of the table.

use std::fmt::Write;

use super::TABLE;
use super::row::{Kind, OTHER, Row, Values};

const HEAD: &str = "# Metrics

`GET /metrics` of the admin port, in the text format of Prometheus. Written from the table in `crates/account/src/metrics` by
`TIDEGATE_WRITE_METRICS=1 cargo test -p account reference`; a test compares.

Every exchange is counted once, when it is settled, by one monotonic clock that is read when its first byte was there. All label values are closed
lists or names of the configuration; whatever else might come up is counted as `other`, so that no caller can add a series. `none` as a target means
that nobody answered. Series appear with their first event, but those without labels and counters with one closed list, which begin at 0. Bounds of histograms are powers of two or four where nothing else is said,
as those of native histograms are.
";

/// The text of `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for area in TABLE {
        // Writing to a text does not fail.
        let _ = write!(text, "\n## {}\n", area.title);
        for row in area.rows {
            describe(&mut text, row);
        }
    }
    text
}

fn describe(text: &mut String, row: &Row) {
    let _ = write!(text, "\n### `{}`\n\n{} ({}). {}\n", row.name, row.kind.as_str(), row.unit.as_str(), row.help);
    for (place, label) in row.labels.iter().enumerate() {
        let values = match label.values {
            Values::Closed(list) => list().iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
            Values::Configured(source) => {
                format!("{}, at most {}; else `{OTHER}`", source.as_str(), source.values_max())
            }
            Values::One(what) => format!("{what}, one at a time"),
        };
        let _ = writeln!(text, "{}- `{}`: {values}", if place == 0 { "\n" } else { "" }, label.name);
    }
    if let Kind::Histogram(buckets) = row.kind {
        let bounds = buckets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let _ = write!(text, "\nBounds: {bounds}.\n");
    }
}
