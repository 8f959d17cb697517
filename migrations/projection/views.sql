-- What people and programs read: schema `fleet`, over the truth tables of one generation.
--
-- Run with the generation's schema first on the search path: names without a schema are its tables. The views run
-- with the rights of whoever reads them, so row-level security below decides what they see. Everything that
-- is true at one moment only, or depends on a policy, is derived here and stored nowhere.
--
-- Looking up one device, or a page of devices, must cost what those devices cost: hence LATERAL and LIMIT 1 over
-- indexes rather than aggregates over tables.

CREATE OR REPLACE VIEW fleet.provider_devices WITH (security_invoker = true) AS
SELECT p.organization,
       p.id,
       p.integration || '/' || p.known_by || ':' || p.external_id AS provider_device,
       p.integration, p.known_by, p.external_id, p.name, p.first_name,
       l.device,
       l.via AS linked_via,
       CASE WHEN NOT present.newer THEN p.gone_at END AS gone_at,
       CASE WHEN NOT present.newer THEN p.gone_how END AS gone_how,
       p.seen_at AS observed_at,
       a.last_report_at
  FROM provider_devices p
  LEFT JOIN activity a ON a.provider_device = p.id
  LEFT JOIN links l ON l.provider_device = p.id
 CROSS JOIN LATERAL (
    SELECT p.gone_at IS NULL
           OR fleet.outlives(p.seen_at, p.seen_sequence, p.seen_id, p.gone_at, p.gone_sequence, p.gone_id)
           OR fleet.outlives(a.last_report_at, a.last_report_sequence, a.last_report_id,
                             p.gone_at, p.gone_sequence, p.gone_id)
           OR fleet.outlives(a.connected_at, a.connected_sequence, a.connected_id,
                             p.gone_at, p.gone_sequence, p.gone_id) AS newer
 ) present;

CREATE OR REPLACE VIEW fleet.connectivity WITH (security_invoker = true) AS
SELECT d.organization,
       d.id AS device,
       d.serial,
       shown.connectivity,
       now() AS as_of,
       shown.basis,
       shown.grounds AS evidence,
       shown.grounds_at AS evidence_at,
       (newest.report).last_report_at,
       (newest.report).last_report_by,
       life.at AS last_seen_online_at,
       (newest.ending).disconnected_at AS last_seen_offline_at,
       (newest.start).connected_at,
       nullif((newest.start).connected_session, '') AS connected_session,
       (newest.start).connected_evidence,
       (newest.ending).disconnected_at,
       nullif((newest.ending).disconnected_session, '') AS disconnected_session,
       (newest.ending).disconnected_evidence,
       (newest.ending).disconnected_reason,
       life.integration,
       policy.online_interval,
       policy.offline_timeout,
       heard.listened_until
  FROM devices d
 -- Of all its provider devices the newest report, connect and disconnect.
  LEFT JOIN LATERAL (
    SELECT (array_agg(a ORDER BY a.last_report_at DESC NULLS LAST,
                                 a.last_report_sequence DESC, a.last_report_id DESC))[1] AS report,
           (array_agg(a ORDER BY a.connected_at DESC NULLS LAST,
                                 a.connected_sequence DESC, a.connected_id DESC))[1] AS start,
           (array_agg(a ORDER BY a.disconnected_at DESC NULLS LAST,
                                 a.disconnected_sequence DESC, a.disconnected_id DESC))[1] AS ending
      FROM links l
      JOIN activity a ON a.provider_device = l.provider_device
     WHERE l.device = d.id
  ) newest ON true
 -- The newest sign of life is one of the first two.
 CROSS JOIN LATERAL (
    SELECT (newest.start).connected_at IS NOT NULL
           AND ((newest.report).last_report_at IS NULL
                OR ((newest.start).connected_at, (newest.start).connected_sequence, (newest.start).connected_id)
                 > ((newest.report).last_report_at, (newest.report).last_report_sequence,
                    (newest.report).last_report_id)) AS is_start
 ) which
 CROSS JOIN LATERAL (
    SELECT CASE WHEN which.is_start THEN (newest.start).integration
                ELSE (newest.report).integration END AS integration,
           CASE WHEN which.is_start THEN 'connect' ELSE (newest.report).last_report_by END AS told_by,
           CASE WHEN which.is_start THEN (newest.start).connected_at
                ELSE (newest.report).last_report_at END AS at,
           CASE WHEN which.is_start THEN (newest.start).connected_sequence
                ELSE (newest.report).last_report_sequence END AS sequence,
           CASE WHEN which.is_start THEN (newest.start).connected_evidence
                WHEN (newest.report).last_report_by = 'provider' THEN 'reported'
                ELSE 'observed' END AS basis
 ) life
  LEFT JOIN control.integration_policy known ON known.integration = life.integration
 -- An integration that the registry does not know is judged as a new one would be.
 CROSS JOIN LATERAL (
    SELECT coalesce(known.online_interval, interval '10 minutes') AS online_interval,
           coalesce(known.offline_timeout, interval '1 hour') AS offline_timeout
 ) policy
  LEFT JOIN (
    SELECT h.integration, greatest(max(h.last_push_at), max(h.last_scan_at)) AS listened_until
      FROM listening h
     GROUP BY h.integration
  ) heard ON heard.integration = life.integration
 CROSS JOIN LATERAL fleet.connectivity_of(
    now(),
    life.told_by, life.at, life.sequence, life.basis,
    (newest.start).connected_at, (newest.start).connected_sequence, (newest.start).connected_session,
    (newest.ending).disconnected_at, (newest.ending).disconnected_sequence, (newest.ending).disconnected_session,
    (newest.ending).disconnected_evidence,
    policy.online_interval, policy.offline_timeout,
    heard.listened_until
 ) shown;

-- What a configured pointer finds in the newest readings of each shape; a number is preferred to other scalars.
CREATE OR REPLACE VIEW fleet.gauges WITH (security_invoker = true) AS
SELECT r.organization,
       l.device,
       gauge.name AS gauge,
       fleet.number_of(found.value) AS value,
       r.at,
       r.path,
       found.pointer,
       r.sequence,
       r.id AS event
  FROM readings_latest r
  JOIN provider_devices p ON p.id = r.provider_device
  JOIN links l ON l.provider_device = p.id
  JOIN control.integration_policy policy ON policy.integration = p.integration
 CROSS JOIN LATERAL (
    VALUES ('battery', policy.battery_pointers), ('signal', policy.signal_pointers)
 ) gauge (name, pointers)
 CROSS JOIN LATERAL (
    SELECT pointer.text AS pointer, r.data #> fleet.pointer_path(pointer.text) AS value
      FROM unnest(gauge.pointers) WITH ORDINALITY pointer (text, place)
     WHERE jsonb_typeof(r.data #> fleet.pointer_path(pointer.text)) IN ('number', 'string', 'boolean')
     ORDER BY jsonb_typeof(r.data #> fleet.pointer_path(pointer.text)) <> 'number', pointer.place
     LIMIT 1
 ) found;

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
       -- The newest whole list, with each tag that was added or removed after it.
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
          ) tag
       ) AS tags,
       nullif(f.fields -> 'metadata', 'null') AS metadata,
       fleet.boolean_of(f.fields -> 'enabled') AS enabled,
       f.fields ->> 'blueprint' AS blueprint,
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
       coalesce(linked.provider_devices, '[]') AS provider_devices
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
  ) f ON true;
