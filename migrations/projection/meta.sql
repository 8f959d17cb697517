-- What projectors keep besides the truth: which generation is which, who owns a partition, how far it has come.
-- Not a function of the events; outside every digest.

CREATE SCHEMA IF NOT EXISTS projection_meta;

CREATE TABLE IF NOT EXISTS projection_meta.generations (
    generation   text        PRIMARY KEY CHECK (generation ~ '^gen_[0-9]+$'),
    state        text        NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    fold_version integer     NOT NULL,
    log_id       text,       -- bound by the first projector that writes it
    partitions   integer,
    created_at   timestamptz NOT NULL DEFAULT now(),
    changed_at   timestamptz NOT NULL DEFAULT now() -- since when it is in its state
);
CREATE UNIQUE INDEX IF NOT EXISTS generations_one_active
    ON projection_meta.generations ((true)) WHERE state = 'active';
-- Those that were made before that was kept. Asked first: to alter a table is to wait for whoever reads it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                    WHERE attrelid = 'projection_meta.generations'::regclass AND attname = 'changed_at')
    THEN
        ALTER TABLE projection_meta.generations ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();
    END IF;
END
$$;

-- The next offset to fold. Advanced by compare-and-set, first in the transaction that writes the rows.
CREATE TABLE IF NOT EXISTS projection_meta.offsets (
    generation  text    NOT NULL REFERENCES projection_meta.generations ON DELETE CASCADE,
    topic       text    NOT NULL, -- suffix, e.g. device-events.v1
    partition   integer NOT NULL,
    log_id      text    NOT NULL,
    next_offset bigint  NOT NULL CHECK (next_offset >= 0),
    owner_epoch bigint  NOT NULL,
    owner       text    NOT NULL, -- for people: host and process of the newest owner
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, topic, partition)
) WITH (fillfactor = 50);

-- The Kafka partitions that a rebuild has loaded: written with their rows, so that one that was killed goes on.
CREATE TABLE IF NOT EXISTS projection_meta.loaded (
    generation text    NOT NULL REFERENCES projection_meta.generations ON DELETE CASCADE,
    partition  integer NOT NULL,
    n_events   bigint  NOT NULL, -- events that were folded
    n_rows     jsonb   NOT NULL, -- rows that were written, by table
    PRIMARY KEY (generation, partition)
);

-- What a rebuild remembers of the generation that it fills, so that another run goes on where it was stopped or killed.
-- A generation in state `building` without a row here is what was left by one that was killed before it had begun.
CREATE TABLE IF NOT EXISTS projection_meta.rebuilds (
    generation   text        PRIMARY KEY REFERENCES projection_meta.generations ON DELETE CASCADE,
    owner        text        NOT NULL, -- for people: host and process that were last at work on it
    phase        text        NOT NULL,
    from_offsets jsonb       NOT NULL, -- {"topic/partition": offset}: the first that is read
    to_offsets   jsonb       NOT NULL, -- the same: the one after the last that is loaded
    loaded       jsonb,                -- what loading came to, once that has ended
    proof        jsonb,                -- what the newest comparison with the live generation came to
    difference   text,                 -- the digest by which that difference can be accepted; null if there is none
    began_at     timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

-- The newest checkpoint of each partition of readings: a note for schedules and metrics. What counts is in the log.
CREATE TABLE IF NOT EXISTS projection_meta.checkpoints (
    log_id    text        NOT NULL,
    partition integer     NOT NULL,
    covered   bigint      NOT NULL, -- the offset of readings up to which registers are in the log
    taken_at  timestamptz NOT NULL,
    PRIMARY KEY (log_id, partition)
);

-- Records of the log that made no rows in a generation: they are no events of ours, or Postgres refuses what they say.
-- Written with the position after them. Those that were folded after all stay, and say when.
CREATE TABLE IF NOT EXISTS projection_meta.dead_letters (
    generation    text        NOT NULL REFERENCES projection_meta.generations ON DELETE CASCADE,
    log_id        text        NOT NULL,
    topic         text        NOT NULL, -- suffix, e.g. device-events.v1
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    reason        text        NOT NULL, -- stable and few: undecodable, refused_data, refused_constraint
    detail        text        NOT NULL, -- for people
    sqlstate      text,
    event_id      uuid,        -- what follows is known of events, not of what is none
    event_name    text,
    subject       text,
    organization  uuid,
    integration   uuid,
    recorded_at   timestamptz,
    record_key    bytea,       -- the record itself, while it waits and unless it is longer than 256 KiB: the log's may expire
    header_names  text[],
    header_values bytea[],
    record_value  bytea,
    set_aside_at  timestamptz NOT NULL DEFAULT now(),
    attempts      integer     NOT NULL DEFAULT 1,
    failed_at     timestamptz NOT NULL DEFAULT now(),
    redriven_at   timestamptz, -- since when its rows are there; null while it waits
    redriven_by   text,
    PRIMARY KEY (generation, topic, partition, record_offset)
);

-- Surveys: all devices looked at once, now and then. What is true at one moment only cannot be looked up by index, and
-- to derive it of a million devices takes seconds; so whoever may be answered as of a moment ago reads this.
CREATE TABLE IF NOT EXISTS projection_meta.surveys (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row), -- the newest one
    as_of      timestamptz NOT NULL,
    n_devices  bigint      NOT NULL,
    good_until timestamptz NOT NULL -- until when fleet.summary shows what it found; after that it looks for itself
);

