-- Who reads what. Nobody reads by default: an organisation's admin its events, a project's admin the project's, an
-- instance owner everything.

CREATE TABLE audit.admin (
    actor_id        text COLLATE "C",
    db_role         name,
    db_role_oid     oid,
    organisation_id text COLLATE "C",
    project_id      text COLLATE "C",
    instance_owner  boolean NOT NULL DEFAULT false,
    granted_at      timestamptz NOT NULL DEFAULT now(),
    -- One principal, and a scope: NULL never means all.
    CHECK ((actor_id IS NULL) <> (db_role IS NULL)),
    CHECK ((db_role IS NULL) = (db_role_oid IS NULL)),
    CHECK (instance_owner = (organisation_id IS NULL AND project_id IS NULL)),
    UNIQUE NULLS NOT DISTINCT (actor_id, db_role, organisation_id, project_id)
);
CREATE INDEX admin_role ON audit.admin (db_role_oid) WHERE actor_id IS NULL;
COMMENT ON TABLE audit.admin IS 'Who may read what, one row for each principal and scope; see audit.grant_admin';
COMMENT ON COLUMN audit.admin.actor_id IS 'The application''s user (audit.actor_id)';
COMMENT ON COLUMN audit.admin.db_role IS 'Or a role of the database, which reads as itself where no actor is set';
COMMENT ON COLUMN audit.admin.db_role_oid IS 'The role''s OID: the row counts only while the role has this name and this OID';
COMMENT ON COLUMN audit.admin.organisation_id IS 'The organisation that it administers';
COMMENT ON COLUMN audit.admin.project_id IS 'The project that it administers; with organisation_id, that organisation''s project of this id';
COMMENT ON COLUMN audit.admin.instance_owner IS 'Whether it reads everything';
COMMENT ON COLUMN audit.admin.granted_at IS 'When';

CREATE TABLE audit.admin_source (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    schema_name name NOT NULL,
    source_name name NOT NULL,
    owner       name NOT NULL
);
COMMENT ON TABLE audit.admin_source IS 'The view with the application''s own admins; see audit.use_admins_from';
COMMENT ON COLUMN audit.admin_source.only_one IS 'There is one source, or none';
COMMENT ON COLUMN audit.admin_source.schema_name IS 'Its schema';
COMMENT ON COLUMN audit.admin_source.source_name IS 'Its name: a migration may drop it and make it again';
COMMENT ON COLUMN audit.admin_source.owner IS 'Its owner, as whom it is read; nobody else''s view of that name counts';

CREATE TABLE audit.organisation (
    organisation_id text COLLATE "C" PRIMARY KEY,
    enterprise      boolean NOT NULL
);
COMMENT ON TABLE audit.organisation IS 'Organisations that differ from audit.enterprise; see audit.set_organisation';
COMMENT ON COLUMN audit.organisation.organisation_id IS 'The organisation';
COMMENT ON COLUMN audit.organisation.enterprise IS 'Whether it has the enterprise feature, without which its admins read nothing';

-- Whoever changes who may read leaves an event, on whatever way: these tables are tracked as an application's are.
-- A restore is none (src/own.rs).
CREATE TRIGGER "!audit_row" AFTER INSERT OR UPDATE OR DELETE ON audit.admin
    FOR EACH ROW EXECUTE FUNCTION audit.capture(
        '{"resource_type": "admin", "resource_id": ["actor_id"], "organisation_id": "organisation_id", "project_id": "project_id",
          "actions": {"insert": "audit.admin.granted", "update": "audit.admin.granted", "delete": "audit.admin.revoked"},
          "rules": [{"on": "insert", "if": "new.actor_id IS NULL", "action": "audit.admin.granted", "resource_id": ["db_role"]},
                    {"on": "update", "if": "new.actor_id IS NULL", "action": "audit.admin.granted", "resource_id": ["db_role"]},
                    {"on": "delete", "if": "old.actor_id IS NULL", "action": "audit.admin.revoked", "resource_id": ["db_role"]}]}');
