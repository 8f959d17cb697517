-- Conflicts: what waits for a person, and what people decided. Run like views.sql, after views_fields.sql.

-- Whoever binds a provider device says which device it is: where all that are in doubt were bound, there is no doubt.
CREATE OR REPLACE VIEW fleet.identity_conflicts WITH (security_invoker = true) AS
-- Both names of a provider device were registered or edited here, and nobody has said since which one it is.
SELECT p.organization,
       'two_names' AS kind,
       ARRAY[p.first_name, p.name] AS serials,
       (SELECT array_agg(DISTINCT f.device) FROM local_facts f
         WHERE f.organization = p.organization AND f.serial IN (p.first_name, p.name)) AS devices,
       ARRAY[v.provider_device] AS provider_devices,
       fleet.identity_conflict_id('two_names', p.id::text, p.first_name, p.name) AS conflict,
       p.integration,
       -- The name register moves whenever the name is said again.
       coalesce((SELECT min(f.at) FROM registry_facts f
                  WHERE f.provider_device = p.id AND f.body ->> 'name' = p.name), p.name_at) AS opened_at,
       v.device
  FROM provider_devices p
  JOIN fleet.provider_devices v ON v.id = p.id
 WHERE p.first_name <> p.name
   AND p.bound_at IS NULL
   AND v.gone_at IS NULL
   AND EXISTS (SELECT FROM local_facts f WHERE f.organization = p.organization AND f.serial = p.first_name)
   AND EXISTS (SELECT FROM local_facts f WHERE f.organization = p.organization AND f.serial = p.name)
UNION ALL
SELECT d.organization,
       'two_provider_devices',
       ARRAY[d.serial],
       ARRAY[d.id],
       live.provider_devices,
       fleet.identity_conflict_id('two_provider_devices', VARIADIC d.id::text || live.provider_devices),
       live.integration,
       live.opened_at,
       d.id
  FROM (SELECT l.device FROM links l GROUP BY l.device HAVING count(*) > 1) several
  JOIN devices d ON d.id = several.device
 CROSS JOIN LATERAL (
    SELECT array_agg(v.provider_device ORDER BY v.provider_device) AS provider_devices,
           CASE WHEN min(v.integration::text) = max(v.integration::text)
                THEN min(v.integration::text)::uuid END AS integration,
           max(greatest(p.first_name_recorded_at, p.bound_at)) AS opened_at,
           bool_and(p.bound_at IS NOT NULL) AS meant
      FROM fleet.provider_devices v
      JOIN provider_devices p ON p.id = v.id
     WHERE v.device = several.device AND v.known_by = 'id' AND v.gone_at IS NULL
 ) live
 WHERE cardinality(live.provider_devices) > 1
   AND NOT live.meant
UNION ALL
-- Back after it had gone, while people here knew the device: nobody has said yet that this is meant.
SELECT d.organization,
       'reappeared',
       ARRAY[d.serial],
       ARRAY[d.id],
       ARRAY[v.provider_device],
       fleet.identity_conflict_id('reappeared', p.id::text, p.gone_id::text),
       p.integration,
       back.at,
       d.id
  FROM provider_devices p
  JOIN fleet.provider_devices v ON v.id = p.id AND v.gone_at IS NULL
  JOIN devices d ON d.id = v.device
 -- The first evidence after the tombstone; where its history was cut, the newest.
 CROSS JOIN LATERAL (
    SELECT coalesce(
        least(
            (SELECT min(f.at) FROM registry_facts f
              WHERE f.provider_device = p.id AND f.at > p.gone_at
                AND f.name NOT IN ('provider-device.disappeared', 'provider-device.bound')
                AND NOT (f.name = 'connection.changed' AND f.body ->> 'state' = 'disconnected')),
            (SELECT min(r.at) FROM readings r
              WHERE r.provider_device = p.id AND r.at > p.gone_at
                AND r.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'readings'), '-infinity')),
            (SELECT min(r.at) FROM logs r
              WHERE r.provider_device = p.id AND r.at > p.gone_at
                AND r.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'logs'), '-infinity'))),
        p.seen_at) AS at
 ) back
 WHERE p.gone_at IS NOT NULL
   AND (p.bound_at IS NULL OR p.bound_at < back.at)
   AND EXISTS (SELECT FROM local_facts f WHERE f.device = d.id)
   AND NOT EXISTS (
        SELECT FROM local_facts f
         WHERE f.device = d.id AND f.name IN ('device.retired', 'device.restored') AND f.at >= back.at)
