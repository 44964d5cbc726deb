//! Looks at what a client saw and says what is wrong with it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    cloud::Truth,
    sdk::{Moment, Seen},
};

/// How far a client saw all that it should have.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Publications that came a second time.
    pub(crate) repeated: usize,
    /// Times the server said that it could not recover.
    pub(crate) not_recovered: usize,
    /// Times the server ended the subscription so that the client begins again.
    pub(crate) interrupted: usize,
    /// Publications that came while the client had no subscription.
    pub(crate) dropped: usize,
    /// Different publications it saw.
    pub(crate) distinct: usize,
}

/// P1 and P2 for one client and channel: every publication after its position in the order of the stream, unless it was told that
/// something is missing. `live`: the client is subscribed now, so it has everything.
///
/// `skips` says which publications the client has filtered out: it must not get them.
pub(crate) fn look(
    who: &str,
    moments: &[Moment],
    truth: &Truth,
    live: bool,
    skips: impl Fn(u64, &Value) -> bool,
) -> Result<Report, String> {
    let mut report = Report::default();
    // the position: everything up to here was seen, or is known to be missed
    let mut position: Option<(String, u64)> = None;
    let mut seen: BTreeMap<u64, &Value> = BTreeMap::new();
    let mut subscribed = false;
    let lacks = |from: u64, to: u64| -> Vec<u64> {
        (from + 1..to)
            .filter(|offset| match truth.entries.get(offset) {
                Some(Some(data)) => !skips(*offset, data),
                Some(None) => false,
                None => true,
            })
            .collect()
    };
    for moment in moments {
        match &moment.seen {
            Seen::Subscribed(result) => {
                subscribed = true;
                if !result.positioned && !result.recoverable {
                    return Err(format!("{who}: a subscription without a position: {result:?}"));
                }
                if result.was_recovering && result.recovered {
                    let asked = result.asked.clone().unwrap_or_default();
                    if result.offset != asked.0 {
                        return Err(format!("{who}: recovered from {}, asked for {asked:?}", result.offset));
                    }
                    // it goes on from where it asked, which a repetition may have set back
                    match &position {
                        Some((epoch, offset)) if *epoch != result.epoch || asked.0 > *offset => {
                            return Err(format!("{who}: recovered at {asked:?}, had everything up to {position:?}"));
                        }
                        Some(_) => {}
                        None => position = Some((result.epoch.clone(), result.offset)),
                    }
                } else {
                    if result.was_recovering {
                        report.not_recovered += 1;
                    } else if position.is_some() {
                        return Err(format!("{who}: subscribed again without recovery: {result:?}"));
                    }
                    position = Some((result.epoch.clone(), result.offset));
                }
            }
            Seen::Publication { offset, data } => {
                let Some((epoch, at)) = &mut position else {
                    return Err(format!("{who}: a publication before the subscription: {offset}"));
                };
                if skips(*offset, data) {
                    return Err(format!("{who}: {offset} should have been filtered out: {data}"));
                }
                if *epoch == truth.epoch {
                    match truth.entries.get(offset) {
                        Some(Some(published)) if published != data => {
                            return Err(format!("{who}: {offset} is {data}, published was {published}"));
                        }
                        Some(Some(_)) | None => {}
                        Some(None) => return Err(format!("{who}: {offset} is a tombstone, and came as {data}")),
                    }
                }
                if let Some(before) = seen.insert(*offset, data)
                    && before != data
                {
                    return Err(format!("{who}: {offset} was {before} and is {data}"));
                }
                if offset <= at {
                    report.repeated += 1;
                    continue;
                }
                let lacking = lacks(*at, *offset);
                if !lacking.is_empty() {
                    return Err(format!("{who}: {offset} came after {at}, without {lacking:?}"));
                }
                *at = *offset;
            }
            Seen::Dropped { .. } => report.dropped += 1,
            Seen::Subscribing { code } => {
                subscribed = false;
                report.interrupted += usize::from(*code >= 2500);
            }
            Seen::Unsubscribed { .. } => {
                subscribed = false;
                // a later subscribe of the application begins where this one ended
            }
            Seen::Join { .. } | Seen::Leave { .. } => {}
        }
    }
    if live {
        if !subscribed {
            return Err(format!("{who}: not subscribed at the end: {:?}", moments.last()));
        }
        let (epoch, at) = position.clone().unwrap_or_default();
        if epoch != truth.epoch {
            return Err(format!("{who}: in stream {epoch}, the channel is in {}", truth.epoch));
        }
        let lacking = lacks(at, truth.top + 1);
        if !lacking.is_empty() {
            return Err(format!("{who}: has everything up to {at} and never got {lacking:?} of {}", truth.channel));
        }
    }
    report.distinct = seen.len();
    Ok(report)
}
