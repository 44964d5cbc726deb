use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use thiserror::Error;

const QUARTER_HOUR: i64 = 900;
const HOUR: i64 = 3_600;

/// How far Zabbix's clock may run ahead of the clock that stamped `sent_at` (normally the same machine).
const SKEW: i64 = 300;

/// The zone of the dates in a webhook: `{EVENT.DATE}` and its like carry none.
///
/// They are in the zone of the webhook's Zabbix user, else of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Zone {
    /// Found per message: the difference between the message's newest local time and `sent_at`, to the quarter hour.
    ///
    /// Limits: a message that Zabbix sends more than 7.5 minutes after the fact looks like one from another zone, and its
    /// times come out that much too late (a body with `date` and `time`, the server's own "now", is safe from late
    /// notifications, though not from late retries); and one offset serves all times of a message, so an `opened_at` from
    /// the other side of a clock change is an hour off. [`Problem`](crate::Problem) therefore keeps the earliest
    /// `opened_at`, which the problem's own message normally gives. Who cares sets the zone.
    Auto,
    /// A zone with its history of clock changes.
    Fixed(TimeZone),
}

/// `ZABBIX_TIME_ZONE` names no zone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is neither `auto` nor an IANA time zone such as Europe/Berlin")]
pub struct UnknownZone(String);

impl FromStr for Zone {
    type Err = UnknownZone;

    /// `auto`, or an IANA name such as `Europe/Berlin`.
    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        TimeZone::get(text).map(Self::Fixed).map_err(|_| UnknownZone(text.to_owned()))
    }
}

impl Zone {
    /// The clock to read one message's times with: `sent_at` in unix seconds, `now` the newest local time it has.
    pub(crate) fn clock(&self, sent_at: i64, now: DateTime) -> Clock {
        match self {
            Self::Fixed(zone) => Clock::Fixed { zone: zone.clone(), sent_at },
            Self::Auto => {
                let behind = as_if_utc(now) - sent_at;
                let rounded = (behind + QUARTER_HOUR / 2).div_euclid(QUARTER_HOUR) * QUARTER_HOUR;
                // the zones of the world
                Clock::Offset(rounded.clamp(-12 * HOUR, 14 * HOUR))
            }
        }
    }
}

/// Turns local times of one message into unix seconds.
pub(crate) enum Clock {
    Offset(i64),
    Fixed { zone: TimeZone, sent_at: i64 },
}

impl Clock {
    /// Something that had happened when the message was sent. In the hour that a clock change repeats, the later reading
    /// that was already past: otherwise the second 02:10 would come before the first 02:50.
    pub(crate) fn past(&self, local: DateTime) -> i64 {
        match self {
            Self::Offset(offset) => as_if_utc(local) - offset,
            Self::Fixed { zone, sent_at } => {
                let (earlier, later) = readings(zone, local);
                if later <= sent_at.saturating_add(SKEW) { later } else { earlier }
            }
        }
    }

    /// Something that comes after `after`.
    pub(crate) fn future(&self, local: DateTime, after: i64) -> i64 {
        match self {
            Self::Offset(offset) => as_if_utc(local) - offset,
            Self::Fixed { zone, .. } => {
                let (earlier, later) = readings(zone, local);
                if earlier >= after { earlier } else { later }
            }
        }
    }
}

/// Both readings of a local time: the same, but in the hour that a clock change repeats.
fn readings(zone: &TimeZone, local: DateTime) -> (i64, i64) {
    let (before, after) = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, offset),
        AmbiguousOffset::Gap { before, .. } => (before, before),
        AmbiguousOffset::Fold { before, after } => (before, after),
    };
    let utc = as_if_utc(local);
    (utc - i64::from(before.seconds()), utc - i64::from(after.seconds()))
}

fn as_if_utc(local: DateTime) -> i64 {
    const EPOCH: DateTime = Date::constant(1970, 1, 1).at(0, 0, 0, 0);
    local.duration_since(EPOCH).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    fn unix(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    }

    #[test]
    fn auto_finds_the_offset_of_every_quarter_hour_zone() {
        let happened = unix("2026-11-21T08:05:04Z");
        for (offset, text) in [
            (0, "2026-11-21T08:05:04"),
            (3_600, "2026-11-21T09:05:04"),
            (-12 * 3_600, "2026-11-20T20:05:04"),
            (14 * 3_600, "2026-11-21T22:05:04"),
            (20_700, "2026-11-21T13:50:04"), // Kathmandu
        ] {
            for delay in [-60, 0, 1, 8, 440] {
                let clock = Zone::Auto.clock(happened + delay, local(text));
                assert_eq!(clock.past(local(text)), happened, "offset {offset} delay {delay}");
            }
        }
    }

    #[test]
    fn auto_reads_a_message_sent_late_as_one_from_another_zone() {
        let clock = Zone::Auto.clock(unix("2026-11-21T08:25:00Z"), local("2026-11-21T08:05:00"));
        assert_eq!(clock.past(local("2026-11-21T08:05:00")), unix("2026-11-21T08:20:00Z"));
    }

    #[test]
    fn auto_never_leaves_the_zones_of_the_world() {
        let clock = Zone::Auto.clock(unix("2026-11-21T08:00:00Z"), local("1999-01-01T00:00:00"));
        assert_eq!(clock.past(local("2026-11-21T08:00:00")), unix("2026-11-21T20:00:00Z"));
        Zone::Auto.clock(i64::MIN / 2, local("2026-11-21T08:00:00"));
    }

    #[test]
    fn a_clock_change_does_not_reorder_what_happened_around_it() {
        // Berlin, 2026-10-25: 03:00 +02 becomes 02:00 +01; 2026-03-29: 02:00 +01 becomes 03:00 +02
        let story = [
            ("2026-10-25T02:50:00", "2026-10-25T00:50:00Z"),
            ("2026-10-25T02:10:00", "2026-10-25T01:10:00Z"),
            ("2026-10-25T02:50:00", "2026-10-25T01:50:00Z"),
            ("2026-10-25T03:10:00", "2026-10-25T02:10:00Z"),
            ("2027-03-28T01:59:59", "2027-03-28T00:59:59Z"),
            ("2027-03-28T03:00:00", "2027-03-28T01:00:00Z"),
        ];
        for zone in [Zone::Auto, "Europe/Berlin".parse().unwrap()] {
            for (text, instant) in story {
                let clock = zone.clock(unix(instant) + 3, local(text));
                assert_eq!(clock.past(local(text)), unix(instant), "{zone:?} {text}");
            }
        }
    }

    #[test]
    fn a_future_time_in_the_repeated_hour_is_the_first_one_still_to_come() {
        let clock =
            "Europe/Berlin".parse::<Zone>().unwrap().clock(unix("2026-10-25T00:00:00Z"), local("2026-10-25T02:00:00"));
        let until = local("2026-10-25T02:30:00");
        assert_eq!(clock.future(until, unix("2026-10-25T00:00:00Z")), unix("2026-10-25T00:30:00Z"));
        assert_eq!(clock.future(until, unix("2026-10-25T00:45:00Z")), unix("2026-10-25T01:30:00Z"));
    }

    #[test]
    fn a_zone_is_auto_or_an_iana_name() {
        assert_eq!("auto".parse::<Zone>(), Ok(Zone::Auto));
        assert!(matches!("Asia/Kathmandu".parse::<Zone>(), Ok(Zone::Fixed(_))));
        for text in ["", "Berlin", "GMT+25"] {
            assert_eq!(text.parse::<Zone>(), Err(UnknownZone(text.to_owned())));
        }
    }
}
