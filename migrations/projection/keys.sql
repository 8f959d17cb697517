-- Keys and indexes of the truth tables, run after truth.sql with the generation's schema first on the search path. A
-- rebuild runs it once the rows are there: an index over rows that lie ready is a sort, not a million searches.
--
-- Every key is what makes two rows one: whoever loads rows joins equal keys before. Statements end a line with `;`.

ALTER TABLE provider_devices ADD PRIMARY KEY (id);
ALTER TABLE field_registers ADD PRIMARY KEY (provider_device, field);
ALTER TABLE activity ADD PRIMARY KEY (provider_device);
ALTER TABLE connections ADD PRIMARY KEY (provider_device, at, connected, session_id);
ALTER TABLE firmware_reports ADD PRIMARY KEY (provider_device, package, at, fact);
ALTER TABLE readings_latest ADD PRIMARY KEY (provider_device, path, shape);
ALTER TABLE readings ADD PRIMARY KEY (provider_device, at, sequence, id);
ALTER TABLE logs ADD PRIMARY KEY (provider_device, at, sequence, id);
ALTER TABLE registry_facts ADD PRIMARY KEY (provider_device, id);
ALTER TABLE local_facts ADD PRIMARY KEY (device, id);
ALTER TABLE field_edits ADD PRIMARY KEY (device, field, at, sequence, id);
ALTER TABLE edit_answers ADD PRIMARY KEY (device, edit, field);
ALTER TABLE horizons ADD PRIMARY KEY (history);
ALTER TABLE receipt_timed ADD PRIMARY KEY (provider_device, id);
ALTER TABLE listening ADD PRIMARY KEY (integration, partition);
ALTER TABLE links ADD PRIMARY KEY (provider_device);
ALTER TABLE devices ADD PRIMARY KEY (id);
ALTER TABLE device_anchor ADD PRIMARY KEY (id);

ALTER TABLE readings ATTACH PARTITION readings_default DEFAULT;
ALTER TABLE logs ATTACH PARTITION logs_default DEFAULT;

-- Also for whoever sees one organization alone, and for those that have no name.
CREATE INDEX provider_devices_by_name ON provider_devices (organization, name);
-- Asked only for a name that they have.
CREATE INDEX provider_devices_by_integration ON provider_devices (integration, name) WHERE name IS NOT NULL;
CREATE INDEX firmware_reports_versions ON firmware_reports (provider_device, at, sequence, id) WHERE version <> '';
-- A name said by a delivery whose first reading is of another instant.
CREATE INDEX readings_named_apart ON readings (provider_device, name_at) WHERE name_at <> at;
CREATE INDEX logs_named_apart ON logs (provider_device, name_at) WHERE name_at <> at;
CREATE INDEX local_facts_by_serial ON local_facts (organization, serial);
CREATE INDEX field_edits_deciding ON field_edits (organization, at) WHERE resolves <> '{}';
CREATE INDEX links_by_device ON links (device);
CREATE INDEX devices_by_serial ON devices (organization, serial, id);
-- What may be in conflict: few of many.
CREATE INDEX provider_devices_renamed ON provider_devices (id) WHERE first_name <> name;
CREATE INDEX provider_devices_returned ON provider_devices (id) WHERE gone_at IS NOT NULL;
CREATE INDEX registry_facts_bound ON registry_facts (organization, at) WHERE name = 'provider-device.bound';
