-- Who may send. Written by the administration commands alone (as the owner of these tables); `ingest` follows it.

CREATE SCHEMA IF NOT EXISTS control;
COMMENT ON SCHEMA control IS 'Organizations, their integrations and the sealed credentials of those';

CREATE TABLE control.organizations (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL CONSTRAINT organizations_name_taken UNIQUE
                           CHECK (name ~ '\S' AND length(name) <= 200),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.integrations (
    id                 uuid        PRIMARY KEY,
    organization       uuid        NOT NULL
                                   CONSTRAINT integrations_organization_exists REFERENCES control.organizations (id),
    name               text        NOT NULL CHECK (name ~ '\S' AND length(name) <= 200),
    provider           text        NOT NULL CHECK (provider IN ('golioth', 'aws-iot', 'azure-iot-hub', 'mqtt')),
    project            text        CHECK (project <> ''),
    online_interval    interval    NOT NULL DEFAULT interval '10 minutes' CHECK (online_interval > interval '0'),
    offline_timeout    interval    NOT NULL DEFAULT interval '1 hour',
    battery_pointers   text[]      NOT NULL DEFAULT ARRAY['/battery', '/battery_level', '/battery/level', '/bat'],
    signal_pointers    text[]      NOT NULL DEFAULT ARRAY['/signal', '/rssi', '/signal/rssi', '/rsrp'],
    reading_time_field text        CHECK (reading_time_field <> ''),
    refuse_replayable  boolean     NOT NULL DEFAULT false,
    rate_ceiling       integer     CHECK (rate_ceiling > 0),
    strategies         jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(strategies) = 'object'),
    primary_package    text        CHECK (primary_package <> ''),
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT integrations_name_taken UNIQUE (organization, name),
    CONSTRAINT timeout_not_before_interval CHECK (offline_timeout >= online_interval),
    -- Every pointer begins with a slash; the empty one would take any number for a battery.
    CONSTRAINT battery_pointers_are_pointers CHECK (
        cardinality(battery_pointers) <= 16 AND '' <> ALL (battery_pointers)
        AND array_to_string(battery_pointers, E'\n', '-') !~ '(^|\n)[^/]'
    ),
    CONSTRAINT signal_pointers_are_pointers CHECK (
        cardinality(signal_pointers) <= 16 AND '' <> ALL (signal_pointers)
        AND array_to_string(signal_pointers, E'\n', '-') !~ '(^|\n)[^/]'
    )
);

COMMENT ON COLUMN control.integrations.project IS 'The Golioth project this integration is bound to: deliveries that name another are refused';
COMMENT ON COLUMN control.integrations.online_interval IS 'How long after evidence of life a device counts as online';
COMMENT ON COLUMN control.integrations.offline_timeout IS 'How long after evidence of life a silent device counts as offline';
COMMENT ON COLUMN control.integrations.battery_pointers IS 'JSON pointers to a battery level, read from the newest reading that has one';
COMMENT ON COLUMN control.integrations.signal_pointers IS 'JSON pointers to a signal strength, read from the newest reading that has one';
COMMENT ON COLUMN control.integrations.reading_time_field IS 'Field of an array element that holds the element''s own time';
COMMENT ON COLUMN control.integrations.refuse_replayable IS 'Refuse signed deliveries in which neither a time nor an id is signed';
COMMENT ON COLUMN control.integrations.rate_ceiling IS 'Deliveries per second beyond which 429 is answered; off if null';
COMMENT ON COLUMN control.integrations.strategies IS 'Who wins a conflict, by field: prefer_local, prefer_remote, manual, merge';
COMMENT ON COLUMN control.integrations.primary_package IS 'The package whose version is the device''s firmware version; any package if null';

CREATE TABLE control.credentials (
    id                uuid        PRIMARY KEY,
    integration       uuid        NOT NULL REFERENCES control.integrations (id),
    scheme            text        NOT NULL,
    header            text,
    prefix            text,
    encoding          text        CHECK (encoding IN ('hex', 'base64')),
    tolerance_seconds integer     CHECK (tolerance_seconds BETWEEN 1 AND 3600),
    not_before        timestamptz,
    expires_at        timestamptz CHECK (expires_at > not_before),
    revoked_at        timestamptz,
    -- A nonce of 24 bytes, the secret encrypted, a tag of 16 bytes.
    sealed_secret     bytea       NOT NULL CHECK (octet_length(sealed_secret) BETWEEN 41 AND 8192),
    sealing_key_id    text        NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT scheme_has_its_parameters CHECK (
        CASE scheme
            WHEN 'shared-secret' THEN
                header IS NOT NULL AND prefix IS NOT NULL AND encoding IS NULL AND tolerance_seconds IS NULL
            WHEN 'hmac-sha256' THEN
                header IS NOT NULL AND prefix IS NOT NULL AND encoding IS NOT NULL AND tolerance_seconds IS NULL
            WHEN 'timestamped-hmac' THEN
                header IS NOT NULL AND prefix IS NULL AND encoding IS NULL AND tolerance_seconds IS NOT NULL
            WHEN 'standard-webhooks' THEN
                header IS NULL AND prefix IS NULL AND encoding IS NULL AND tolerance_seconds IS NOT NULL
            ELSE false
        END
    )
);

