-- The truth tables of one generation, created with its schema first on the search path: columns and checks only.
-- Their keys and indexes are in keys.sql, so that a rebuild may load rows first.
--
-- Every row is a join of events: a max- or min-register, or a fact. Any permutation, duplication or partition of the
-- same events ends in the same rows. (at, sequence, id) is the order key of the event a register holds.
-- `provider_device` is UUIDv5(integration, 'id:…' or 'name:…').

CREATE TABLE provider_devices (
    id                     uuid        NOT NULL,
    organization           uuid        NOT NULL,
    integration            uuid        NOT NULL,
    known_by               text        NOT NULL CHECK (known_by IN ('id', 'name')),
    external_id            text        NOT NULL,
    -- Newest name; a null name with a key was observed as absent.
    name                   text,
    name_at                timestamptz,
    name_sequence          bigint,
    name_id                uuid,
    -- First name recorded: the least (recorded_at, id).
    first_name             text,
    first_name_recorded_at timestamptz,
    first_name_id          uuid,
    -- Newest explicit binding.
    bound_device           uuid,
    bound_at               timestamptz,
    bound_sequence         bigint,
    bound_id               uuid,
    -- Newest tombstone.
    gone_how               text,
    gone_at                timestamptz,
    gone_sequence          bigint,
    gone_id                uuid,
    -- Newest evidence of presence among registry events; activity holds what readings and connects give.
    seen_at                timestamptz,
    seen_sequence          bigint,
    seen_id                uuid
) WITH (fillfactor = 70);

CREATE TABLE field_registers (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    field           text        NOT NULL,
    value           jsonb       NOT NULL,
    value_hash      uuid        NOT NULL, -- of the canonical JSON: equal hashes are equal values
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL
);

CREATE TABLE activity (
    provider_device        uuid        NOT NULL,
    organization           uuid        NOT NULL,
    integration            uuid        NOT NULL,
    -- Newest reading, log, state or firmware report, or the provider's own last report.
    last_report_by         text CHECK (last_report_by IN ('reading', 'log', 'state', 'firmware', 'provider')),
    last_report_origin     text,
    last_report_at         timestamptz,
    last_report_sequence   bigint,
    last_report_id         uuid,
    -- Newest connect, reported or observed as a session's start.
    connected_session      text,
    connected_evidence     text,
    connected_at           timestamptz,
    connected_sequence     bigint,
    connected_id           uuid,
    -- Newest disconnect.
    disconnected_session   text,
    disconnected_evidence  text,
    disconnected_reason    text,
    disconnected_at        timestamptz,
    disconnected_sequence  bigint,
    disconnected_id        uuid
) WITH (fillfactor = 70);

CREATE TABLE connections (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    at              timestamptz NOT NULL,
    connected       boolean     NOT NULL,
    session_id      text        NOT NULL, -- '' where none was said
    -- Of the copies of one fact the least (sequence, id) gives these; recorded_at is the least receipt.
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL,
    reason          text,
    evidence        text        NOT NULL,
    recorded_at     timestamptz NOT NULL
);

CREATE TABLE firmware_reports (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    package         text        NOT NULL,
    at              timestamptz NOT NULL,
    fact            uuid        NOT NULL, -- UUIDv5 over version, target, state and reason
    version         text        NOT NULL, -- '' where none was said
    target          text        NOT NULL,
    state           text        NOT NULL,
    reason          text        NOT NULL,
    -- Of the copies of one fact the least (sequence, id) gives these; recorded_at is the least receipt.
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL,
    state_code      integer,
    reason_code     integer,
    via             text,
    recorded_at     timestamptz NOT NULL
);

CREATE TABLE readings_latest (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    path            text        NOT NULL,
    shape           uuid        NOT NULL, -- UUIDv5 over the sorted leaf pointers of the payload
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL,
    recorded_at     timestamptz NOT NULL,
    content_type    text,
    data            jsonb,
    bytes           bytea
) WITH (fillfactor = 70);

