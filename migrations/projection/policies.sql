-- Who may read the truth tables of one generation. Run after truth.sql and keys.sql, with the generation's schema first on the
-- search path, by the owner of its tables.
--
-- Only tables that the views of `fleet` read are granted. Partitions are reached through their parents alone: they
-- have no grants, so a new day needs none of this. Row-level security is forced, so that it binds the owner too;
-- COPY cannot write into such a table, only into a staging table beside it.

DO $$
DECLARE
    truth record;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO fleetlog_operator, fleetlog_api', current_schema());

    FOR truth IN
        SELECT c.relname AS name,
               EXISTS (SELECT FROM pg_catalog.pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attname = 'organization') AS of_organization
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace
           AND c.relkind IN ('r', 'p')
           AND NOT c.relispartition
         ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', truth.name);
        EXECUTE format(
            'CREATE POLICY projector_writes ON %I TO fleetlog_projector USING (true) WITH CHECK (true)', truth.name);
        EXECUTE format(
            'CREATE POLICY all_organizations ON %I FOR SELECT TO fleetlog_operator USING (true)', truth.name);
        IF truth.of_organization THEN
            -- A setting that was made local to a transaction reads as '' after it: no organization, not an error.
            EXECUTE format(
                'CREATE POLICY own_organization ON %I FOR SELECT TO fleetlog_api '
                'USING (organization = nullif(current_setting(''fleetlog.organization'', true), '''')::uuid)',
                truth.name);
        END IF;
    END LOOP;
END
$$;

-- A horizon is everybody's: a history is cut for all.
CREATE POLICY every_organization ON horizons FOR SELECT TO fleetlog_api USING (true);

GRANT SELECT ON activity, connections, devices, edit_answers, field_edits, field_registers, firmware_reports, horizons,
                links, listening, local_facts, logs, provider_devices, readings, readings_latest, registry_facts
    TO fleetlog_operator, fleetlog_api;
