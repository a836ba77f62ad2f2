//! Reads the Prometheus text format, as far as tests need it.
//!
//! It is a reader, not a checker: lines it cannot read are left out.

/// One line of an exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Metric name, with the `_bucket`, `_sum` or `_count` of a histogram.
    pub name: String,
    /// Labels in the order given, values unescaped.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// Whether this sample has the name and all of the labels (and maybe others).
    pub fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name && labels.iter().all(|(key, value)| self.labels.iter().any(|(k, v)| k == key && v == value))
    }
}

/// All samples of an exposition.
pub fn parse_metrics(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(parse_line).collect()
}

/// The sum over all samples of this name that have these labels; `None` if there is none.
pub fn sum_metric(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = parse_metrics(text);
    let mut found = samples.iter().filter(|sample| sample.matches(name, labels)).map(|sample| sample.value).peekable();
    found.peek()?;
    Some(found.sum())
}

fn parse_line(line: &str) -> Option<Sample> {
    let line = line.trim();
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.push((key.trim().to_owned(), value));
            rest = after;
        }
    }
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The label value up to its closing quote, and what follows that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Things.\n# TYPE a_total counter\n\
        a_total{target=\"x/y\",outcome=\"ok\"} 3\na_total{target=\"x/y\",outcome=\"error\"} 2\n\
        b{quote=\"a\\\"b\\\\c\\nd\",} 0.5 1700000000\nc_bucket{le=\"+Inf\"} 7\nlonely 1e3\ninfinite +Inf\nbroken{x=\"\n";

    #[test]
    fn sums_over_the_labels_not_named() {
        assert_eq!(sum_metric(TEXT, "a_total", &[("target", "x/y")]), Some(5.0));
        assert_eq!(sum_metric(TEXT, "a_total", &[("outcome", "error"), ("target", "x/y")]), Some(2.0));
        assert_eq!(sum_metric(TEXT, "a_total", &[("outcome", "none")]), None);
        assert_eq!(sum_metric(TEXT, "a", &[]), None);
    }

    #[test]
    fn reads_escapes_timestamps_and_bare_names() {
        assert_eq!(sum_metric(TEXT, "b", &[("quote", "a\"b\\c\nd")]), Some(0.5));
        assert_eq!(sum_metric(TEXT, "c_bucket", &[("le", "+Inf")]), Some(7.0));
        assert_eq!(sum_metric(TEXT, "lonely", &[]), Some(1000.0));
        assert_eq!(sum_metric(TEXT, "infinite", &[]), Some(f64::INFINITY));
        assert_eq!(sum_metric(TEXT, "broken", &[]), None);
    }
}