CREATE TABLE readings (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    path            text        NOT NULL,
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL,
    recorded_at     timestamptz NOT NULL,
    content_type    text,
    data            jsonb,
    bytes           bytea,
    origin          text,        -- null: pushed
    device_name     text,        -- the name its event said, as said; on the event's first row only
    name_at         timestamptz  -- the event's own at, where it names the provider device
) PARTITION BY RANGE (at);
-- Rows of no day that can have a partition. Attached with the keys, so that days can be made while it is written.
CREATE TABLE readings_default (LIKE readings INCLUDING ALL);

CREATE TABLE logs (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL,
    recorded_at     timestamptz NOT NULL,
    level           text,
    module          text,
    message         text        NOT NULL,
    metadata        jsonb,
    origin          text,        -- null: pushed
    device_name     text,        -- the name its event said, as said; on the event's first row only
    name_at         timestamptz  -- the event's own at, where it names the provider device
) PARTITION BY RANGE (at);
CREATE TABLE logs_default (LIKE logs INCLUDING ALL);

-- Makes one day (UTC) of a history, unless it is there. Whoever writes rows owns no tables, so this runs with their
-- owner's rights. Attaching does not keep others from writing; the default partition holds no such day, since every
-- day within the range is made before its first row comes.
CREATE FUNCTION make_day(history text, day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
    AS $$
DECLARE
    partition text := format('%s_%s', history, to_char(day, 'YYYYMMDD'));
BEGIN
    IF history NOT IN ('readings', 'logs') OR day < '2020-01-01' OR day >= '2100-01-01' THEN
        RAISE EXCEPTION '% has no partition for %', history, day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '.' || partition, 0));
    IF to_regclass(format('%I.%I', current_schema(), partition)) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition, history);
        -- A day that was dropped behind its horizon, for rows that came late: what went to the default partition
        -- meanwhile is behind the horizon as well.
        IF EXISTS (SELECT FROM horizons h WHERE h.history = make_day.history AND h.before >= (day + 1)::timestamptz) THEN
            EXECUTE format('DELETE FROM %I WHERE at >= %L AND at < %L',
                           history || '_default', day::timestamptz, (day + 1)::timestamptz);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       history, partition, day::timestamptz, (day + 1)::timestamptz);
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION make_day FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_day TO fleetlog_projector;

-- The days (UTC) of a history that have a partition, and when each ends.
CREATE FUNCTION days(history text) RETURNS TABLE (day date, ends_at timestamptz)
    LANGUAGE sql STABLE
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
    AS $$
    SELECT found.day, (found.day + 1)::timestamptz
      FROM (SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
              FROM pg_catalog.pg_inherits i
              JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = to_regclass(format('%I.%I', current_schema(), days.history))
               AND c.relname ~ '_[0-9]{8}$') found
$$;

-- Drops one day (UTC) of a history that lies behind its horizon whole. Says whether it was there. Whoever reads or
-- writes the history is not kept waiting: after two seconds this gives up.
CREATE FUNCTION drop_day(history text, day date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
    SET lock_timeout = '2s'
    AS $$
DECLARE
    partition text := format('%s_%s', history, to_char(day, 'YYYYMMDD'));
BEGIN
    IF NOT EXISTS (SELECT FROM horizons h WHERE h.history = drop_day.history AND h.before >= (day + 1)::timestamptz) THEN
        RAISE EXCEPTION 'the horizon of % does not lie behind %', history, day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '.' || partition, 0));
    IF to_regclass(format('%I.%I', current_schema(), partition)) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
    RETURN true;
END
$$;

