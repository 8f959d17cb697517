-- A fleet as it would be after a month, written straight into the tables of a generation: :n devices of five
-- organizations, the first of which has four integrations and half of the devices. Of a hundred devices 85 are heard
-- every few minutes, five are silent since an hour, seven since days, one was disconnected, one was never heard.
SET search_path = gen_1;
SET synchronous_commit = off;
SET max_parallel_workers_per_gather = 0;

INSERT INTO control.organizations (id, name)
SELECT md5('org' || o)::uuid, 'org ' || o FROM generate_series(0, 4) o;

INSERT INTO control.integrations (id, organization, name, provider, online_interval, offline_timeout)
SELECT md5('int' || i)::uuid, md5('org' || greatest(0, i - 3))::uuid, 'int ' || i, 'golioth',
       (ARRAY[interval '10 minutes', '10 minutes', '5 minutes', '30 minutes'])[i % 4 + 1],
       (ARRAY[interval '1 hour', '2 hours', '15 minutes', '1 day'])[i % 4 + 1]
  FROM generate_series(0, 7) i;

CREATE UNLOGGED TABLE public.fleet AS
SELECT i,
       md5('p' || i)::uuid AS provider_device,
       md5('d' || i)::uuid AS device,
       md5('e' || i)::uuid AS event,
       md5('int' || i % 8)::uuid AS integration,
       md5('org' || greatest(0, i % 8 - 3))::uuid AS organization,
       'SN-' || lpad((i::bigint * 7919 % 1000003)::text, 7, '0') AS serial,
       i * 7 % 100 AS kind,
       interval '1 second' * CASE WHEN i * 7 % 100 < 85 THEN random() * 280
                                  WHEN i * 7 % 100 < 90 THEN random() * 1500 + 1800
                                  WHEN i * 7 % 100 < 97 THEN random() * 864000 + 86400
                                  ELSE random() * 280 END AS silent
  FROM generate_series(1, :n) i;

INSERT INTO provider_devices
       (id, organization, integration, known_by, external_id, name, name_at, name_sequence, name_id,
        first_name, first_name_recorded_at, first_name_id, seen_at, seen_sequence, seen_id)
SELECT provider_device, organization, integration, 'id', substr(md5('x' || i), 1, 24),
       serial, now() - interval '30 days', 0, event, serial, now() - interval '30 days', event,
       now() - interval '1 hour' * random(), 0, event
  FROM public.fleet;
INSERT INTO links SELECT provider_device, organization, device, 'first_name' FROM public.fleet;
INSERT INTO devices
SELECT device, organization, serial, CASE WHEN kind = 3 THEN 'name ' || i END, NULL, NULL FROM public.fleet;
INSERT INTO device_anchor SELECT device FROM public.fleet;

INSERT INTO activity
       (provider_device, organization, integration, last_report_by, last_report_origin, last_report_at,
        last_report_sequence, last_report_id, connected_session, connected_evidence, connected_at, connected_sequence,
        connected_id, disconnected_session, disconnected_evidence, disconnected_reason, disconnected_at,
        disconnected_sequence, disconnected_id)
SELECT provider_device, organization, integration, 'reading', 'push', now() - silent, 0, event,
       's' || i, 'reported', now() - interval '20 days', 0, event,
       CASE WHEN kind IN (96, 98) THEN 's' || i END,
       CASE WHEN kind IN (96, 98) THEN 'reported' END,
       CASE WHEN kind IN (96, 98) THEN 'gone' END,
       CASE kind WHEN 98 THEN now() - silent + interval '1 second' WHEN 96 THEN now() - interval '60 days' END,
       CASE WHEN kind IN (96, 98) THEN 0 END,
       CASE WHEN kind IN (96, 98) THEN event END
  FROM public.fleet
 WHERE kind <> 97;

INSERT INTO field_registers
SELECT provider_device, organization, said.field, said.value, md5(said.value::text)::uuid,
       now() - interval '30 days', 0, event
  FROM public.fleet
 CROSS JOIN LATERAL (
    VALUES ('status', '"-"'::jsonb), ('cohort', '"stable"'), ('enabled', 'true'),
           ('metadata', jsonb_build_object('site', 'site ' || i % 500, 'floor', i % 9)),
           ('tags', '[{"id": "t1", "name": "north"}]'),
           ('hardware_ids', jsonb_build_array(i::text))
 ) said (field, value);

INSERT INTO readings_latest
SELECT provider_device, organization, sent.path, md5(sent.path)::uuid, now() - silent, 0, event, now() - silent,
       'application/json', sent.data, NULL
  FROM public.fleet
 CROSS JOIN LATERAL (
    VALUES ('/sensor', jsonb_build_object('temp', 21.5, 'battery', i % 100, 'n', i)),
           ('/radio', jsonb_build_object('rssi', -(i % 90)))
 ) sent (path, data)
 WHERE kind <> 97;

INSERT INTO firmware_reports
SELECT provider_device, organization, 'main', now() - interval '20 days', event, '1.' || i % 7 || '.0', '', 'idle', '',
       0, event, NULL, NULL, 'reported', now() - interval '20 days'
  FROM public.fleet
 WHERE kind <> 97;

INSERT INTO registry_facts
SELECT provider_device, organization, event, 'provider-device.observed', now() - interval '30 days', 0,
       now() - interval '30 days', 'poll', jsonb_build_object('name', serial)
  FROM public.fleet;

-- One of a hundred was edited here.
INSERT INTO local_facts
SELECT device, organization, event, 'device.edited', serial, now() - interval '10 days', 0, now() - interval '10 days',
       'ann', '{}'
  FROM public.fleet WHERE i % 100 = 1;
INSERT INTO field_edits
SELECT device, organization, 'metadata', now() - interval '10 days', 0, event, '{"site": "x"}',
       md5('{"site": "x"}')::uuid, NULL, NULL, NULL, NULL, 'prefer_local', '{}', 'ann', NULL,
       now() - interval '10 days'
  FROM public.fleet WHERE i % 100 = 1;

INSERT INTO listening
SELECT DISTINCT integration, organization, partition, now(), NULL::timestamptz
  FROM public.fleet, generate_series(0, 11) partition;

DROP TABLE public.fleet;
VACUUM (ANALYZE);
