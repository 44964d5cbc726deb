//! Durations as Go writes them, which is how Centrifugo's configuration does: `300s`, `1h30m`, `1.5s`.

use std::{fmt::Write as _, time::Duration};

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5
    ("μs", 1_000), // U+03BC
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Longest that Go's type holds, some 292 years.
const MAX_NANOSECONDS: u128 = i64::MAX as u128;

/// What Go's `time.ParseDuration` takes, but nothing below zero: numbers with units, the largest unit need not come first;
/// `0` needs none.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (digits, after) = rest.split_at(number);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        nanoseconds = nanoseconds.checked_add(scaled(digits, size)?)?;
        rest = next;
    }
    if nanoseconds > MAX_NANOSECONDS { None } else { u64::try_from(nanoseconds).ok().map(Duration::from_nanos) }
}

/// `digits` has digits and points; what is finer than a nanosecond is cut off, as in Go.
fn scaled(digits: &str, size: u128) -> Option<u128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // more digits than these are finer than a nanosecond of any unit
    let fraction = &fraction[..fraction.len().min(18)];
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(size)?.checked_add(part * size / denominator)
}

/// The same text that Go writes: `1h30m0s`, `1.5s`, `300ms`, `0s`.
pub(crate) fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let below_a_second = [(1, "ns"), (1_000, "µs"), (1_000_000, "ms")].into_iter().rev();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < 1_000_000_000 {
        return below_a_second
            .into_iter()
            .find(|(size, _)| nanoseconds >= *size)
            .map(|(size, unit)| decimal(nanoseconds, size) + unit)
            .unwrap_or_default();
    }
    let (hours, minutes) = (nanoseconds / 3_600_000_000_000, nanoseconds / 60_000_000_000 % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    text + &decimal(nanoseconds % 60_000_000_000, 1_000_000_000) + "s"
}

/// `value / size` without trailing zeros; `size` is a power of ten.
fn decimal(value: u128, size: u128) -> String {
    let (whole, part) = (value / size, value % size);
    if part == 0 {
        return whole.to_string();
    }
    let width = size.ilog10() as usize;
    let fraction = format!("{part:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("+5s", 5_000),
            ("300s", 300_000),
            ("1h30m", 5_400_000),
            ("30m1h", 5_400_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("5.s", 5_000),
            ("250ms", 250),
            ("1h1h", 7_200_000),
            ("720h", 2_592_000_000),
            ("1000us", 1),
            ("1000µs1000μs", 2),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse("1.0000000019s"), Some(Duration::from_nanos(1_000_000_001)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "+", "5", "s", "5 s", "5 minutes", "5d", "-5s", "1..5s", ".s", "1h30", "5S", "3000000h", "٣s"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert!(parse(&format!("{}s", "9".repeat(80))).is_none());
        assert!(parse("9223372036854775807ns").is_some());
        assert!(parse("9223372036854775808ns").is_none());
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (300_000_000_000, "5m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (7_200_000_000_001, "2h0m0.000000001s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanoseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanoseconds in 0..=i64::MAX.unsigned_abs()) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+0-9.a-zµ ]{0,24}|\\PC*") {
            let _ = parse(&text);
        }
    }
}