CREATE TRIGGER "!audit_truncate" AFTER TRUNCATE ON audit.admin
    FOR EACH STATEMENT EXECUTE FUNCTION audit.capture('{"resource_type": "admin", "actions": {"truncate": "audit.admin.revoked"}}');
CREATE TRIGGER "!audit_row" AFTER INSERT OR UPDATE OR DELETE ON audit.admin_source
    FOR EACH ROW EXECUTE FUNCTION audit.capture(
        '{"resource_type": "admin_source", "resource_id": ["schema_name", "source_name"], "exclude": ["only_one"],
          "actions": {"insert": "audit.admin.source_changed", "update": "audit.admin.source_changed", "delete": "audit.admin.source_changed"}}');
CREATE TRIGGER "!audit_truncate" AFTER TRUNCATE ON audit.admin_source
    FOR EACH STATEMENT EXECUTE FUNCTION audit.capture('{"resource_type": "admin_source", "actions": {"truncate": "audit.admin.source_changed"}}');
CREATE TRIGGER "!audit_row" AFTER INSERT OR UPDATE OR DELETE ON audit.organisation
    FOR EACH ROW EXECUTE FUNCTION audit.capture(
        '{"resource_type": "organisation", "organisation_id": "organisation_id",
          "actions": {"insert": "audit.organisation.changed", "update": "audit.organisation.changed", "delete": "audit.organisation.changed"}}');
CREATE TRIGGER "!audit_truncate" AFTER TRUNCATE ON audit.organisation
    FOR EACH STATEMENT EXECUTE FUNCTION audit.capture('{"resource_type": "organisation", "actions": {"truncate": "audit.organisation.changed"}}');
DO $$
DECLARE
    own record;
BEGIN
    FOR own IN SELECT tgrelid::regclass AS table_name, tgname FROM pg_trigger
               WHERE tgrelid IN ('audit.admin'::regclass, 'audit.admin_source'::regclass, 'audit.organisation'::regclass)
                 AND tgfoid = 'audit.capture()'::regprocedure LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', own.table_name, own.tgname);
        EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', own.tgname, own.table_name, 'The trail audits itself');
    END LOOP;
END
$$;

SELECT pg_extension_config_dump('audit.admin', '');
SELECT pg_extension_config_dump('audit.admin_source', '');
SELECT pg_extension_config_dump('audit.organisation', '');

-- Ids of one tenant are none of another's: whoever configures sees these tables, pg_read_all_data alone does not.
ALTER TABLE audit.admin ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit.admin_source ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit.organisation ENABLE ROW LEVEL SECURITY;
CREATE POLICY configured ON audit.admin FOR SELECT TO audit_admin USING (true);
CREATE POLICY configured ON audit.admin_source FOR SELECT TO audit_admin USING (true);
CREATE POLICY configured ON audit.organisation FOR SELECT TO audit_admin USING (true);
COMMENT ON POLICY configured ON audit.admin IS 'For those who configure';
COMMENT ON POLICY configured ON audit.admin_source IS 'For those who configure';
COMMENT ON POLICY configured ON audit.organisation IS 'For those who configure';

CREATE FUNCTION audit.grant_admin(
    actor_id text DEFAULT NULL,
    db_role regrole DEFAULT NULL,
    organisation_id text DEFAULT NULL,
    project_id text DEFAULT NULL,
    instance_owner boolean DEFAULT false
) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'audit_grant_admin';
COMMENT ON FUNCTION audit.grant_admin(text, regrole, text, text, boolean) IS
'Lets one principal read one scope of the log. For members of audit_admin. Granting again changes nothing.
actor_id: the application''s user, as audit.actor_id names it.
db_role: or a role of the database, for sessions in which no actor is set. A role that was dropped and made again has to be granted again.
organisation_id, project_id: the scope; both together are that project of that organisation.
instance_owner: or everything.
Selecting from the log takes membership in audit_reader besides.
Errors: 42501 without the rights; 22023 no principal or two, no scope or two, an empty id; 42704 no such role';