-- Deletes what lies behind the horizon of a history and on no day that has a partition.
CREATE FUNCTION clear_default(history text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DECLARE
    cut timestamptz := (SELECT h.before FROM horizons h WHERE h.history = clear_default.history);
BEGIN
    IF cut IS NOT NULL AND history IN ('readings', 'logs') THEN
        EXECUTE format('DELETE FROM %I WHERE at < %L', history || '_default', cut);
    END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION days, drop_day, clear_default FROM PUBLIC;
GRANT EXECUTE ON FUNCTION days, drop_day, clear_default TO fleetlog_projector;

-- Every event about a provider device but readings and logs, whole: what was true at T, and what we had been told by
-- T. All registers can be joined again from these and the histories.
CREATE TABLE registry_facts (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    id              uuid        NOT NULL,
    name            text        NOT NULL, -- the event's name
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    recorded_at     timestamptz NOT NULL, -- the least receipt
    origin          text        NOT NULL,
    body            jsonb       NOT NULL
);

-- What we say of devices of ours.
CREATE TABLE local_facts (
    device          uuid        NOT NULL,
    organization    uuid        NOT NULL,
    id              uuid        NOT NULL,
    name            text        NOT NULL, -- the event's name
    serial          text,
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    recorded_at     timestamptz NOT NULL,
    author          text,
    body            jsonb       NOT NULL
);

-- Each change of a field by an edit, and each field of a registration. The newest by key is the current edit.
CREATE TABLE field_edits (
    device          uuid        NOT NULL,
    organization    uuid        NOT NULL,
    field           text        NOT NULL,
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL, -- the event
    value           jsonb       NOT NULL,
    value_hash      uuid        NOT NULL,
    -- What its author saw; a missing remote value is one that was never observed.
    seen_remote     jsonb,
    seen_hash       uuid,
    seen_remote_at  timestamptz,
    seen_edit       uuid,
    strategy        text        NOT NULL,
    resolves        text[]      NOT NULL, -- conflicts that it decides
    author          text        NOT NULL,
    reason          text,
    recorded_at     timestamptz NOT NULL
);

-- A cloud's newest answer to the push of an edit, by field.
CREATE TABLE edit_answers (
    device          uuid        NOT NULL,
    organization    uuid        NOT NULL,
    edit            uuid        NOT NULL,
    field           text        NOT NULL,
    outcome         text        NOT NULL CHECK (outcome IN ('accepted', 'rejected')),
    answer          jsonb,
    at              timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    id              uuid        NOT NULL
);

-- Where histories were cut. The truth of a history is its rows at or after its horizon; what is older is hidden by
-- views, left out of comparisons, and dropped day by day.
CREATE TABLE horizons (
    history         text        NOT NULL CHECK (history IN ('readings', 'logs')),
    before          timestamptz NOT NULL
);

-- Events whose `at` is their receipt although their content has an identity: the least of their copies counts.
CREATE TABLE receipt_timed (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    id              uuid        NOT NULL,
    at              timestamptz NOT NULL
);

-- When each integration was last heard. One row per Kafka partition, so that no two projectors write the same row.
CREATE TABLE listening (
    integration     uuid        NOT NULL,
    organization    uuid        NOT NULL,
    partition       integer     NOT NULL,
    last_push_at    timestamptz,          -- newest receipt of a push
    last_scan_at    timestamptz           -- newest start of a complete scan
) WITH (fillfactor = 50);

-- Which device a provider device is: derived from the registers, in the transaction that changed them.
CREATE TABLE links (
    provider_device uuid        NOT NULL,
    organization    uuid        NOT NULL,
    device          uuid        NOT NULL,
    via             text        NOT NULL CHECK (via IN ('bound', 'current_name', 'first_name', 'name', 'same_name'))
);

-- A row exists if and only if a link or a local fact does.
CREATE TABLE devices (
    id              uuid        NOT NULL,
    organization    uuid        NOT NULL,
    serial          text        NOT NULL, -- the current name; until one is known, the registered serial
    name            text,                 -- ours; null shows the serial
    registered_at   timestamptz,          -- null: seen in a cloud only
    retired_at      timestamptz           -- taken out of service, and not put back since
);

-- What links lock on: rows are never deleted, and hold nothing.
CREATE TABLE device_anchor (
    id uuid NOT NULL
);
