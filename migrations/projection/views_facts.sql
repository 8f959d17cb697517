-- The views of `fleet` over what was told, as it was told: what was true at T, and what we had been told by T. Run like
-- views.sql, after it.

CREATE OR REPLACE VIEW fleet.facts WITH (security_invoker = true) AS
SELECT r.organization,
       p.device,
       p.provider_device,
       p.integration,
       r.name,
       r.at,
       r.sequence,
       r.id AS event,
       r.recorded_at,
       r.origin,
       r.body ->> 'author' AS author,
       r.body,
       r.provider_device AS provider_device_key
  FROM registry_facts r
  JOIN fleet.provider_devices p ON p.id = r.provider_device
UNION ALL
SELECT f.organization, f.device, NULL, NULL, f.name, f.at, f.sequence, f.id, f.recorded_at,
       NULL, f.author, f.body, NULL
  FROM local_facts f;

CREATE OR REPLACE VIEW fleet.heard WITH (security_invoker = true) AS
SELECT r.organization,
       p.device,
       p.provider_device,
       'reading' AS by,
       r.at,
       r.sequence,
       r.id AS event,
       r.recorded_at,
       coalesce(r.origin, 'push') AS origin,
       r.device_name,
       r.name_at,
       r.provider_device AS provider_device_key
  FROM readings r
  JOIN fleet.provider_devices p ON p.id = r.provider_device
 WHERE r.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'readings'), '-infinity')
UNION ALL
SELECT l.organization, p.device, p.provider_device, 'log', l.at, l.sequence, l.id, l.recorded_at,
       coalesce(l.origin, 'push'), l.device_name, l.name_at, l.provider_device
  FROM logs l
  JOIN fleet.provider_devices p ON p.id = l.provider_device
 WHERE l.at >= coalesce((SELECT h.before FROM horizons h WHERE h.history = 'logs'), '-infinity');
