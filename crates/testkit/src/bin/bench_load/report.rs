//! What a run measured, and its summary.

use super::answer::Shape;
use serde_json::{Value, json};
use std::time::Duration;

/// Latencies of complete answers, and what went wrong.
#[derive(Default)]
pub(crate) struct Samples {
    total_ns: Vec<u64>,
    first_ns: Vec<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Samples {
    /// One answer: time to its end and to its first event or byte.
    pub(crate) fn add(&mut self, total: Duration, first: Duration) {
        self.total_ns.push(u64::try_from(total.as_nanos()).unwrap_or(u64::MAX));
        self.first_ns.push(u64::try_from(first.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add_error(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.total_ns.extend(other.total_ns);
        self.first_ns.extend(other.first_ns);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    pub(crate) fn report(
        mut self,
        url: &str,
        elapsed: Duration,
        connections: u64,
        rate: Option<f64>,
        shape: &Shape,
    ) -> Value {
        let requests = self.total_ns.len();
        json!({
            "url": url,
            "connections": connections,
            "rate": rate,
            "seconds": elapsed.as_secs_f64(),
            "requests": requests,
            "requests_per_s": requests as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            "errors": self.errors,
            "first_error": self.first_error,
            "total_us": summary(&mut self.total_ns),
            "first_us": summary(&mut self.first_ns),
            "answer": {
                "bytes": shape.bytes, "frames": shape.frames, "content_bytes": shape.content_bytes,
            },
        })
    }
}

/// Quantiles by nearest rank, in microseconds; `null` without samples.
fn summary(nanoseconds: &mut [u64]) -> Value {
    nanoseconds.sort_unstable();
    let Some(&max) = nanoseconds.last() else { return Value::Null };
    let quantile = |q: f64| {
        let rank = (q * nanoseconds.len() as f64).ceil() as usize;
        microseconds(nanoseconds[rank.clamp(1, nanoseconds.len()) - 1])
    };
    let mean = nanoseconds.iter().map(|&value| value as f64).sum::<f64>() / nanoseconds.len() as f64 / 1000.0;
    json!({
        "mean": mean, "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "max": microseconds(max),
    })
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut values: Vec<u64> = (1..=100).rev().map(|value| value * 1000).collect();
        let summary = summary(&mut values);
        assert_eq!(
            (&summary["p50"], &summary["p99"], &summary["max"], &summary["mean"]),
            (&json!(50.0), &json!(99.0), &json!(100.0), &json!(50.5))
        );
        assert_eq!(super::summary(&mut []), Value::Null);
        assert_eq!(super::summary(&mut [7000])["p99"], json!(7.0));
    }
}
