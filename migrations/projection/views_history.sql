-- The views of `fleet` over what happened: sessions, firmware, readings, logs. Run like views.sql, after it.
--
-- One machine may be heard through several doors: what they said is put in one order. Peers are the provider
-- devices that count together; one without a device counts alone.

CREATE OR REPLACE VIEW fleet.sessions WITH (security_invoker = true) AS
SELECT c.organization,
       p.device,
       d.serial,
       p.integration,
       p.provider_device,
       coalesce(nullif(c.session_id, ''), nullif(ending.session_id, '')) AS session,
       c.at AS started_at,
       coalesce(ending.at, following.at) AS ended_at,
       c.evidence AS start_evidence,
       CASE WHEN ending.at IS NOT NULL THEN ending.evidence
            WHEN following.at IS NOT NULL THEN 'inferred' END AS end_evidence,
       coalesce(ending.evidence = 'inferred', following.at IS NOT NULL) AS end_inferred,
       ending.reason AS end_reason
  FROM connections c
  JOIN fleet.provider_devices p ON p.id = c.provider_device
  LEFT JOIN devices d ON d.id = p.device
 -- The doors of one integration count together; a second cloud has sessions of its own.
 CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(l.provider_device), ARRAY[c.provider_device]) AS ids
      FROM links l
      JOIN provider_devices q ON q.id = l.provider_device AND q.integration = p.integration
     WHERE l.device = p.device
 ) peers
 -- The connect before this one, if it tells of the same session: then this one only repeats it.
  LEFT JOIN LATERAL (
    SELECT before.*
      FROM unnest(peers.ids) peer (id)
     CROSS JOIN LATERAL (
        SELECT x.at, x.sequence, x.id, x.session_id
          FROM connections x
         WHERE x.provider_device = peer.id AND x.connected
           AND x.at <= c.at AND (x.at, x.sequence, x.id) < (c.at, c.sequence, c.id)
         ORDER BY x.at DESC, x.sequence DESC, x.id DESC
         LIMIT 1
     ) before
     ORDER BY before.at DESC, before.sequence DESC, before.id DESC
     LIMIT 1
  ) previous ON previous.session_id = c.session_id AND (c.session_id <> '' OR previous.at = c.at)
 -- The next connect that tells of another session.
  LEFT JOIN LATERAL (
    SELECT after.*
      FROM unnest(peers.ids) peer (id)
     CROSS JOIN LATERAL (
        SELECT x.at, x.sequence, x.id
          FROM connections x
         WHERE x.provider_device = peer.id AND x.connected
           AND x.at >= c.at AND (x.at, x.sequence, x.id) > (c.at, c.sequence, c.id)
           AND NOT (x.session_id = c.session_id AND (x.session_id <> '' OR x.at = c.at))
         ORDER BY x.at, x.sequence, x.id
         LIMIT 1
     ) after
     ORDER BY after.at, after.sequence, after.id
     LIMIT 1
  ) following ON true
 -- The first disconnect of this session before that. At one instant a disconnect comes after a connect.
  LEFT JOIN LATERAL (
    SELECT after.*
      FROM unnest(peers.ids) peer (id)
     CROSS JOIN LATERAL (
        SELECT x.at, x.sequence, x.id, x.session_id, x.evidence, x.reason
          FROM connections x
         WHERE x.provider_device = peer.id AND NOT x.connected
           AND x.at >= c.at AND (x.at, x.sequence) >= (c.at, c.sequence)
           AND (following.at IS NULL OR (x.at, x.sequence) < (following.at, following.sequence))
           AND (x.session_id = '' OR c.session_id = '' OR x.session_id = c.session_id)
         ORDER BY x.at, x.sequence, x.id
         LIMIT 1
     ) after
     ORDER BY after.at, after.sequence, after.id
     LIMIT 1
  ) ending ON true
 WHERE c.connected
   AND (previous.at IS NULL OR EXISTS (
        SELECT FROM connections x
         WHERE x.provider_device = ANY (peers.ids) AND NOT x.connected
           AND x.at BETWEEN previous.at AND c.at
           AND (x.at, x.sequence) >= (previous.at, previous.sequence) AND (x.at, x.sequence) < (c.at, c.sequence)
           AND (x.session_id = '' OR c.session_id = '' OR x.session_id = c.session_id)));