CREATE INDEX credentials_of_integration ON control.credentials (integration);

COMMENT ON COLUMN control.credentials.sealed_secret IS 'XChaCha20-Poly1305, bound to the credential''s id: a secret cannot be moved to another row';
COMMENT ON COLUMN control.credentials.sealing_key_id IS 'Which key seals it; a hash of the key, not the key';

-- Apart from the credentials, so that `ingest` may write this and nothing else.
CREATE TABLE control.credential_use (
    credential   uuid        PRIMARY KEY REFERENCES control.credentials (id) ON DELETE CASCADE,
    last_used_at timestamptz NOT NULL
);

-- Followers ask for one number. Its row lock puts changes in order, so whoever reads a revision sees all up to it.
CREATE TABLE control.revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint  NOT NULL
);
INSERT INTO control.revision (revision) VALUES (1);

CREATE FUNCTION control.raise_revision() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE control.revision SET revision = revision + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER raise_revision AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON control.organizations
    FOR EACH STATEMENT EXECUTE FUNCTION control.raise_revision();
CREATE TRIGGER raise_revision AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON control.integrations
    FOR EACH STATEMENT EXECUTE FUNCTION control.raise_revision();
CREATE TRIGGER raise_revision AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON control.credentials
    FOR EACH STATEMENT EXECUTE FUNCTION control.raise_revision();

-- Producers stamp organization and integration into events that are kept for ever; the pair may never change.
CREATE FUNCTION control.guard_integration() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.organization <> OLD.organization THEN
        RAISE EXCEPTION 'an integration never changes its id or its organization'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER guard_integration BEFORE UPDATE ON control.integrations
    FOR EACH ROW EXECUTE FUNCTION control.guard_integration();

-- What projections are joined with when they are read. It runs with the reader's own rights: row-level security
-- below it decides which organizations that reader sees.
CREATE VIEW control.integration_policy WITH (security_invoker = true) AS
SELECT id AS integration, organization, name, provider, project,
       online_interval, offline_timeout, battery_pointers, signal_pointers, primary_package
  FROM control.integrations;

COMMENT ON VIEW control.integration_policy IS 'How the readings and the silence of an integration''s devices are to be understood';

ALTER TABLE control.organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE control.integrations ENABLE ROW LEVEL SECURITY;

CREATE POLICY all_organizations ON control.organizations FOR SELECT
    TO fleetlog_operator, fleetlog_projector, fleetlog_ingest USING (true);
CREATE POLICY all_organizations ON control.integrations FOR SELECT
    TO fleetlog_operator, fleetlog_projector, fleetlog_ingest USING (true);
-- A setting that was made local to a transaction reads as '' after it: no organization, not an error.
CREATE POLICY own_organization ON control.organizations FOR SELECT
    TO fleetlog_api USING (id = nullif(current_setting('fleetlog.organization', true), '')::uuid);
CREATE POLICY own_organization ON control.integrations FOR SELECT
    TO fleetlog_api USING (organization = nullif(current_setting('fleetlog.organization', true), '')::uuid);

GRANT USAGE ON SCHEMA control TO fleetlog_operator, fleetlog_api, fleetlog_projector, fleetlog_ingest;

GRANT SELECT ON control.organizations TO fleetlog_operator, fleetlog_api, fleetlog_projector;
GRANT SELECT ON control.integration_policy TO fleetlog_operator, fleetlog_api, fleetlog_projector;
GRANT SELECT (id, organization, name, provider, project,
              online_interval, offline_timeout, battery_pointers, signal_pointers, primary_package)
    ON control.integrations TO fleetlog_operator, fleetlog_api, fleetlog_projector;

GRANT SELECT ON control.organizations, control.integrations, control.credentials, control.revision
    TO fleetlog_ingest;
GRANT SELECT, INSERT, UPDATE ON control.credential_use TO fleetlog_ingest;
