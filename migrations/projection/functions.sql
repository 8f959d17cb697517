-- What the views of `fleet` derive by. Pure functions of their arguments, plain enough for the planner to inline.

-- A JSON pointer (RFC 6901) as the path that `#>` takes. The escapes must be undone after the pointer is split, so a
-- control character stands for the slashes meanwhile; most have none.
CREATE OR REPLACE FUNCTION fleet.pointer_path(pointer text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
               WHEN pointer = '/' THEN ARRAY['']
               WHEN strpos(pointer, '~') = 0 THEN string_to_array(substr(pointer, 2), '/')
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

-- The scalar that the first of several pointers finds in a document; a number is preferred to others. One row, of nulls
-- if there is none.
CREATE OR REPLACE FUNCTION fleet.found_in(document jsonb, pointers text[]) RETURNS TABLE (value jsonb, pointer text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    -- In the order of the pointers: that is how they are unnested.
    SELECT coalesce((array_agg(each.value) FILTER (WHERE each.kind = 'number'))[1],
                    (array_agg(each.value) FILTER (WHERE each.kind IN ('string', 'boolean')))[1]),
           coalesce((array_agg(each.pointer) FILTER (WHERE each.kind = 'number'))[1],
                    (array_agg(each.pointer) FILTER (WHERE each.kind IN ('string', 'boolean')))[1])
      FROM (
        SELECT found.value, found.pointer, jsonb_typeof(found.value) AS kind
          FROM (
            SELECT document #> fleet.pointer_path(p.pointer) AS value, p.pointer FROM unnest(pointers) p (pointer)
            OFFSET 0
          ) found
      ) each;
END;

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

-- Whether no cloud ever reports a field, so that it is ours alone.
CREATE OR REPLACE FUNCTION fleet.is_local_field(field text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN field IN ('name', 'notes', 'location');

-- Whether a field is one tag, as a boolean.
CREATE OR REPLACE FUNCTION fleet.is_tag_field(field text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN starts_with(field, 'tag:');

-- What names a boolean: UUIDv5 over its JSON, as the fold makes it.
CREATE OR REPLACE FUNCTION fleet.boolean_hash(value boolean) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN value THEN '34eda5b2-965a-5940-8b01-e5bd4410740f'::uuid
                ELSE '6ea78dca-20ac-51da-89fc-682c99515648'::uuid END;

-- What names the value that a missing one equals: `null`, or `false` for a tag.
CREATE OR REPLACE FUNCTION fleet.absent_hash(field text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN starts_with(field, 'tag:') THEN '6ea78dca-20ac-51da-89fc-682c99515648'::uuid
                ELSE 'e6a3602c-3da8-5175-b753-792f6159a9ef'::uuid END;

-- Whether the clouds of a provider take an edit of a field; where not, an edit that wins is an override here.
CREATE OR REPLACE FUNCTION fleet.provider_writes(provider text, field text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN provider = 'golioth'
           AND (field IN ('metadata', 'enabled', 'blueprint') OR starts_with(field, 'tag:'));

-- The id of a pending conflict: a replay opens no twin, and a value that flips back inherits no old decision.
CREATE OR REPLACE FUNCTION fleet.conflict_id(edit uuid, field text, remote_hash uuid) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(encode(sha256(convert_to(edit::text || '/' || field || '/' || remote_hash::text, 'UTF8')), 'hex'), 32);

-- The id of an identity conflict, from what it is about.
CREATE OR REPLACE FUNCTION fleet.identity_conflict_id(kind text, VARIADIC about text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(encode(sha256(convert_to(kind || E'\n' || array_to_string(about, E'\n', ''), 'UTF8')), 'hex'), 32);

-- How a field stands that was edited here, by the first rule that matches. Its twin in Rust is
-- `projector::fold::resolve`.
--
-- The base is what both sides last agreed on: the newer of what the edit's author saw and what a cloud took from us. An
-- observation that is no newer says nothing new: the cloud is taken to have the base's value. `answer` is the cloud's
-- answer to this edit, `accepted` the newest value it took of any edit of the field.
CREATE OR REPLACE FUNCTION fleet.resolve_field(
    field text, edit_hash uuid, strategy text,
    seen_hash uuid, seen_at timestamptz,
    accepted_hash uuid, accepted_at timestamptz,
    answer text, answer_at timestamptz,
    remote_hash uuid, remote_at timestamptz
) RETURNS TABLE (state text, shows text, base_from text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT decided.state,
           CASE
               WHEN decided.state IN ('local', 'settled', 'acknowledged', 'pending', 'kept') THEN 'edit'
               WHEN compared.is_newer THEN 'remote'
               ELSE 'base'
           END,
           CASE WHEN compared.took THEN 'accepted' ELSE 'seen' END
      FROM (
        SELECT common.took,
               common.hash AS base,
               remote_at > coalesce(common.at, '-infinity') IS TRUE AS is_newer,
               CASE WHEN remote_at > coalesce(common.at, '-infinity') THEN remote_hash ELSE common.hash END AS cloud
          FROM (
            SELECT either.took,
                   CASE WHEN either.took THEN accepted_hash
                        ELSE coalesce(seen_hash, fleet.absent_hash(field)) END AS hash,
                   CASE WHEN either.took THEN accepted_at ELSE seen_at END AS at
              FROM (SELECT accepted_at >= coalesce(seen_at, '-infinity') IS TRUE AS took) either
          ) common
      ) compared
     CROSS JOIN LATERAL (
        SELECT CASE
                   WHEN fleet.is_local_field(field) THEN 'local'
                   WHEN compared.cloud = edit_hash THEN
                       CASE WHEN answer = 'accepted' AND remote_at > answer_at IS NOT TRUE
                            THEN 'acknowledged' ELSE 'settled' END
                   WHEN answer = 'rejected' THEN 'rejected'
                   WHEN compared.cloud = compared.base THEN 'pending'
                   -- Only the cloud changed: it took the edit before, or the edit said nothing new.
                   WHEN answer = 'accepted' OR edit_hash = compared.base THEN 'superseded'
                   WHEN strategy = 'prefer_local' THEN 'kept'
                   WHEN strategy = 'prefer_remote' THEN 'lost'
                   ELSE 'conflict'
               END AS state
     ) decided;
END;