-- How each device stood.
CREATE TABLE IF NOT EXISTS projection_meta.standing (
    device       uuid PRIMARY KEY,
    organization uuid NOT NULL,
    serial       text NOT NULL,
    connectivity text NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS standing_by_connectivity
    ON projection_meta.standing (organization, connectivity, serial, device);

-- What fleet.summary says of each organization.
CREATE TABLE IF NOT EXISTS projection_meta.summaries (
    organization       uuid   PRIMARY KEY,
    devices            bigint NOT NULL,
    online             bigint NOT NULL,
    late               bigint NOT NULL,
    offline            bigint NOT NULL,
    unknown            bigint NOT NULL,
    never_seen         bigint NOT NULL,
    provider_devices   bigint NOT NULL,
    unidentified       bigint NOT NULL,
    identity_conflicts bigint NOT NULL,
    newest_event_at    timestamptz,
    conflicts          bigint NOT NULL
);

DO $$
DECLARE
    surveyed text;
BEGIN
    FOREACH surveyed IN ARRAY ARRAY['standing', 'summaries'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_policies
                               WHERE schemaname = 'projection_meta' AND tablename = surveyed);
        EXECUTE format('ALTER TABLE projection_meta.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', surveyed);
        EXECUTE format('CREATE POLICY projector_writes ON projection_meta.%I TO fleetlog_projector '
                       'USING (true) WITH CHECK (true)', surveyed);
        EXECUTE format('CREATE POLICY all_organizations ON projection_meta.%I FOR SELECT TO fleetlog_operator '
                       'USING (true)', surveyed);
        EXECUTE format('CREATE POLICY own_organization ON projection_meta.%I FOR SELECT TO fleetlog_api '
                       'USING (organization = nullif(current_setting(''fleetlog.organization'', true), '''')::uuid)',
                       surveyed);
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA projection_meta TO fleetlog_api;
GRANT SELECT ON projection_meta.standing, projection_meta.summaries, projection_meta.surveys
    TO fleetlog_operator, fleetlog_api;

-- For operators: what is folded how far. Nothing of this belongs to an organization, so `fleetlog_api` sees none of it.
GRANT USAGE ON SCHEMA projection_meta TO fleetlog_operator;
GRANT SELECT ON projection_meta.checkpoints, projection_meta.dead_letters, projection_meta.generations,
                projection_meta.offsets, projection_meta.rebuilds
    TO fleetlog_operator;
