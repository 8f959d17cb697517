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
       CASE WHEN jsonb_typeof(f.fields -> 'tags') = 'array' OR f.has_tags OR edited.has_tags THEN
       (
        SELECT coalesce(
                   jsonb_agg(jsonb_build_object('id', tag.id, 'name', tag.name) ORDER BY tag.id)
                       FILTER (WHERE tag.present),
                   '[]')
          FROM (
            -- What was edited here, before a word on that tag alone, before the whole list.
            SELECT said.id,
                   coalesce(max(said.name) FILTER (WHERE said.by = 'word'),
                            max(said.name) FILTER (WHERE said.by = 'list')) AS name,
                   coalesce(bool_or(said.present) FILTER (WHERE said.by = 'edit'),
                            bool_or(said.present) FILTER (WHERE said.by = 'word'),
                            true) AS present
              FROM (
                SELECT listed.tag ->> 'id' AS id, listed.tag ->> 'name' AS name, true AS present, 'list' AS by
                  FROM jsonb_array_elements(
                    CASE WHEN jsonb_typeof(f.fields -> 'tags') = 'array' THEN f.fields -> 'tags' END) listed (tag)
                UNION ALL
                SELECT substr(word.field, 5), word.value ->> 'name',
                       coalesce(fleet.boolean_of(word.value -> 'present'), false), 'word'
                  FROM jsonb_each(CASE WHEN f.has_tags THEN f.fields END) word (field, value)
                 WHERE fleet.is_tag_field(word.field)
                UNION ALL
                SELECT substr(edit.field, 5), NULL, edit.value = 'true', 'edit'
                  FROM jsonb_each(CASE WHEN edited.has_tags THEN edited.fields END) edit (field, value)
                 WHERE fleet.is_tag_field(edit.field)
              ) said
             GROUP BY said.id
          ) tag
       )
       END AS tags,
       nullif(CASE WHEN edited.fields ? 'metadata' THEN edited.fields ELSE f.fields END -> 'metadata', 'null')
           AS metadata,
       fleet.boolean_of(CASE WHEN edited.fields ? 'enabled' THEN edited.fields ELSE f.fields END -> 'enabled')
           AS enabled,
       CASE WHEN edited.fields ? 'blueprint' THEN edited.fields ELSE f.fields END ->> 'blueprint' AS blueprint,
       gauges.battery,
       gauges.signal,
       (
        SELECT newest.version
          FROM unnest(linked.ids, linked.integrations) p (id, integration)
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
           array_agg(p.id) AS ids,
           array_agg(p.integration) AS integrations,
           coalesce(array_agg(p.id) FILTER (WHERE p.gone_at IS NULL), array_agg(p.id)) AS read_from,
           bool_and(p.gone_at IS NOT NULL) AS all_gone,
           CASE WHEN bool_and(p.gone_at IS NOT NULL) THEN max(p.gone_at) END AS gone_at
      FROM fleet.provider_devices p
     WHERE p.device = d.id
  ) linked ON true
 -- What was observed before a provider device disappeared is hidden once it is back. Of each field the newest; of a
 -- single tag only what is newer than the newest whole list. One provider device has one register of a field.
  LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(r.field, r.value) AS fields,
           bool_or(fleet.is_tag_field(r.field)) AS has_tags
      FROM provider_devices t
      JOIN field_registers r ON r.provider_device = t.id
     WHERE t.id = ANY (linked.read_from)
       AND (linked.all_gone
            OR fleet.outlives(r.at, r.sequence, r.id, t.gone_at, t.gone_sequence, t.gone_id))
       AND (cardinality(linked.read_from) = 1 AND NOT fleet.is_tag_field(r.field)
            OR NOT EXISTS (
                SELECT FROM provider_devices u
                  JOIN field_registers newer ON newer.provider_device = u.id
                 WHERE u.id = ANY (linked.read_from)
                   AND newer.field IN (r.field, CASE WHEN fleet.is_tag_field(r.field) THEN 'tags' ELSE r.field END)
                   AND (newer.at, newer.sequence, newer.id) > (r.at, r.sequence, r.id)
                   AND (linked.all_gone
                        OR fleet.outlives(newer.at, newer.sequence, newer.id,
                                          u.gone_at, u.gone_sequence, u.gone_id))))
  ) f ON true
 -- What was edited here, as it shows.
  LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(shown.field, coalesce(shown.value, 'null')) AS fields,
           bool_or(fleet.is_tag_field(shown.field)) AS has_tags,
           count(*) FILTER (WHERE shown.state = 'conflict') AS n_conflicts
      FROM fleet.device_fields shown
     WHERE shown.device = d.id AND shown.edit_event IS NOT NULL
  ) edited ON true
 -- The newest of each, as in fleet.gauges.
  LEFT JOIN LATERAL (
    SELECT (array_agg(fleet.number_of(battery.value) ORDER BY r.at DESC, r.sequence DESC, r.id DESC)
               FILTER (WHERE battery.value IS NOT NULL))[1] AS battery,
           (array_agg(fleet.number_of(signal.value) ORDER BY r.at DESC, r.sequence DESC, r.id DESC)
               FILTER (WHERE signal.value IS NOT NULL))[1] AS signal
      FROM unnest(linked.ids, linked.integrations) p (id, integration)
      JOIN control.integration_policy policy ON policy.integration = p.integration
      JOIN readings_latest r ON r.provider_device = p.id
     CROSS JOIN LATERAL fleet.found_in(r.data, policy.battery_pointers) battery
     CROSS JOIN LATERAL fleet.found_in(r.data, policy.signal_pointers) signal
  ) gauges ON true;