CREATE OR REPLACE VIEW fleet.firmware_history WITH (security_invoker = true) AS
SELECT r.organization,
       p.device,
       d.serial,
       p.provider_device,
       r.package,
       r.at,
       r.version,
       r.target,
       r.state,
       r.reason,
       r.state_code,
       r.reason_code,
       r.via,
       previous.version AS previous_version,
       CASE
           WHEN r.version = '' OR r.version = previous.version THEN
               CASE WHEN r.target <> '' AND r.target IS DISTINCT FROM coalesce(nullif(r.version, ''), previous.version)
                    THEN 'attempt' ELSE 'report' END
           WHEN previous.version IS NULL THEN 'first'
           -- Back to what ran here before the version it replaces did.
           WHEN (SELECT min(x.at) FROM firmware_reports x
                  WHERE x.provider_device = ANY (peers.ids) AND x.package = r.package AND x.version = r.version)
              < (SELECT min(x.at) FROM firmware_reports x
                  WHERE x.provider_device = ANY (peers.ids) AND x.package = r.package AND x.version = previous.version)
           THEN 'rollback'
           ELSE 'install'
       END AS kind,
       r.recorded_at,
       r.sequence,
       r.id AS event
  FROM firmware_reports r
  JOIN fleet.provider_devices p ON p.id = r.provider_device
  LEFT JOIN devices d ON d.id = p.device
 CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(l.provider_device), ARRAY[r.provider_device]) AS ids
      FROM links l
     WHERE l.device = p.device
 ) peers
  LEFT JOIN LATERAL (
    SELECT before.version
      FROM unnest(peers.ids) peer (id)
     CROSS JOIN LATERAL (
        SELECT x.version, x.at, x.sequence, x.id
          FROM firmware_reports x
         WHERE x.provider_device = peer.id AND x.package = r.package AND x.version <> ''
           AND x.at <= r.at AND (x.at, x.sequence, x.id) < (r.at, r.sequence, r.id)
         ORDER BY x.at DESC, x.sequence DESC, x.id DESC
         LIMIT 1
     ) before
     ORDER BY before.at DESC, before.sequence DESC, before.id DESC
     LIMIT 1
  ) previous ON true;

CREATE OR REPLACE VIEW fleet.firmware_installs WITH (security_invoker = true) AS
SELECT organization, device, serial, provider_device, package, at AS installed_at,
       version, previous_version, kind, recorded_at
  FROM fleet.firmware_history
 WHERE kind IN ('first', 'install', 'rollback');

CREATE OR REPLACE VIEW fleet.firmware_attempts WITH (security_invoker = true) AS
SELECT r.organization,
       p.device,
       d.serial,
       p.provider_device,
       r.package,
       running.version AS from_version,
       r.target,
       r.at AS started_at,
       ending.at AS ended_at,
       CASE WHEN ending.version = r.target THEN 'installed'
            WHEN ending.at IS NOT NULL THEN 'not_installed'
            ELSE 'pending' END AS outcome,
       ending.reason AS end_reason
  FROM firmware_reports r
  JOIN fleet.provider_devices p ON p.id = r.provider_device
  LEFT JOIN devices d ON d.id = p.device
 CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(l.provider_device), ARRAY[r.provider_device]) AS ids
      FROM links l
     WHERE l.device = p.device
 ) peers
 -- The report before this one.
  LEFT JOIN LATERAL (
    SELECT before.*
      FROM unnest(peers.ids) peer (id)
     CROSS JOIN LATERAL (
        SELECT x.target, x.version, x.at, x.sequence, x.id
          FROM firmware_reports x
         WHERE x.provider_device = peer.id AND x.package = r.package
           AND x.at <= r.at AND (x.at, x.sequence, x.id) < (r.at, r.sequence, r.id)
         ORDER BY x.at DESC, x.sequence DESC, x.id DESC
         LIMIT 1
     ) before
     ORDER BY before.at DESC, before.sequence DESC, before.id DESC
     LIMIT 1
  ) previous ON true
 -- What runs while it is tried.
 CROSS JOIN LATERAL (
    SELECT coalesce(nullif(r.version, ''), (
        SELECT x.version
          FROM firmware_reports x
         WHERE x.provider_device = ANY (peers.ids) AND x.package = r.package AND x.version <> ''
           AND x.at <= r.at AND (x.at, x.sequence, x.id) < (r.at, r.sequence, r.id)
         ORDER BY x.at DESC, x.sequence DESC, x.id DESC
         LIMIT 1
    )) AS version
 ) running
 -- The report that runs the target, or no longer speaks of it.
  LEFT JOIN LATERAL (
    SELECT after.*
      FROM unnest(peers.ids) peer (id)
     CROSS JOIN LATERAL (
        SELECT x.version, x.reason, x.at, x.sequence, x.id
          FROM firmware_reports x
         WHERE x.provider_device = peer.id AND x.package = r.package
           AND x.at >= r.at AND (x.at, x.sequence, x.id) > (r.at, r.sequence, r.id)
           AND (x.version = r.target OR x.target <> r.target)
         ORDER BY x.at, x.sequence, x.id
         LIMIT 1
     ) after
     ORDER BY after.at, after.sequence, after.id
     LIMIT 1
  ) ending ON true
 WHERE r.target <> ''
   AND r.target IS DISTINCT FROM running.version
   -- A report that only continues an attempt begins none.
   AND (previous.at IS NULL OR previous.target <> r.target OR previous.version = r.target);

