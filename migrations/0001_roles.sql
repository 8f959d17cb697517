-- The roles that others connect as. Whoever migrates owns all tables and is the only one to change them by hand.
--
-- None can log in: a deployment makes its own login roles and grants them one of these, or gives these a password.
-- Roles belong to the whole server, so databases that are migrated at the same time meet here.

DO $$
DECLARE
    wanted  text;
    purpose text;
BEGIN
    -- Sorted, so that concurrent migrations wait for each other in one direction only.
    FOR wanted, purpose IN
        SELECT * FROM (VALUES
            ('fleetlog_api', 'reads one organization at a time, the one in the setting fleetlog.organization'),
            ('fleetlog_ingest', 'reads who may send; writes only when a credential was last used'),
            ('fleetlog_operator', 'reads the projections of all organizations; no credentials'),
            ('fleetlog_projector', 'the only writer of projections')
        ) AS roles ORDER BY 1
    LOOP
        -- Asked first: whoever migrates need not be allowed to make roles once they are there.
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
                EXECUTE format('COMMENT ON ROLE %I IS %L', wanted, 'fleetlog: ' || purpose);
            EXCEPTION
                -- Another database's migration was faster; it may be seen as either.
                WHEN duplicate_object OR unique_violation THEN
                    NULL;
            END;
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), wanted);
    END LOOP;
END
$$;

-- What is in the search path of others must come from us alone.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
