-- Who wins a conflict is stamped in an edit when it is written, by whoever writes it: they read it here.
CREATE OR REPLACE VIEW control.integration_policy WITH (security_invoker = true) AS
SELECT id AS integration, organization, name, provider, project,
       online_interval, offline_timeout, battery_pointers, signal_pointers, primary_package, strategies
  FROM control.integrations;

COMMENT ON VIEW control.integration_policy IS 'How the readings, the silence and the conflicts of an integration''s devices are to be understood';

GRANT SELECT (strategies) ON control.integrations TO fleetlog_operator, fleetlog_api, fleetlog_projector;
