-- Fields that both a cloud and people here may speak of. Run like views.sql, after it.
--
-- Of each device two halves: fields that were edited here, and fields of which only a cloud spoke. A query that asks
-- for edits, or for a state that only edits have, is planned without the second half.

CREATE OR REPLACE VIEW fleet.device_fields WITH (security_invoker = true) AS
SELECT d.organization,
       d.id AS device,
       d.serial,
       f.*
  FROM devices d
 CROSS JOIN LATERAL (
    SELECT e.field,
           resolved.state,
           nullif(CASE resolved.shows WHEN 'edit' THEN e.value
                                      WHEN 'remote' THEN remote.value
                                      ELSE coalesce(base.value,
                                                    CASE WHEN fleet.is_tag_field(e.field) THEN to_jsonb(false) END)
                  END, 'null') AS value,
           nullif(remote.value, 'null') AS remote,
           remote.hash AS remote_hash,
           remote.at AS remote_at,
           remote.id AS remote_event,
           remote.provider_device AS remote_provider_device,
           remote.integration AS remote_integration,
           nullif(e.value, 'null') AS edit,
           e.id AS edit_event,
           e.at AS edit_at,
           e.author AS edit_author,
           e.reason AS edit_reason,
           e.strategy,
           nullif(base.value, 'null') AS base,
           base.at AS base_at,
           base.source AS base_from,
           answered.outcome AS answer,
           answered.at AS answer_at,
           answered.answer AS answer_body,
           CASE WHEN resolved.state = 'conflict' THEN fleet.conflict_id(e.id, e.field, remote.hash) END AS conflict,
           resolved.state IN ('pending', 'kept') AND EXISTS (
                SELECT FROM links l
                  JOIN provider_devices p ON p.id = l.provider_device AND p.known_by = 'id'
                  JOIN control.integration_policy policy ON policy.integration = p.integration
                 WHERE l.device = e.device AND fleet.provider_writes(policy.provider, e.field)) AS push_pending
      FROM field_edits e
      LEFT JOIN edit_answers answered
             ON answered.device = e.device AND answered.edit = e.id AND answered.field = e.field
     -- The newest value that a cloud took from us, of any edit of the field.
      LEFT JOIN LATERAL (
        SELECT x.value, x.value_hash AS hash, a.at
          FROM edit_answers a
          JOIN field_edits x ON x.device = a.device AND x.field = a.field AND x.id = a.edit
         WHERE a.device = e.device AND a.field = e.field AND a.outcome = 'accepted'
         ORDER BY a.at DESC, x.at DESC, x.sequence DESC, x.id DESC
         LIMIT 1
      ) accepted ON true
     -- Registers are read from the provider devices that are live, or from all if none is.
      LEFT JOIN LATERAL (
        SELECT coalesce(array_agg(p.id) FILTER (WHERE p.gone_at IS NULL), array_agg(p.id)) AS read_from,
               bool_and(p.gone_at IS NOT NULL) AS all_gone
          FROM fleet.provider_devices p
         WHERE p.device = e.device
      ) linked ON NOT fleet.is_local_field(e.field)
     -- What a cloud says. A tag is told of by the newest whole list, or by a word on that tag alone that is not older.
      LEFT JOIN LATERAL (
        SELECT CASE WHEN tag.field THEN to_jsonb(tag.present) ELSE r.value END AS value,
               CASE WHEN tag.field THEN fleet.boolean_hash(tag.present) ELSE r.value_hash END AS hash,
               r.at, r.id,
               t.integration || '/' || t.known_by || ':' || t.external_id AS provider_device,
               t.integration
          FROM unnest(linked.read_from) p (id)
          JOIN provider_devices t ON t.id = p.id
          JOIN field_registers r ON r.provider_device = t.id
                                AND r.field = ANY (CASE WHEN fleet.is_tag_field(e.field) THEN ARRAY[e.field, 'tags']
                                                        ELSE ARRAY[e.field] END)
         CROSS JOIN LATERAL (
            SELECT fleet.is_tag_field(e.field) AS field,
                   CASE WHEN r.field = 'tags'
                        THEN r.value @> jsonb_build_array(jsonb_build_object('id', substr(e.field, 5)))
                        ELSE coalesce(fleet.boolean_of(r.value -> 'present'), false) END AS present
         ) tag
         WHERE linked.all_gone
            OR fleet.outlives(r.at, r.sequence, r.id, t.gone_at, t.gone_sequence, t.gone_id)
         ORDER BY r.at DESC, r.sequence DESC, r.id DESC, r.field = 'tags'
         LIMIT 1
      ) remote ON true
     CROSS JOIN LATERAL fleet.resolve_field(
        e.field, e.value_hash, e.strategy,
        e.seen_hash, e.seen_remote_at,
        accepted.hash, accepted.at,
        answered.outcome, answered.at,
        remote.hash, remote.at
     ) resolved
     CROSS JOIN LATERAL (
        SELECT resolved.base_from AS source,
               CASE WHEN resolved.base_from = 'accepted' THEN accepted.value ELSE e.seen_remote END AS value,
               CASE WHEN resolved.base_from = 'accepted' THEN accepted.at ELSE e.seen_remote_at END AS at
     ) base
     -- The current edit of the field.
     WHERE e.device = d.id
       AND NOT EXISTS (
            SELECT FROM field_edits newer
             WHERE newer.device = e.device AND newer.field = e.field
               AND (newer.at, newer.sequence, newer.id) > (e.at, e.sequence, e.id))
    UNION ALL
    SELECT remote.field,
           'remote',
           nullif(remote.value, 'null'),
           nullif(remote.value, 'null'),
           remote.hash,
           remote.at,
           remote.id,
           remote.integration || '/' || remote.known_by || ':' || remote.external_id,
           remote.integration,
           NULL::jsonb, NULL::uuid, NULL::timestamptz, NULL::text, NULL::text, NULL::text,
           NULL::jsonb, NULL::timestamptz, NULL::text, NULL::text, NULL::timestamptz, NULL::jsonb,
           NULL::text,
           false
      FROM (
        SELECT coalesce(array_agg(p.id) FILTER (WHERE p.gone_at IS NULL), array_agg(p.id)) AS read_from,
               bool_and(p.gone_at IS NOT NULL) AS all_gone
          FROM fleet.provider_devices p
         WHERE p.device = d.id
     ) linked
     -- Each list of tags tells of every tag that any list or word on a single tag names.
     CROSS JOIN LATERAL (
        WITH said AS (
            SELECT r.field, r.value, r.value_hash, r.at, r.sequence, r.id, t.integration, t.known_by, t.external_id
              FROM unnest(linked.read_from) p (id)
              JOIN provider_devices t ON t.id = p.id
              JOIN field_registers r ON r.provider_device = t.id
             WHERE linked.all_gone
                OR fleet.outlives(r.at, r.sequence, r.id, t.gone_at, t.gone_sequence, t.gone_id)
        ), named AS (
            SELECT 'tag:' || (tag.value ->> 'id') AS field
              FROM said
             CROSS JOIN jsonb_array_elements(
                CASE WHEN jsonb_typeof(said.value) = 'array' THEN said.value ELSE '[]' END) tag (value)
             WHERE said.field = 'tags' AND tag.value ->> 'id' IS NOT NULL
            UNION
            SELECT said.field FROM said WHERE fleet.is_tag_field(said.field)
        )
        SELECT DISTINCT ON (each.field) each.*
          FROM (
            SELECT said.field, said.value, said.value_hash AS hash, said.at, said.sequence, said.id,
                   said.integration, said.known_by, said.external_id, false AS whole
              FROM said
             WHERE said.field <> 'tags' AND NOT fleet.is_tag_field(said.field)
            UNION ALL
            SELECT named.field, to_jsonb(tag.present), fleet.boolean_hash(tag.present), said.at, said.sequence, said.id,
                   said.integration, said.known_by, said.external_id, said.field = 'tags'
              FROM named
              JOIN said ON said.field IN (named.field, 'tags')
             CROSS JOIN LATERAL (
                SELECT CASE WHEN said.field = 'tags'
                            THEN said.value @> jsonb_build_array(jsonb_build_object('id', substr(named.field, 5)))
                            ELSE coalesce(fleet.boolean_of(said.value -> 'present'), false) END AS present
             ) tag
          ) each
         ORDER BY each.field, each.at DESC, each.sequence DESC, each.id DESC, each.whole
     ) remote
     WHERE NOT EXISTS (SELECT FROM field_edits e WHERE e.device = d.id AND e.field = remote.field)
 ) f;
