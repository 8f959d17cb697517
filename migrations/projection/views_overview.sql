-- The views of `fleet` for whoever looks after it: what is not as it should be, and how much of everything there is.
-- Run like views.sql, after it.

CREATE OR REPLACE VIEW fleet.unidentified WITH (security_invoker = true) AS
SELECT p.organization,
       p.integration,
       p.provider_device,
       p.external_id,
       (
        SELECT least(
            (SELECT min(x.at) FROM readings x WHERE x.provider_device = p.id),
            (SELECT min(x.at) FROM logs x WHERE x.provider_device = p.id),
            (SELECT min(x.at) FROM connections x WHERE x.provider_device = p.id),
            (SELECT min(x.at) FROM firmware_reports x WHERE x.provider_device = p.id),
            (SELECT min(x.at) FROM registry_facts x WHERE x.provider_device = p.id),
            p.last_heard_at)
       ) AS first_heard_at,
       p.last_heard_at,
       p.gone_at
  FROM (
    SELECT v.*, greatest(v.observed_at, a.last_report_at, a.connected_at, a.disconnected_at) AS last_heard_at
      FROM fleet.provider_devices v
      LEFT JOIN activity a ON a.provider_device = v.id
  ) p
 WHERE NOT EXISTS (SELECT FROM links l WHERE l.provider_device = p.id);

CREATE OR REPLACE VIEW fleet.identity_conflicts WITH (security_invoker = true) AS
-- Both names of a provider device were registered or edited here, and nobody has said since which one it is.
SELECT p.organization,
       'two_names' AS kind,
       ARRAY[p.first_name, p.name] AS serials,
       (SELECT array_agg(DISTINCT f.device) FROM local_facts f
         WHERE f.organization = p.organization AND f.serial IN (p.first_name, p.name)) AS devices,
       ARRAY[v.provider_device] AS provider_devices
  FROM provider_devices p
  JOIN fleet.provider_devices v ON v.id = p.id
 WHERE p.first_name <> p.name
   AND (p.bound_at IS NULL OR (p.bound_at, p.bound_sequence, p.bound_id) < (p.name_at, p.name_sequence, p.name_id))
   AND v.gone_at IS NULL
   AND EXISTS (SELECT FROM local_facts f WHERE f.organization = p.organization AND f.serial = p.first_name)
   AND EXISTS (SELECT FROM local_facts f WHERE f.organization = p.organization AND f.serial = p.name)
UNION ALL
SELECT d.organization, 'two_provider_devices', ARRAY[d.serial], ARRAY[d.id], live.provider_devices
  FROM (SELECT l.device FROM links l GROUP BY l.device HAVING count(*) > 1) several
  JOIN devices d ON d.id = several.device
 CROSS JOIN LATERAL (
    SELECT array_agg(v.provider_device ORDER BY v.provider_device) AS provider_devices
      FROM fleet.provider_devices v
     WHERE v.device = several.device AND v.known_by = 'id' AND v.gone_at IS NULL
 ) live
 WHERE cardinality(live.provider_devices) > 1
UNION ALL
SELECT twice.organization, 'same_serial', ARRAY[twice.serial], twice.devices,
       coalesce((SELECT array_agg(v.provider_device ORDER BY v.provider_device)
                   FROM fleet.provider_devices v
                  WHERE v.device = ANY (twice.devices)), '{}')
  FROM (
    SELECT d.organization, d.serial, array_agg(d.id ORDER BY d.id) AS devices
      FROM devices d
     GROUP BY d.organization, d.serial
    HAVING count(*) > 1
  ) twice;

CREATE OR REPLACE VIEW fleet.summary WITH (security_invoker = true) AS
SELECT known.organization,
       o.name,
       coalesce(counted.devices, 0) AS devices,
       coalesce(counted.online, 0) AS online,
       coalesce(counted.late, 0) AS late,
       coalesce(counted.offline, 0) AS offline,
       coalesce(counted.unknown, 0) AS unknown,
       coalesce(counted.never_seen, 0) AS never_seen,
       coalesce(heard.provider_devices, 0) AS provider_devices,
       coalesce(heard.unidentified, 0) AS unidentified,
       coalesce(conflicts.n, 0) AS identity_conflicts,
       greatest(
            counted.newest_at, heard.newest_at,
            (SELECT max(greatest(h.last_push_at, h.last_scan_at)) FROM listening h
              WHERE h.organization = known.organization)) AS newest_event_at,
       now() AS as_of
  FROM (
    SELECT id AS organization FROM control.organizations
    UNION SELECT DISTINCT organization FROM devices
    UNION SELECT DISTINCT organization FROM provider_devices
  ) known
  LEFT JOIN control.organizations o ON o.id = known.organization
  LEFT JOIN (
    SELECT c.organization,
           sum(c.n)::bigint AS devices,
           sum(c.n) FILTER (WHERE c.connectivity = 'online')::bigint AS online,
           sum(c.n) FILTER (WHERE c.connectivity = 'late')::bigint AS late,
           sum(c.n) FILTER (WHERE c.connectivity = 'offline')::bigint AS offline,
           sum(c.n) FILTER (WHERE c.connectivity = 'unknown')::bigint AS unknown,
           sum(c.n) FILTER (WHERE c.connectivity = 'never_seen')::bigint AS never_seen,
           max(c.newest_at) AS newest_at
      FROM (
        -- Grouped by the answer, so that it is worked out once for each device.
        SELECT organization, connectivity, count(*) AS n,
               max(greatest(last_seen_online_at, last_seen_offline_at)) AS newest_at
          FROM fleet.connectivity
         GROUP BY organization, connectivity
      ) c
     GROUP BY c.organization
  ) counted ON counted.organization = known.organization
  LEFT JOIN (
    SELECT v.organization,
           count(*) AS provider_devices,
           count(*) FILTER (WHERE v.device IS NULL) AS unidentified,
           max(greatest(v.observed_at, v.last_report_at)) AS newest_at
      FROM fleet.provider_devices v
     GROUP BY v.organization
  ) heard ON heard.organization = known.organization
  LEFT JOIN (
    SELECT i.organization, count(*) AS n FROM fleet.identity_conflicts i GROUP BY i.organization
  ) conflicts ON conflicts.organization = known.organization;
