-- What readers call and select from.

CREATE FUNCTION audit.log(
    organisation_id text DEFAULT NULL,
    project_id text DEFAULT NULL,
    pattern text DEFAULT NULL,
    before uuid DEFAULT NULL,
    max_rows int DEFAULT 50,
    actor_id text DEFAULT NULL,
    resource_type text DEFAULT NULL,
    resource_id text DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL
) RETURNS SETOF audit.event
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 50
    AS 'MODULE_PATHNAME', 'audit_log';
COMMENT ON FUNCTION audit.log(text, text, text, uuid, int, text, text, text, timestamptz, timestamptz) IS
'One page of the log, newest first: of what the session may read, the events that all arguments fit. NULL restricts nothing.
organisation_id, project_id: where.
pattern: which actions, as for audit_match; NULL or blank is audit.default_pattern(project_id): organisation.*, in a project *.
before: the last event_id of the page above. Pages neither repeat nor skip an event, whatever is written meanwhile.
max_rows: how many events at most; NULL is all.
actor_id: who did it. resource_type, resource_id: to what.
since, until: from this time on, and before that time; event_id has to agree with occurred_at, as it does in events of the extension''s.
Errors: 42501 SELECT on audit.event is not granted; 22023 the pattern is malformed; 2201W max_rows is negative;
0A000 policies were added to audit.event; 55000 the view of audit.use_admins_from cannot be read';

CREATE FUNCTION audit.history(resource_type text, resource_id text, before uuid DEFAULT NULL, max_rows int DEFAULT 50)
    RETURNS SETOF audit.event
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 50
    AS 'MODULE_PATHNAME', 'audit_history';
COMMENT ON FUNCTION audit.history(text, text, uuid, int) IS
'What happened to one resource, newest first: of what the session may read, one page.
before: the last event_id of the page above. max_rows: how many events at most; NULL is all.
Errors: 22004 resource_type or resource_id is NULL; otherwise as audit.log';

-- For BI tools. Row-level security is the reader's, not the view's owner's.
CREATE VIEW audit.organisation_log WITH (security_invoker = true) AS
SELECT organisation_id, occurred_at AS "timestamp", action, coalesce(resource_type, 'N/A') AS resource_type,
       coalesce(resource_id, 'N/A') AS resource_id, coalesce(actor_id, 'N/A') AS actor_id, project_id, event_id
FROM audit.event WHERE organisation_id IS NOT NULL;
COMMENT ON VIEW audit.organisation_log IS 'The organisations'' logs, as the Audit tab shows them: of what the session may read, every event of an organisation';
COMMENT ON COLUMN audit.organisation_log.organisation_id IS 'The organisation';
COMMENT ON COLUMN audit.organisation_log."timestamp" IS 'When the action occurred';
COMMENT ON COLUMN audit.organisation_log.action IS 'The action''s name; audit_match filters by it';
COMMENT ON COLUMN audit.organisation_log.resource_type IS 'Type of resource; N/A if there is none';
COMMENT ON COLUMN audit.organisation_log.resource_id IS 'ID of the affected resource; N/A if there is none';
COMMENT ON COLUMN audit.organisation_log.actor_id IS 'User or system that performed the action; N/A if unknown';
COMMENT ON COLUMN audit.organisation_log.project_id IS 'The project; NULL at organisation level';
COMMENT ON COLUMN audit.organisation_log.event_id IS 'ORDER BY event_id is ORDER BY time';

CREATE VIEW audit.project_log WITH (security_invoker = true) AS
SELECT project_id, occurred_at AS "timestamp", action, coalesce(resource_type, 'N/A') AS resource_type,
       coalesce(resource_id, 'N/A') AS resource_id, coalesce(actor_id, 'N/A') AS actor_id, organisation_id, event_id
FROM audit.event WHERE project_id IS NOT NULL;
COMMENT ON VIEW audit.project_log IS 'The projects'' logs, as the Audit tab shows them: of what the session may read, every event of a project';
COMMENT ON COLUMN audit.project_log.project_id IS 'The project';
COMMENT ON COLUMN audit.project_log."timestamp" IS 'When the action occurred';
COMMENT ON COLUMN audit.project_log.action IS 'The action''s name; audit_match filters by it';
COMMENT ON COLUMN audit.project_log.resource_type IS 'Type of resource; N/A if there is none';
COMMENT ON COLUMN audit.project_log.resource_id IS 'ID of the affected resource; N/A if there is none';
COMMENT ON COLUMN audit.project_log.actor_id IS 'User or system that performed the action; N/A if unknown';
COMMENT ON COLUMN audit.project_log.organisation_id IS 'The organisation, if the project is known to be in one';
COMMENT ON COLUMN audit.project_log.event_id IS 'ORDER BY event_id is ORDER BY time';
