-- The schema, the roles and the event log.

DO $$
DECLARE
    role_name text;
    held record;
BEGIN
    IF to_regnamespace('audit') IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_schema',
            MESSAGE = 'schema "audit" already exists',
            DETAIL = 'The extension makes this schema and owns it, so that nobody else''s objects are trusted.',
            HINT = 'Rename the schema that is there (ALTER SCHEMA audit RENAME TO ...), or drop it.';
    END IF;
    -- The roles are the cluster's: two databases may install the extension at the same time.
    LOCK TABLE pg_authid IN SHARE ROW EXCLUSIVE MODE;
    FOREACH role_name IN ARRAY ARRAY['audit_admin', 'audit_writer', 'audit_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            CONTINUE;
        END IF;
        -- Whoever is granted the role would get all that it already holds or belongs to.
        SELECT concat_ws(', ', string_agg(h.attribute, ', ' ORDER BY h.attribute),
                               string_agg('member of ' || h.parent, ', ' ORDER BY h.parent)) AS what,
               concat_ws('; ', format('ALTER ROLE %I ', role_name) || string_agg('NO' || h.attribute, ' ' ORDER BY h.attribute),
                               'REVOKE ' || string_agg(h.parent, ', ' ORDER BY h.parent) || format(' FROM %I', role_name)) AS remedy
        INTO held
        FROM (SELECT a.attribute, NULL::text AS parent
              FROM pg_roles r
              CROSS JOIN LATERAL (VALUES ('LOGIN', r.rolcanlogin), ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole),
                                         ('CREATEDB', r.rolcreatedb), ('REPLICATION', r.rolreplication),
                                         ('BYPASSRLS', r.rolbypassrls)) AS a (attribute, is_held)
              WHERE r.rolname = role_name AND a.is_held
              UNION ALL
              SELECT NULL, m.roleid::regrole::text
              FROM pg_auth_members m
              WHERE m.member = (SELECT oid FROM pg_roles WHERE rolname = role_name)) AS h;
        IF held.what <> '' THEN
            RAISE EXCEPTION USING
                ERRCODE = 'duplicate_object',
                MESSAGE = format('role "%s" exists and has more rights than it may have: %s', role_name, held.what),
                DETAIL = 'The extension grants rights to this role, which is for membership only; it implies no other.',
                HINT = format('%s; or rename it.', held.remedy);
        END IF;
    END LOOP;
END
$$;

COMMENT ON ROLE audit_admin IS 'Configures what is audited; reads and writes no events';
COMMENT ON ROLE audit_writer IS 'The application: names its user (audit.actor_id) and calls audit.record; reads nothing';
COMMENT ON ROLE audit_reader IS 'May select from the audit log; row-level security decides which rows';

CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'Row audit: who did what, when, to which resource';

-- Identifiers compare byte by byte: patterns become index ranges, and no new version of the operating system's
-- collations can corrupt an index of the log.
CREATE TABLE audit.event (
    event_id         uuid NOT NULL,
    occurred_at      timestamptz NOT NULL,
    transaction_id   xid8 NOT NULL,
    action           text COLLATE "C" NOT NULL,
    resource_type    text COLLATE "C",
    resource_id      text COLLATE "C",
    actor_id         text COLLATE "C",
    actor_type       text COLLATE "C",
    organisation_id  text COLLATE "C",
    project_id       text COLLATE "C",
    before_state     jsonb,
    after_state      jsonb,
    metadata         jsonb,
    session_role     text COLLATE "C",
    db_role          text COLLATE "C",
    application_name text,
    client_addr      inet,
    table_name       text COLLATE "C"
) PARTITION BY RANGE (occurred_at);