UNION ALL
SELECT twice.organization,
       'same_serial',
       ARRAY[twice.serial],
       twice.devices,
       of_them.provider_devices,
       fleet.identity_conflict_id(
            'same_serial', VARIADIC ARRAY[twice.organization::text, twice.serial] || twice.devices::text[]),
       of_them.integration,
       of_them.opened_at,
       NULL
  FROM (
    SELECT d.organization, d.serial, array_agg(d.id ORDER BY d.id) AS devices
      FROM devices d
     GROUP BY d.organization, d.serial
    HAVING count(*) > 1
  ) twice
 CROSS JOIN LATERAL (
    SELECT array_agg(v.provider_device ORDER BY v.provider_device) AS provider_devices,
           CASE WHEN min(v.integration::text) = max(v.integration::text)
                THEN min(v.integration::text)::uuid END AS integration,
           max(greatest(p.first_name_recorded_at, p.bound_at)) AS opened_at,
           count(DISTINCT v.device) FILTER (WHERE p.bound_at IS NULL) AS n_unsaid
      FROM fleet.provider_devices v
      JOIN provider_devices p ON p.id = v.id
     WHERE v.device = ANY (twice.devices)
 ) of_them
 -- A duplicate that somebody made shares its serial number on purpose: nobody said so of two of them at least.
 WHERE of_them.n_unsaid > 1;

CREATE OR REPLACE VIEW fleet.conflicts WITH (security_invoker = true) AS
SELECT f.organization,
       f.conflict,
       'field' AS kind,
       f.device,
       f.serial,
       f.field,
       f.edit AS local,
       f.remote,
       f.base,
       f.strategy,
       f.edit_event,
       f.edit_author,
       f.edit_at AS edited_at,
       f.remote_at,
       greatest(f.edit_at, f.remote_at) AS opened_at,
       f.remote_integration AS integration,
       ARRAY[f.remote_provider_device] AS provider_devices,
       ARRAY[f.device] AS devices
  FROM fleet.device_fields f
 -- Devices that nobody edited are not looked at.
 WHERE f.device IN (SELECT e.device FROM field_edits e WHERE NOT fleet.is_local_field(e.field))
   AND f.state = 'conflict'
   AND f.strategy NOT IN ('prefer_local', 'prefer_remote')
UNION ALL
SELECT i.organization,
       i.conflict,
       i.kind,
       i.device,
       i.serials[cardinality(i.serials)],
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       i.opened_at,
       i.integration,
       i.provider_devices,
       i.devices
  FROM fleet.identity_conflicts i;

CREATE OR REPLACE VIEW fleet.conflict_history WITH (security_invoker = true) AS
SELECT c.organization, c.conflict, c.kind, c.device, c.serial, c.field,
       NULL AS decision,
       NULL::jsonb AS value,
       c.local,
       c.remote,
       NULL AS author,
       NULL AS reason,
       c.opened_at AS at,
       NULL::uuid AS event
  FROM fleet.conflicts c
UNION ALL
-- A resolution is an edit that saw the edit and the remote value in conflict.
SELECT e.organization,
       decided.conflict,
       'field',
       e.device,
       d.serial,
       e.field,
       CASE WHEN e.value_hash = local.hash THEN 'keep_local'
            WHEN e.value_hash = decided.remote_hash THEN 'keep_remote'
            ELSE 'value' END,
       nullif(e.value, 'null'),
       nullif(local.value, 'null'),
       nullif(e.seen_remote, 'null'),
       e.author,
       e.reason,
       e.at,
       e.id
  FROM field_edits e
  JOIN devices d ON d.id = e.device
 CROSS JOIN LATERAL (
    SELECT hash AS remote_hash, fleet.conflict_id(e.seen_edit, e.field, hash) AS conflict
      FROM coalesce(e.seen_hash, fleet.absent_hash(e.field)) hash
 ) decided
  LEFT JOIN LATERAL (
    SELECT x.value, x.value_hash AS hash
      FROM field_edits x
     WHERE x.device = e.device AND x.field = e.field AND x.id = e.seen_edit
     LIMIT 1
  ) local ON true
 WHERE e.resolves <> '{}'
   AND decided.conflict = ANY (e.resolves)
UNION ALL
SELECT f.organization,
       f.body -> 'resolves' ->> 0,
       'identity',
       (f.body ->> 'device')::uuid,
       coalesce(d.serial, f.body ->> 'serial'),
       NULL,
       CASE WHEN fleet.boolean_of(f.body -> 'duplicate') THEN 'create_duplicate' ELSE 'bound' END,
       to_jsonb(v.provider_device),
       NULL, NULL,
       f.body ->> 'author',
       f.body ->> 'reason',
       f.at,
       f.id
  FROM registry_facts f
  JOIN fleet.provider_devices v ON v.id = f.provider_device
  LEFT JOIN devices d ON d.id = (f.body ->> 'device')::uuid
 WHERE f.name = 'provider-device.bound';
