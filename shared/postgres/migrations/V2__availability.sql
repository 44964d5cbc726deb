-- The record by months, and what availability and times to respond are read from.
--
-- status_events cannot become the partitioned table: its key, the message id alone, has no place for the month, and the code of V1
-- relies on it (ON CONFLICT (id)). So the record goes on under another name, with what there was; what V1's code still writes
-- is carried over by a trigger. A later migration drops status_events and the trigger.

-- Every message id once, over all months: the idempotency key. The same message can come with another time (one that
-- names no recovery has the time at which it was sent), so an index of each month by (id, at) would take it twice.
CREATE TABLE status_change_ids (
    id text COLLATE "C" PRIMARY KEY
);

-- Every message, once: append-only. All other tables follow from this one.
CREATE TABLE status_changes (
    id          text COLLATE "C" NOT NULL,          -- message id
    event_id    text COLLATE "C" NOT NULL,          -- the problem's event id
    kind        text NOT NULL,                      -- problem | update | recovery | internal | observed
    problem     boolean NOT NULL,                   -- {EVENT.VALUE}
    at          timestamptz NOT NULL,               -- when it became true
    -- What the message describes; where it describes nothing, what was known of the problem when it was recorded.
    host_id     text NOT NULL,
    host        text COLLATE "C" NOT NULL,          -- technical name
    groups      text[] NOT NULL,
    name        text NOT NULL,
    severity    smallint NOT NULL CONSTRAINT status_changes_severity_check CHECK (severity BETWEEN 0 AND 5),
    payload     jsonb NOT NULL,                     -- the whole message (signalbox_messages::StatusChanged)
    accepted_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- What it tells of its problem: the same for messages of several ways in about one change.
    fact        text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
                    CASE kind
                        WHEN 'problem' THEN 'problem'
                        WHEN 'recovery' THEN 'recovery'         -- an event id never opens again
                        WHEN 'internal' THEN CASE WHEN problem THEN 'unknown' ELSE 'normal' END
                        WHEN 'update' THEN coalesce('update ' || (payload ->> 'seq'), id)
                        ELSE id
                    END) STORED,
    -- History: newest first, pages by (at, id).
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);

CREATE INDEX status_changes_by_host ON status_changes (host, at DESC, id DESC);
CREATE INDEX status_changes_by_group ON status_changes USING gin (groups);
-- All that happened to one problem.
CREATE INDEX status_changes_by_problem ON status_changes (event_id, fact);

-- What no month has: times far off, and what is kept of dropped months because its problem is still open.
CREATE TABLE status_changes_other PARTITION OF status_changes DEFAULT;

