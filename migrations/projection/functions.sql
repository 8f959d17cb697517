-- What the views of `fleet` derive by. Pure functions of their arguments, plain enough for the planner to inline.

-- A JSON pointer (RFC 6901) as the path that `#>` takes. The escapes must be undone after the pointer is split, so a
-- control character stands for the slashes meanwhile.
CREATE OR REPLACE FUNCTION fleet.pointer_path(pointer text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE pointer
               WHEN '' THEN '{}'::text[]
               WHEN '/' THEN ARRAY['']
               ELSE string_to_array(
                   replace(replace(replace(substr(pointer, 2), '/', E'\x01'), '~1', '/'), '~0', '~'), E'\x01')
           END;

-- A JSON number; null for anything else.
CREATE OR REPLACE FUNCTION fleet.number_of(value jsonb) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END;

-- A JSON boolean; null for anything else.
CREATE OR REPLACE FUNCTION fleet.boolean_of(value jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(value) = 'boolean' THEN value::boolean END;

-- Whether evidence of presence is newer than a tombstone, both by order key; without a tombstone it always is.
CREATE OR REPLACE FUNCTION fleet.outlives(
    at timestamptz, sequence bigint, id uuid,
    gone_at timestamptz, gone_sequence bigint, gone_id uuid
) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN at IS NOT NULL AND (gone_at IS NULL OR (at, sequence, id) > (gone_at, gone_sequence, gone_id));

-- Whether a device is online, by the first rule that matches, and on what grounds. Its twin in Rust is
-- `projector::connectivity`.
--
-- `evidence` is the newest sign of life: `reading`, `log`, `state`, `firmware`, `provider` (the provider's own last
-- report) or `connect`; with it whether that was reported, observed or inferred. Instants are compared together with
-- the sequence of their events; a disconnect wins a tie. A missing or empty session matches any.
CREATE OR REPLACE FUNCTION fleet.connectivity_of(
    as_of timestamptz,
    evidence text, evidence_at timestamptz, evidence_sequence bigint, evidence_basis text,
    connected_at timestamptz, connected_sequence bigint, connected_session text,
    disconnected_at timestamptz, disconnected_sequence bigint, disconnected_session text, disconnected_basis text,
    online_interval interval, offline_timeout interval,
    listened_until timestamptz
) RETURNS TABLE (connectivity text, basis text, grounds text, grounds_at timestamptz)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
               WHEN evidence_at IS NULL THEN 'never_seen'
               WHEN told.offline THEN 'offline'
               WHEN told.silent_for <= online_interval THEN 'online'
               WHEN told.silent_for <= offline_timeout THEN 'late'
               WHEN listened_until - evidence_at > offline_timeout THEN 'offline'
               ELSE 'unknown'
           END,
           CASE
               WHEN evidence_at IS NULL THEN 'inferred'
               WHEN told.offline THEN disconnected_basis
               WHEN told.silent_for <= online_interval THEN evidence_basis
               ELSE 'inferred'
           END,
           CASE WHEN told.offline THEN 'disconnect' ELSE evidence END,
           CASE WHEN told.offline THEN disconnected_at ELSE evidence_at END
      FROM (
        SELECT coalesce(
                   (disconnected_at, disconnected_sequence) >= (evidence_at, evidence_sequence)
                   AND (connected_at IS NULL
                        OR (disconnected_at, disconnected_sequence) >= (connected_at, connected_sequence))
                   AND coalesce(nullif(disconnected_session, '') = nullif(connected_session, ''), true),
                   false) AS offline,
               as_of - evidence_at AS silent_for
      ) told;
END;
