-- Sums of days that are over, so that a report of a year adds up days in place of problems (ADR 17). Derived from
-- problem_intervals and problem_times once a day, and only believed while they are true to them: who changes one of those takes
-- back the spans that it touches, in the same transaction.

-- What sums are of: hosts, groups, and the values of each tag.
CREATE TABLE rollup_keys (
    id     integer PRIMARY KEY,
    series text COLLATE "C" NOT NULL,               -- host | group | all | tag + space + its name
    key    text COLLATE "C" NOT NULL,               -- host, group, the tag's value; empty for all
    UNIQUE (series, key)
);

-- Days, one by one and 32 together, whose sums were made.
CREATE TABLE rollup_spans (
    span  smallint NOT NULL,                        -- how many days: 1 or 32
    day   integer NOT NULL,                         -- the first, a multiple of span; days since 1970-01-01 UTC
    down  boolean NOT NULL,                         -- rollup_down is true to problem_intervals
    times boolean NOT NULL,                         -- rollup_times is true to problem_times
    PRIMARY KEY (span, day)
);

-- Seconds with a problem of this severity or worse: all of them, and those outside of planned times (maintenance, suppressed).
CREATE TABLE rollup_down (
    span        smallint NOT NULL,
    day         integer NOT NULL,
    series      text COLLATE "C" NOT NULL,
    key         integer NOT NULL,                   -- rollup_keys.id
    down_0      integer NOT NULL,
    down_1      integer NOT NULL,
    down_2      integer NOT NULL,
    down_3      integer NOT NULL,
    down_4      integer NOT NULL,
    down_5      integer NOT NULL,
    unplanned_0 integer NOT NULL,
    unplanned_1 integer NOT NULL,
    unplanned_2 integer NOT NULL,
    unplanned_3 integer NOT NULL,
    unplanned_4 integer NOT NULL,
    unplanned_5 integer NOT NULL,
    PRIMARY KEY (span, day, series, key)
);

-- Problems that were opened in a span and were of this severity or worse at some time. Durations as a histogram: values (seconds, within 1 %)
-- and how often each.
CREATE TABLE rollup_times (
    span                smallint NOT NULL,
    day                 integer NOT NULL,
    series              text COLLATE "C" NOT NULL,  -- not of hosts: those have few problems
    key                 integer NOT NULL,
    severity            smallint NOT NULL,
    problems            bigint NOT NULL,
    acknowledge_sum     bigint NOT NULL,            -- seconds
    acknowledge_seconds bigint[] NOT NULL,
    acknowledge_counts  bigint[] NOT NULL,
    recover_sum         bigint NOT NULL,
    recover_seconds     bigint[] NOT NULL,
    recover_counts      bigint[] NOT NULL,
    PRIMARY KEY (span, day, series, severity, key)
);

-- Times to respond of a page of hosts.
CREATE INDEX problem_times_by_subject ON problem_times (subject, opened);
