//! Durations of very many problems, in little space.

use hdrhistogram::Histogram;

use crate::Durations;

/// Percentiles of a histogram are off by at most this fraction: two significant digits.
const DIGITS: u8 = 2;

/// What is longer counts as this: 34,000 years.
const LONGEST: u64 = 1 << 40;

/// Counts durations in whole seconds, as an HDR histogram; sum and number are exact.
#[derive(Debug, Clone)]
pub(crate) struct DurationCounts {
    histogram: Histogram<u64>,
    sum: i64,
}

impl Default for DurationCounts {
    fn default() -> Self {
        // it grows with what is added: most are of few
        Self { histogram: Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("up to 5 digits")), sum: 0 }
    }
}

impl DurationCounts {
    fn add_times(&mut self, seconds: i64, times: u64) {
        let seconds = u64::try_from(seconds).unwrap_or_default().min(LONGEST);
        // only a value beyond what it may grow to is an error
        let _ = self.histogram.record_n(seconds, times);
    }

    /// Those that [`DurationCounts::parts`] had given.
    pub(crate) fn add_parts(&mut self, sum: i64, seconds: &[i64], counts: &[i64]) {
        self.sum += sum;
        for (seconds, count) in seconds.iter().zip(counts) {
            self.add_times(*seconds, u64::try_from(*count).unwrap_or_default());
        }
    }

    /// Sum, values and how often each.
    pub(crate) fn parts(&self) -> (i64, Vec<i64>, Vec<i64>) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let counted = self.histogram.iter_recorded();
        let (seconds, counts) = counted
            .map(|of| (number(self.histogram.median_equivalent(of.value_iterated_to())), number(of.count_at_value())))
            .unzip();
        (self.sum, seconds, counts)
    }

    /// How many, their mean, median and ninth decile.
    pub(crate) fn figures(&self) -> Durations {
        let count = self.histogram.len();
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let at = |quantile| {
            (count > 0).then(|| self.histogram.median_equivalent(self.histogram.value_at_quantile(quantile)) as f64)
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        Durations {
            count: i64::try_from(count).unwrap_or(i64::MAX),
            mean_seconds: (count > 0).then(|| self.sum as f64 / count as f64),
            median_seconds: at(0.5),
            p90_seconds: at(0.9),
        }
    }
}

/// What is less than nothing is nothing (clocks differ).
impl Extend<i64> for DurationCounts {
    fn extend<T: IntoIterator<Item = i64>>(&mut self, seconds: T) {
        for seconds in seconds {
            self.sum += seconds;
            self.add_times(seconds, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_that_are_added_up_give_what_the_whole_gives_and_percentiles_are_within_one_in_a_hundred(
            mut seconds in prop::collection::vec(prop_oneof![0..200_i64, 0..10_000_i64, 0..100_000_000_i64], 1..200),
            at in any::<prop::sample::Index>(),
        ) {
            let (left, right) = seconds.split_at(at.index(seconds.len()));
            let mut sum = DurationCounts::default();
            for part in [left, right] {
                let mut counts = DurationCounts::default();
                counts.extend(part.iter().copied());
                let (total, values, numbers) = counts.parts();
                sum.add_parts(total, &values, &numbers);
            }
            let mut whole = DurationCounts::default();
            whole.extend(seconds.iter().copied());
            prop_assert_eq!(sum.figures(), whole.figures());
            seconds.sort_unstable();
            for (told, part) in [(whole.figures().median_seconds, 5), (whole.figures().p90_seconds, 9)] {
                let exact = seconds[(seconds.len() * part).div_ceil(10) - 1];
                #[expect(clippy::cast_precision_loss, reason = "seconds")]
                let exact = exact as f64;
                prop_assert!((told.unwrap() - exact).abs() <= exact / 100.0, "{told:?} {exact}");
            }
        }
    }
}
