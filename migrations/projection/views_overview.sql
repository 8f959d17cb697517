-- The views of `fleet` for whoever looks after it: what is not as it should be, and how much of everything there is.
-- Run like views.sql, after it.

CREATE OR REPLACE VIEW fleet.unidentified WITH (security_invoker = true) AS
SELECT p.organization,
       p.integration,
       p.provider_device,
       p.external_id,
       (
        SELECT least(
            (SELECT min(x.at) FROM readings x
              WHERE x.provider_device = p.id
                AND x.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'readings'), '-infinity')),
            (SELECT min(x.at) FROM logs x
              WHERE x.provider_device = p.id
                AND x.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'logs'), '-infinity')),
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

-- How each device stood at the newest survey: what fleet.connectivity said a moment ago, to be found by index.
CREATE OR REPLACE VIEW fleet.standing WITH (security_invoker = true) AS
SELECT s.organization,
       s.device,
       s.serial,
       s.connectivity,
       (SELECT as_of FROM projection_meta.surveys) AS as_of
  FROM projection_meta.standing s;

-- Of a large fleet what the newest survey found; of a small one, or where surveys have ceased, what is so now.
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
       coalesce(conflicts.n_identities, 0) AS identity_conflicts,
       greatest(
            counted.newest_at, heard.newest_at,
            (SELECT max(greatest(h.last_push_at, h.last_scan_at)) FROM listening h
              WHERE h.organization = known.organization)) AS newest_event_at,
       now() AS as_of,
       coalesce(conflicts.n, 0) AS conflicts
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
    SELECT c.organization,
           count(*) AS n,
           count(*) FILTER (WHERE c.kind <> 'field') AS n_identities
      FROM fleet.conflicts c
     GROUP BY c.organization
  ) conflicts ON conflicts.organization = known.organization
 WHERE NOT coalesce((SELECT good_until > now() FROM projection_meta.surveys), false)
UNION ALL
SELECT coalesce(o.id, s.organization),
       o.name,
       coalesce(s.devices, 0),
       coalesce(s.online, 0),
       coalesce(s.late, 0),
       coalesce(s.offline, 0),
       coalesce(s.unknown, 0),
       coalesce(s.never_seen, 0),
       coalesce(s.provider_devices, 0),
       coalesce(s.unidentified, 0),
       coalesce(s.identity_conflicts, 0),
       s.newest_event_at,
       (SELECT as_of FROM projection_meta.surveys),
       coalesce(s.conflicts, 0)
  FROM projection_meta.summaries s
  FULL JOIN control.organizations o ON o.id = s.organization
 WHERE coalesce((SELECT good_until > now() FROM projection_meta.surveys), false);
