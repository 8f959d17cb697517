-- The view of devices. Run like views.sql, after views_fields.sql: what was edited here is resolved there.
--
-- Looking up a device that nobody edited costs one search more than what clouds say of it.

CREATE OR REPLACE VIEW fleet.devices WITH (security_invoker = true) AS
SELECT d.organization,
       d.id,
       d.serial,
       coalesce(d.name, d.serial) AS name,
       c.connectivity,
       c.as_of,
       c.evidence AS connectivity_evidence,
       c.evidence_at AS connectivity_evidence_at,
       c.basis AS connectivity_basis,
       c.last_report_at,
       c.last_seen_online_at,
       c.last_seen_offline_at,
       nullif(f.fields -> 'hardware_ids', 'null') AS hardware_ids,
       f.fields ->> 'cohort' AS cohort,
       -- The newest whole list, with each tag that was added or removed after it, and those that were edited here.
       (
        WITH listed AS (
            SELECT r.value, r.at, r.sequence, r.id
              FROM unnest(linked.read_from) p (id)
              JOIN field_registers r ON r.provider_device = p.id AND r.field = 'tags'
              JOIN provider_devices t ON t.id = p.id
             WHERE linked.all_gone
                OR fleet.outlives(r.at, r.sequence, r.id, t.gone_at, t.gone_sequence, t.gone_id)
             ORDER BY r.at DESC, r.sequence DESC, r.id DESC
             LIMIT 1
        )
        SELECT CASE WHEN (SELECT jsonb_typeof(value) FROM listed) = 'array' OR count(*) > 0 THEN
                   coalesce(
                       jsonb_agg(jsonb_build_object('id', tag.id, 'name', tag.name) ORDER BY tag.id)
                           FILTER (WHERE tag.present),
                       '[]')
               END
          FROM (
            SELECT coalesce(cloud.id, ours.id) AS id,
                   cloud.name,
                   coalesce(ours.present, cloud.present) AS present
              FROM (
                SELECT coalesce(single.id, whole.id) AS id,
                       coalesce(single.name, whole.name) AS name,
                       coalesce(single.present, true) AS present
                  FROM (
                    SELECT t.tag ->> 'id' AS id, max(t.tag ->> 'name') AS name
                      FROM listed
                     CROSS JOIN jsonb_array_elements(
                        CASE WHEN jsonb_typeof(listed.value) = 'array' THEN listed.value ELSE '[]' END) t (tag)
                     GROUP BY 1
                  ) whole
                  FULL JOIN (
                    SELECT DISTINCT ON (r.field)
                           substr(r.field, 5) AS id,
                           r.value ->> 'name' AS name,
                           coalesce(fleet.boolean_of(r.value -> 'present'), false) AS present
                      FROM unnest(linked.read_from) p (id)
                      JOIN field_registers r ON r.provider_device = p.id AND r.field LIKE 'tag:%'
                      JOIN provider_devices t ON t.id = p.id
                     WHERE (linked.all_gone
                            OR fleet.outlives(r.at, r.sequence, r.id, t.gone_at, t.gone_sequence, t.gone_id))
                       AND NOT EXISTS (
                            SELECT FROM listed
                             WHERE (listed.at, listed.sequence, listed.id) > (r.at, r.sequence, r.id))
                     ORDER BY r.field, r.at DESC, r.sequence DESC, r.id DESC
                  ) single ON single.id = whole.id
              ) cloud
              FULL JOIN (
                SELECT substr(field.name, 5) AS id, field.value = 'true' AS present
                  FROM jsonb_each(edited.fields) field (name, value)
                 WHERE fleet.is_tag_field(field.name)
              ) ours ON ours.id = cloud.id
          ) tag
       ) AS tags,
       nullif(CASE WHEN edited.fields ? 'metadata' THEN edited.fields ELSE f.fields END -> 'metadata', 'null')
           AS metadata,
       fleet.boolean_of(CASE WHEN edited.fields ? 'enabled' THEN edited.fields ELSE f.fields END -> 'enabled')
           AS enabled,
       CASE WHEN edited.fields ? 'blueprint' THEN edited.fields ELSE f.fields END ->> 'blueprint' AS blueprint,
       (
        SELECT g.value FROM fleet.gauges g
         WHERE g.device = d.id AND g.gauge = 'battery'
         ORDER BY g.at DESC, g.sequence DESC, g.event DESC
         LIMIT 1
       ) AS battery,
       (
        SELECT g.value FROM fleet.gauges g
         WHERE g.device = d.id AND g.gauge = 'signal'
         ORDER BY g.at DESC, g.sequence DESC, g.event DESC
         LIMIT 1
       ) AS signal,
       (
        SELECT newest.version
          FROM links l
          JOIN provider_devices p ON p.id = l.provider_device
          LEFT JOIN control.integration_policy policy ON policy.integration = p.integration
         CROSS JOIN LATERAL (
            SELECT r.version, r.at, r.sequence, r.id
              FROM firmware_reports r
             WHERE r.provider_device = p.id
               AND r.version <> ''
               AND (policy.primary_package IS NULL OR r.package = policy.primary_package)
             ORDER BY r.at DESC, r.sequence DESC, r.id DESC
             LIMIT 1
         ) newest
         WHERE l.device = d.id
         ORDER BY newest.at DESC, newest.sequence DESC, newest.id DESC
         LIMIT 1
       ) AS firmware_version,
       f.fields ->> 'status' AS status,
       d.registered_at,
       linked.gone_at,
       coalesce(linked.provider_devices, '[]') AS provider_devices,
       edited.fields ->> 'notes' AS notes,
       nullif(edited.fields -> 'location', 'null') AS location,
       d.retired_at,
       edited.n_conflicts AS pending_conflicts
  FROM devices d
  LEFT JOIN fleet.connectivity c ON c.device = d.id
  -- Registers are read from the provider devices that are live, or from all if none is.
  LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
               'provider_device', p.provider_device, 'integration', p.integration, 'known_by', p.known_by,
               'external_id', p.external_id, 'name', p.name, 'linked_via', p.linked_via,
               'gone', p.gone_at IS NOT NULL)
               ORDER BY p.provider_device) AS provider_devices,
           coalesce(array_agg(p.id) FILTER (WHERE p.gone_at IS NULL), array_agg(p.id)) AS read_from,
           bool_and(p.gone_at IS NOT NULL) AS all_gone,
           CASE WHEN bool_and(p.gone_at IS NOT NULL) THEN max(p.gone_at) END AS gone_at
      FROM fleet.provider_devices p
     WHERE p.device = d.id
  ) linked ON true
 -- What was observed before a provider device disappeared is hidden once it is back.
  LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(newest.field, newest.value) AS fields
      FROM (
        SELECT DISTINCT ON (r.field) r.field, r.value
          FROM unnest(linked.read_from) p (id)
          JOIN field_registers r ON r.provider_device = p.id
          JOIN provider_devices t ON t.id = p.id
         WHERE r.field IN ('hardware_ids', 'cohort', 'metadata', 'enabled', 'blueprint', 'status')
           AND (linked.all_gone
                OR fleet.outlives(r.at, r.sequence, r.id, t.gone_at, t.gone_sequence, t.gone_id))
         ORDER BY r.field, r.at DESC, r.sequence DESC, r.id DESC
      ) newest
  ) f ON true
 -- What was edited here, as it shows.
  LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(shown.field, coalesce(shown.value, 'null')) AS fields,
           count(*) FILTER (WHERE shown.state = 'conflict') AS n_conflicts
      FROM fleet.device_fields shown
     WHERE shown.device = d.id AND shown.edit_event IS NOT NULL
  ) edited ON true;