CREATE FUNCTION audit.revoke_admin(
    actor_id text DEFAULT NULL,
    db_role regrole DEFAULT NULL,
    organisation_id text DEFAULT NULL,
    project_id text DEFAULT NULL,
    instance_owner boolean DEFAULT false
) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'audit_revoke_admin';
COMMENT ON FUNCTION audit.revoke_admin(text, regrole, text, text, boolean) IS
'Takes back what audit.grant_admin granted with the same arguments. For members of audit_admin.
Errors: 42501 without the rights; 22023 no principal or two, no scope or two, an empty id; 42704 no such role, or nothing was granted';

CREATE FUNCTION audit.use_admins_from(source regclass) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'audit_use_admins_from';
COMMENT ON FUNCTION audit.use_admins_from(regclass) IS
'Takes rights from the application''s own tables, besides those of audit.grant_admin. For members of audit_admin.
source: a view, whose owner the caller is, with the columns actor_id, organisation_id, project_id, instance_owner (a boolean);
a row that names no scope grants nothing. It is read as its owner, in a security-restricted operation, under search_path pg_catalog, pg_temp,
with the rows of the one actor who asks: an index on that column pays. NULL ends its use.
It is known by its name and owner, so a migration may drop it and make it again.
While it cannot be read, actors cannot read the log: SQLSTATE 55000.
Errors: 42501 without the rights; 42P01 no such view; 42809 neither view nor table; 42703, 42804 a column is missing or of the wrong type;
or what PostgreSQL says when its owner reads it';

CREATE FUNCTION audit.set_organisation(organisation_id text, enterprise boolean) RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'audit_set_organisation';
COMMENT ON FUNCTION audit.set_organisation(text, boolean) IS
'Says whether an organisation has the enterprise feature, without which its admins read nothing; NULL returns it to the default, audit.enterprise.
For members of audit_admin. Errors: 42501 without the rights; 22004 organisation_id is NULL or empty';

-- What the policy asks. Each tells only what the caller itself may read.
CREATE FUNCTION audit.readable_organisations() RETURNS text[]
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'audit_readable_organisations';
COMMENT ON FUNCTION audit.readable_organisations() IS 'Organisations whose events the session may read';
CREATE FUNCTION audit.readable_projects() RETURNS text[]
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'audit_readable_projects';
COMMENT ON FUNCTION audit.readable_projects() IS 'Projects whose events the session may read, in whatever organisation';
CREATE FUNCTION audit.readable_pairs() RETURNS text[]
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'audit_readable_pairs';
COMMENT ON FUNCTION audit.readable_pairs() IS 'Organisation and project by turns: projects whose events the session may read in that organisation';
CREATE FUNCTION audit.readable_from() RETURNS uuid
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'audit_readable_from';
COMMENT ON FUNCTION audit.readable_from() IS 'For an instance owner the lowest event_id there can be, for others NULL';
CREATE FUNCTION audit.is_readable_pair(pairs text[], organisation_id text, project_id text) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'audit_is_readable_pair';
COMMENT ON FUNCTION audit.is_readable_pair(text[], text, text) IS 'Whether the two stand together in what audit.readable_pairs returns';

-- Sub-selects are evaluated once a query, and what they return can be looked up by an index.
CREATE POLICY readable ON audit.event FOR SELECT USING (
    organisation_id = ANY ((SELECT audit.readable_organisations())::text[])
    OR project_id = ANY ((SELECT audit.readable_projects())::text[])
    OR (project_id = ANY ((SELECT audit.readable_pairs())::text[])
        AND audit.is_readable_pair((SELECT audit.readable_pairs()), organisation_id, project_id))
    OR event_id >= (SELECT audit.readable_from())
);
COMMENT ON POLICY readable ON audit.event IS 'Admins read what they administer, and nobody else reads anything';
