use signalbox_messages::Suppression;

use crate::payload::parse_date_time;
use crate::zone::Clock;

/// What `{EVENT.UPDATE.ACTION}` says about suppression; `at` is the time of the update in unix seconds.
///
/// Zabbix joins what one update did with `, ` and a last ` and `: `acknowledged, commented and suppressed until
/// 2026.11.21 09:17:23`. The parts: `acknowledged`, `unacknowledged`, `commented`, `changed severity from X to Y`,
/// `closed`, `suppressed until DATE TIME`, `suppressed indefinitely`, `unsuppressed`. (A severity renamed to something
/// like "bad and unsuppressed" would be misread.)
pub(crate) fn suppression(action: &str, at: i64, clock: &Clock) -> Option<Suppression> {
    action.split(", ").flat_map(|part| part.split(" and ")).filter_map(|part| read(part.trim(), at, clock)).last()
}

fn read(part: &str, at: i64, clock: &Clock) -> Option<Suppression> {
    if part == "unsuppressed" {
        return Some(Suppression { suppressed: false, until: None });
    }
    // a word of its own: "unsuppressed" has "suppressed" in it
    let rest = part.strip_prefix("suppressed")?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let until = rest.strip_prefix(" until ").and_then(parse_date_time).map(|local| clock.future(local, at));
    Some(Suppression { suppressed: true, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppression_is_read_from_whole_words_of_the_action() {
        let at = 1_795_249_043; // 2026-11-21 08:17:23 UTC
        let suppressed = |until| Some(Suppression { suppressed: true, until });
        let cases = [
            ("suppressed until 2026.11.21 09:17:23", suppressed(Some(at + 3_600))),
            ("suppressed indefinitely", suppressed(None)),
            ("unsuppressed", Some(Suppression { suppressed: false, until: None })),
            ("acknowledged, commented and suppressed until 2026.11.21 09:17:23", suppressed(Some(at + 3_600))),
            ("commented, changed severity from High to Disaster and suppressed indefinitely", suppressed(None)),
            ("acknowledged, commented and unsuppressed", Some(Suppression { suppressed: false, until: None })),
            ("suppressed until tomorrow", suppressed(None)),
            ("acknowledged and commented", None),
            ("changed severity from suppressed to unsuppressed", None),
            ("suppressedly", None),
            ("", None),
        ];
        for (action, expected) in cases {
            assert_eq!(suppression(action, at, &Clock::Offset(0)), expected, "{action}");
        }
    }

    #[test]
    fn the_end_of_a_suppression_is_in_the_zone_of_the_other_times() {
        let action = "suppressed until 2026.11.21 10:17:23";
        let read = suppression(action, 1_795_249_043, &Clock::Offset(3_600)).unwrap();
        assert_eq!(read.until, Some(1_795_249_043 + 3_600));
    }
}