CREATE OR REPLACE VIEW fleet.firmware_current WITH (security_invoker = true) AS
SELECT d.organization,
       known.device,
       d.serial,
       known.package,
       running.version,
       running.at AS version_at,
       newest.target,
       newest.state,
       newest.reason,
       newest.state_code,
       newest.reason_code,
       newest.at AS reported_at
  FROM (
    SELECT l.device, r.package
      FROM links l
      JOIN firmware_reports r ON r.provider_device = l.provider_device
     GROUP BY l.device, r.package
  ) known
  JOIN devices d ON d.id = known.device
 CROSS JOIN LATERAL (
    SELECT x.target, x.state, x.reason, x.state_code, x.reason_code, x.at
      FROM links l
     CROSS JOIN LATERAL (
        SELECT r.*
          FROM firmware_reports r
         WHERE r.provider_device = l.provider_device AND r.package = known.package
         ORDER BY r.at DESC, r.sequence DESC, r.id DESC
         LIMIT 1
     ) x
     WHERE l.device = known.device
     ORDER BY x.at DESC, x.sequence DESC, x.id DESC
     LIMIT 1
 ) newest
  LEFT JOIN LATERAL (
    SELECT x.version, x.at
      FROM links l
     CROSS JOIN LATERAL (
        SELECT r.version, r.at, r.sequence, r.id
          FROM firmware_reports r
         WHERE r.provider_device = l.provider_device AND r.package = known.package AND r.version <> ''
         ORDER BY r.at DESC, r.sequence DESC, r.id DESC
         LIMIT 1
     ) x
     WHERE l.device = known.device
     ORDER BY x.at DESC, x.sequence DESC, x.id DESC
     LIMIT 1
  ) running ON true;

CREATE OR REPLACE VIEW fleet.readings_latest WITH (security_invoker = true) AS
SELECT r.organization,
       p.device,
       d.serial,
       p.provider_device,
       r.path,
       r.at,
       r.data,
       r.bytes,
       r.content_type,
       r.recorded_at,
       NOT EXISTS (
            SELECT FROM readings_latest o
             WHERE o.provider_device = r.provider_device AND o.path = r.path
               AND (o.at, o.sequence, o.id) > (r.at, r.sequence, r.id)) AS newest,
       r.shape
  FROM readings_latest r
  JOIN fleet.provider_devices p ON p.id = r.provider_device
  LEFT JOIN devices d ON d.id = p.device;

CREATE OR REPLACE VIEW fleet.readings WITH (security_invoker = true) AS
SELECT r.organization, p.device, d.serial, p.provider_device,
       r.path, r.at, r.sequence, r.data, r.bytes, r.content_type, r.recorded_at, r.id AS event
  FROM readings r
  JOIN fleet.provider_devices p ON p.id = r.provider_device
  LEFT JOIN devices d ON d.id = p.device
 WHERE r.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'readings'), '-infinity');

CREATE OR REPLACE VIEW fleet.logs WITH (security_invoker = true) AS
SELECT r.organization, p.device, d.serial, p.provider_device,
       r.at, r.sequence, r.level, r.module, r.message, r.metadata, r.recorded_at, r.id AS event
  FROM logs r
  JOIN fleet.provider_devices p ON p.id = r.provider_device
  LEFT JOIN devices d ON d.id = p.device
 WHERE r.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'logs'), '-infinity');
