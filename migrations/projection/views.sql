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
           -- What a provider says of the past is no proof that the device is there now.
           OR (a.last_report_by <> 'provider'
               AND fleet.outlives(a.last_report_at, a.last_report_sequence, a.last_report_id,
                                  p.gone_at, p.gone_sequence, p.gone_id)) AS newer
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
 CROSS JOIN LATERAL fleet.found_in(r.data, gauge.pointers) found
 WHERE found.value IS NOT NULL;
