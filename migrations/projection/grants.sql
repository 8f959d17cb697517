-- Who may read them. Row-level security on the tables beneath decides which rows.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA fleet FROM PUBLIC;
GRANT USAGE ON SCHEMA fleet TO fleetlog_operator, fleetlog_api;
GRANT SELECT ON ALL TABLES IN SCHEMA fleet TO fleetlog_operator, fleetlog_api;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA fleet TO fleetlog_operator, fleetlog_api;
