-- One query, asked by five: the application on behalf of four users, and an analyst's tool.
\pset linestyle unicode
\pset border 1
\pset null ''

-- A page of the Audit tab: the latest events that a filter shows. Whose events is nothing that the query says.
\set page 'audit.log(pattern => ''project.*, instance_owner.*'', max_rows => 8)'
\set columns 'organisation_id AS "Organisation", project_id AS "Project", action AS "Action",\n           resource_id AS "Resource ID", coalesce(actor_id, ''N/A'') AS "Actor ID"'
\set query 'SELECT ' :columns '\n    FROM ' :page ';'

\echo 'One query, five answers: what happened to projects, and who owns the instance? For users the application asks, and says for whom:'
\echo '    SET LOCAL audit.actor_id = ''...'';'
\echo '   ' :query
\echo

\connect - observatory_app

\echo 'Eve is an admin of Globex (memberships.role): Globex''s events, in all its projects'
BEGIN;
SET LOCAL audit.actor_id = 'usr_eve';
:query
COMMIT;

\echo 'Gil leads Globex''s project Routing (a role with project:admin): that project''s events'
BEGIN;
SET LOCAL audit.actor_id = 'usr_gil';
:query
COMMIT;

\echo 'Ada owns the instance (users.is_instance_owner): everybody''s events, those of no organisation or of one that is gone included'
BEGIN;
SET LOCAL audit.actor_id = 'usr_ada';
:query
COMMIT;

\echo 'Bob led projects of Acme until he left, and is a stranger now: nothing, although the log is full of what he did'
BEGIN;
SET LOCAL audit.actor_id = 'usr_bob';
:query
COMMIT;

\connect - observatory_analyst

\echo 'Acme''s analyst, with a tool that logs in as observatory_analyst (audit.grant_admin): no actor is named, the role itself may read Acme''s events'
:query
