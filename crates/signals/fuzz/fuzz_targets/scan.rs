//! The privacy scan under libFuzzer: whatever the text, the scan ends, spans lie in it, in order and on character boundaries,
//! and scanning again finds the same.
//!
//! The first byte chooses: the text as it is, or its own repetition to 64 KiB, in which whatever takes more than linear time is
//! slow enough to be reported. Inputs that are not UTF-8 are read with replacement characters, as they reach the scan
//! through JSON strings.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rustix::time::{ClockId, clock_gettime};
use signals::classify::windows::pieces;
use signals::scan::{AllowConfig, Kind, RecogniserConfig, ScanConfig, Scanner};

/// Length of a text that is repeated, in bytes.
const REPEATED_BYTES: usize = 64 << 10;
/// Longest scan of that, in processor time of this build, in seconds: about twenty times what ordinary text takes. Not by the wall clock, which on
/// a busy machine says nothing.
const SCAN_SECONDS_MAX: f64 = 1.0;

static SCANNERS: LazyLock<[Scanner; 2]> = LazyLock::new(|| {
    let everything = Kind::BUILT_IN.iter().map(|kind| (kind.as_str().to_owned(), 0.0)).collect();
    let custom = RecogniserConfig {
        name: "ticket".to_owned(),
        category: "personal_data".to_owned(),
        pattern: r"(?:[A-Z]{2,4}-){1,3}[0-9]{1,12}|(?:[a-z]{1,8} ?){1,6}!".to_owned(),
        context: vec!["ticket".to_owned(), "case".to_owned()],
        confidence: None,
    };
    let allow = AllowConfig {
        values: vec!["4111111111111111".to_owned()],
        patterns: vec![r"[a-z.]{1,32}@example\.[a-z]{2,10}".to_owned()],
    };
    let config = ScanConfig { thresholds: everything, ..ScanConfig::default() };
    let with_custom = ScanConfig { allow, recognisers: vec![custom], ..ScanConfig::default() };
    [config, with_custom].map(|config| Scanner::new(&config).expect("the configuration is sound"))
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    let text = match mode % 2 {
        1 if !text.is_empty() => text.repeat(REPEATED_BYTES / text.len() + 1),
        _ => text.into_owned(),
    };
    let scanner = &SCANNERS[usize::from(mode / 2 % 2)];
    let began = processor_seconds();
    let found = scanner.scan(&text);
    let took = processor_seconds() - began;
    assert!(took < SCAN_SECONDS_MAX, "slow: {took} s for {} bytes", text.len());
    let mut end = 0;
    for finding in &found {
        assert!(finding.span.start >= end && finding.span.start < finding.span.end, "{:?}", finding.span);
        assert!(text.get(finding.span.clone()).is_some(), "{:?}", finding.span);
        assert!((0.0..=1.0).contains(&finding.confidence), "{}", finding.confidence);
        end = finding.span.end;
    }
    assert_eq!(found.counts().map(|(_, count)| count).sum::<usize>(), found.total());
    if mode % 2 == 0 {
        assert_eq!(found, scanner.scan(&text));
    }
    let seen: usize = pieces(&text).iter().map(|piece| piece.len()).sum();
    assert!(seen <= text.len().max(4096));
});

fn processor_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