COMMENT ON TABLE audit.event IS 'The audit log: one row for each change of a tracked resource. Append-only; partitioned by month (UTC)';
COMMENT ON COLUMN audit.event.event_id IS 'UUID version 7 (RFC 9562) with microseconds: ORDER BY event_id is ORDER BY time and, within a transaction, the order of the changes';
COMMENT ON COLUMN audit.event.occurred_at IS 'Clock time of the change, in microseconds; the same reading as in event_id';
COMMENT ON COLUMN audit.event.transaction_id IS 'The transaction of the change; groups its events';
COMMENT ON COLUMN audit.event.action IS 'What happened, such as datasource.deleted; see audit.catalogue';
COMMENT ON COLUMN audit.event.resource_type IS 'Kind of resource, such as datasource';
COMMENT ON COLUMN audit.event.resource_id IS 'Key of the resource as text; the parts of a composite key are joined with ":"';
COMMENT ON COLUMN audit.event.actor_id IS 'Who did it, as the application said (audit.actor_id); NULL if unknown';
COMMENT ON COLUMN audit.event.actor_type IS 'user, system or api-key (audit.actor_type); NULL if unknown';
COMMENT ON COLUMN audit.event.organisation_id IS 'Organisation of the resource; NULL if it belongs to none';
COMMENT ON COLUMN audit.event.project_id IS 'Project of the resource; NULL at organisation level';
COMMENT ON COLUMN audit.event.before_state IS 'The row before: all of it for a DELETE, the changed columns for an UPDATE, NULL for an INSERT';
COMMENT ON COLUMN audit.event.after_state IS 'The row after: all of it for an INSERT, the changed columns for an UPDATE, NULL for a DELETE';
COMMENT ON COLUMN audit.event.metadata IS 'What else the application said (audit.metadata): request id, IP address, user agent, reason';
COMMENT ON COLUMN audit.event.session_role IS 'session_user: the role that logged in';
COMMENT ON COLUMN audit.event.db_role IS 'The role in force outside any SECURITY DEFINER function: session_role, or what SET ROLE set';
COMMENT ON COLUMN audit.event.application_name IS 'application_name: the client''s own word';
COMMENT ON COLUMN audit.event.client_addr IS 'Address of the client; NULL for a local socket';
COMMENT ON COLUMN audit.event.table_name IS 'schema.table of the change; NULL for audit.record';

-- Where events go whose month has no partition yet, so that a missed maintenance run never blocks a write. Its
-- rows are dumped; the months are ordinary tables, which are dumped anyway. Keys and indexes are each
-- partition's own: audit.maintain() makes the months LIKE this one.
CREATE TABLE audit.event_default PARTITION OF audit.event DEFAULT;
COMMENT ON TABLE audit.event_default IS 'Catch-all of audit.event for months without a partition; CALL audit.maintain() empties it';
ALTER TABLE audit.event_default ADD PRIMARY KEY (event_id);
-- One index for each question the log answers, newest first; in a scope the action comes before the time, so that a
-- filter that shows little reads little. No two events share an event_id, so looking for duplicates before each
-- page split would be for nothing. resource_id leads, since it alone tells most apart.
CREATE INDEX event_default_organisation ON audit.event_default (organisation_id, action, event_id) WITH (deduplicate_items = off);
CREATE INDEX event_default_project ON audit.event_default (project_id, action, event_id) WITH (deduplicate_items = off);
CREATE INDEX event_default_resource ON audit.event_default (resource_id, resource_type, event_id) WITH (deduplicate_items = off);
CREATE INDEX event_default_actor ON audit.event_default (actor_id, event_id) WITH (deduplicate_items = off);
CREATE INDEX event_default_action ON audit.event_default (action, event_id) WITH (deduplicate_items = off);
-- Images that are too long for a page are compressed five to ten times faster by lz4, where the server has it.
DO $$
BEGIN
    ALTER TABLE audit.event_default ALTER before_state SET COMPRESSION lz4, ALTER after_state SET COMPRESSION lz4,
                                    ALTER metadata SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
SELECT pg_extension_config_dump('audit.event_default', '');

-- Row-level security without a policy lets nobody in, whatever was granted: readers go through audit.event.
ALTER TABLE audit.event ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit.event_default ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION audit.guard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'audit_guard';
COMMENT ON FUNCTION audit.guard() IS
'Trigger of the log: refuses UPDATE, DELETE and TRUNCATE, and INSERT to all but superusers, whose restore needs it (SQLSTATE 42501)';

-- The row guard is copied to every partition, and holds for what replication applies. A statement guard stands on
-- each, so that what finds no row is refused, too. INSERT has no row guard: a restore's COPY would be slower for it.
CREATE TRIGGER "!audit_row_guard" BEFORE UPDATE OR DELETE ON audit.event
    FOR EACH ROW EXECUTE FUNCTION audit.guard();
CREATE TRIGGER "!audit_statement_guard" BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON audit.event
    FOR EACH STATEMENT EXECUTE FUNCTION audit.guard();
CREATE TRIGGER "!audit_statement_guard" BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON audit.event_default
    FOR EACH STATEMENT EXECUTE FUNCTION audit.guard();
ALTER TABLE audit.event ENABLE ALWAYS TRIGGER "!audit_row_guard";
ALTER TABLE audit.event ENABLE ALWAYS TRIGGER "!audit_statement_guard";
ALTER TABLE audit.event_default ENABLE ALWAYS TRIGGER "!audit_statement_guard";
COMMENT ON TRIGGER "!audit_row_guard" ON audit.event IS 'The log is append-only';
COMMENT ON TRIGGER "!audit_statement_guard" ON audit.event IS 'The log is append-only';
COMMENT ON TRIGGER "!audit_statement_guard" ON audit.event_default IS 'The log is append-only';