-- Makes the partition of the month that begins on this day (UTC); false if it is there.
CREATE FUNCTION status_changes_make(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    part text := 'status_changes_' || to_char(month, 'YYYY_MM');
    begins timestamptz := month::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (month + interval '1 month')::timestamp AT TIME ZONE 'UTC';
    columns text := 'id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at, recorded_at';
BEGIN
    -- Two at once wait for each other here, and nobody adds to it what belongs into the new month.
    LOCK TABLE status_changes_other IN ACCESS EXCLUSIVE MODE;
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE status_changes INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)', part);
    EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM status_changes_other WHERE at >= $1 AND at < $2', part, columns, columns)
        USING begins, ends;
    DELETE FROM status_changes_other WHERE at >= begins AND at < ends;
    EXECUTE format('ALTER TABLE status_changes ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, begins, ends);
    RETURN true;
END $$;

-- Drops a month with its message ids, but for what belongs to problems that are open or ended at `keep` or later: that moves
-- to status_changes_other.
CREATE FUNCTION status_changes_drop(part text, keep timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    columns text := 'id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at, recorded_at';
    needed text := 'EXISTS (SELECT FROM problems AS p WHERE p.event_id = c.event_id AND (p.state = ''open'' OR p.resolved_at >= $1))';
BEGIN
    -- First what takes long: the next statement locks everybody out.
    EXECUTE format('DELETE FROM status_change_ids AS i USING %I AS c WHERE i.id = c.id AND NOT %s', part, needed) USING keep;
    EXECUTE format('ALTER TABLE status_changes DETACH PARTITION %I', part);
    EXECUTE format('INSERT INTO status_changes_other (%s) SELECT %s FROM %I AS c WHERE %s', columns, columns, part, needed) USING keep;
    EXECUTE format('DROP TABLE %I', part);
END $$;

-- What a problem's seconds are counted for: its host, groups and tags, each combination once.
CREATE TABLE problem_subjects (
    id      bigint PRIMARY KEY,                     -- of the content: the first 8 bytes of its SHA-256
    host_id text COLLATE "C" NOT NULL,
    host    text COLLATE "C" NOT NULL,              -- technical name: what a connector knows a host by
    groups  text[] COLLATE "C" NOT NULL,
    tags    jsonb NOT NULL                          -- [{tag, value}]
);

CREATE INDEX problem_subjects_by_host ON problem_subjects (host);

-- How each problem went, in stretches in which nothing changed (signalbox_zabbix::Course). Derived from status_changes in the
-- transaction that records a message, and written only where it differs. Times are unix seconds: they are added up.
CREATE TABLE problem_intervals (
    event_id    text COLLATE "C" NOT NULL,
    began       bigint NOT NULL,
    ended       bigint NOT NULL,                    -- exclusive; 9223372036854775807 while the problem is open
    severity    smallint NOT NULL,
    maintenance boolean NOT NULL,
    suppressed  boolean NOT NULL,                   -- by hand
    unmonitored boolean NOT NULL,
    subject     bigint NOT NULL,
    PRIMARY KEY (event_id, began)
);

-- A window meets the short ones that begin in it or within a day before it, and long ones: those are few, also if all that ended
-- after its begin are looked at. An interval that is open is long.
CREATE INDEX problem_intervals_short ON problem_intervals (severity, began)
    INCLUDE (ended, subject, maintenance, suppressed, unmonitored) WHERE ended <= began + 86400;
CREATE INDEX problem_intervals_long ON problem_intervals (severity, ended)
    INCLUDE (began, subject, maintenance, suppressed, unmonitored) WHERE ended > began + 86400;
CREATE INDEX problem_intervals_by_subject ON problem_intervals (subject, began);

-- When each problem began, was first taken and recovered; derived as problem_intervals is.
CREATE TABLE problem_times (
    event_id     text COLLATE "C" PRIMARY KEY,
    opened       bigint NOT NULL,                   -- unix seconds, as the others
    acknowledged bigint,
    recovered    bigint,                            -- absent also where nobody saw it recover
    severity     smallint NOT NULL,                 -- the worst it was
    subject      bigint NOT NULL
);

CREATE INDEX problem_times_by_opening ON problem_times (severity, opened) INCLUDE (acknowledged, recovered, subject);

-- What is forgotten when its months are.
CREATE INDEX problems_by_end ON problems (resolved_at) WHERE state = 'resolved';

-- Problems whose course is yet to be derived: those of V1, and what its code still records.
CREATE TABLE problems_to_derive (
    event_id text COLLATE "C" PRIMARY KEY
);

LOCK TABLE status_events IN SHARE ROW EXCLUSIVE MODE;

-- Months from the first event on, at most three years back (what is older stays in status_changes_other), to two ahead.
SELECT status_changes_make(month::date)
FROM generate_series(
    date_trunc('month', greatest(
        (SELECT coalesce(min(at), now()) FROM status_events WHERE at > now() - interval '3 years'), now() - interval '3 years'
    ) AT TIME ZONE 'UTC'),
    date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months',
    interval '1 month') AS month;

INSERT INTO status_change_ids SELECT id FROM status_events;
INSERT INTO status_changes (id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at, recorded_at)
SELECT id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at, recorded_at FROM status_events;
INSERT INTO problems_to_derive SELECT event_id FROM problems;

CREATE FUNCTION status_events_go_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change_ids VALUES (NEW.id) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        INSERT INTO status_changes (id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at, recorded_at)
        VALUES (NEW.id, NEW.event_id, NEW.kind, NEW.problem, NEW.at, NEW.host_id, NEW.host, NEW.groups, NEW.name, NEW.severity,
                NEW.payload, NEW.accepted_at, NEW.recorded_at);
        INSERT INTO problems_to_derive VALUES (NEW.event_id) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER status_events_go_on AFTER INSERT ON status_events FOR EACH ROW EXECUTE FUNCTION status_events_go_on();
