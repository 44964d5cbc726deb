-- The record of what Zabbix said, and what follows from it.
--
-- No sequences and no identity columns: nextval() pins a session behind a pooling proxy, and every row here has a key of its
-- own from Zabbix or from the message. Text that is a key compares bytewise (COLLATE "C"): the order of pages and of row locks
-- must not depend on the server's locale.

-- Every message, once: append-only. All other tables follow from this one.
CREATE TABLE status_events (
    id          text COLLATE "C" PRIMARY KEY,       -- message id: the idempotency key
    event_id    text COLLATE "C" NOT NULL,          -- the problem's event id
    kind        text NOT NULL,                      -- problem | update | recovery | internal (no CHECK: a new kind must not need a migration first)
    problem     boolean NOT NULL,                   -- {EVENT.VALUE}
    at          timestamptz NOT NULL,               -- when it became true
    host_id     text NOT NULL,
    host        text COLLATE "C" NOT NULL,          -- technical name
    groups      text[] NOT NULL,
    name        text NOT NULL,
    severity    smallint NOT NULL CHECK (severity BETWEEN 0 AND 5),
    payload     jsonb NOT NULL,                     -- the whole message (signalbox_messages::StatusChanged)
    accepted_at timestamptz NOT NULL,               -- when the webhook accepted it
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- History: newest first, pages by (at, id).
CREATE INDEX status_events_by_time ON status_events (at DESC, id DESC);
CREATE INDEX status_events_by_host ON status_events (host, at DESC, id DESC);
CREATE INDEX status_events_by_group ON status_events USING gin (groups);
-- All that happened to one problem.
CREATE INDEX status_events_by_problem ON status_events (event_id, at);

-- What the messages of each problem add up to; the columns beside `body` are for WHERE and ORDER BY.
CREATE TABLE problems (
    event_id    text COLLATE "C" PRIMARY KEY,
    version     bigint NOT NULL,                    -- grows with every stored change
    kind        text NOT NULL,                      -- problem | internal
    state       text NOT NULL,                      -- open | resolved
    severity    smallint NOT NULL,
    host_id     text NOT NULL,
    opened_at   timestamptz NOT NULL,
    resolved_at timestamptz,
    body        jsonb NOT NULL,                     -- signalbox_zabbix::Problem
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX problems_open ON problems (severity DESC, opened_at DESC, event_id DESC) WHERE state = 'open';
CREATE INDEX problems_by_host ON problems (host_id, opened_at DESC);

-- Hosts as the newest message about them says: greatest (seen_at, seen_in) wins, whatever order messages come in.
CREATE TABLE hosts (
    id      text COLLATE "C" PRIMARY KEY,           -- Zabbix host id
    host    text COLLATE "C" NOT NULL,              -- technical name; not unique: a deleted host's name can come back under a new id
    name    text NOT NULL,                          -- visible name
    seen_at timestamptz NOT NULL,
    seen_in text COLLATE "C" NOT NULL               -- message id
);

CREATE INDEX hosts_by_host ON hosts (host);

CREATE TABLE host_groups (
    name text COLLATE "C" PRIMARY KEY               -- with its path, "Site A/Web servers"
);

-- Messages name the groups of all hosts of a trigger: for a trigger over several hosts this is a superset.
CREATE TABLE host_group_members (
    host_id    text COLLATE "C" NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    group_name text COLLATE "C" NOT NULL REFERENCES host_groups (name) ON DELETE CASCADE,
    PRIMARY KEY (host_id, group_name)
);

CREATE INDEX host_group_members_by_group ON host_group_members (group_name);
