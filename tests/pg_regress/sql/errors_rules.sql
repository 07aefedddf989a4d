-- Every mistake in `actions`: which place in it is wrong, why, and what to do about it. Places count from 0, as in JSON.
-- `complain` is from `errors`.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
\pset tuples_only on
\pset format unaligned
CREATE TABLE t (id int PRIMARY KEY, status text, role_id int, deleted_at timestamptz, password text, touched int, whole int GENERATED ALWAYS AS (touched) STORED);
CREATE TABLE other (id int);
CREATE TEMPORARY TABLE before AS SELECT * FROM audit.catalogue;
CREATE FUNCTION actions(actions text) RETURNS text LANGUAGE sql AS $$
    SELECT complain(format('SELECT audit.track(%L, %L, mask => %L, exclude => %L, actions => %L)', 't', 'thing', '{password}', '{touched}', actions))
$$;
CREATE FUNCTION rule(rule text) RETURNS text LANGUAGE sql AS $$ SELECT actions(format('{"rules": [%s]}', rule)) $$;
CREATE FUNCTION condition(condition text, operation text DEFAULT 'update') RETURNS text LANGUAGE sql AS $$
    SELECT rule(json_build_object('on', operation, 'if', condition, 'action', 'thing.done')::text)
$$;
-- The object and its keys.
SELECT actions('[]');
SELECT actions('"thing.added"');
SELECT actions('{"upsert": "thing.upserted"}');
SELECT actions('{"rule": []}');
SELECT actions('{"insert": 5}');
SELECT actions('{"insert": {"action": "thing.added"}}');
SELECT actions('{"insert": 1e400}');
SELECT actions(repeat('[', 200) || repeat(']', 200));
SELECT actions('{"insert": ');
-- Actions.
SELECT actions('{"insert": "Thing.added"}');
SELECT actions('{"update": "added"}');
SELECT actions('{"delete": "thing..added"}');
SELECT actions('{"truncate": "audit.tracking.disabled"}');
SELECT actions(format('{"insert": "thing.%s"}', repeat('x', 250)));
-- Rules.
SELECT actions('{"rules": {"on": "insert", "action": "thing.added"}}');
SELECT actions('{"rules": ["thing.added"]}');
SELECT actions(json_build_object('rules', array_fill('{"on": "insert", "action": null}'::json, '{257}'))::text);
SELECT rule('{"on": "insert", "when": "new.id > 0", "action": "thing.added"}');
SELECT rule('{"on": "insert", "acton": "thing.added"}');
SELECT actions('{"rules": [{"on": "insert", "action": "thing.added"}, {"On": "insert", "action": "thing.added"}]}');
-- The key "on".
SELECT rule('{"action": "thing.added"}');
SELECT rule('{"on": "updates", "action": "thing.changed"}');
SELECT rule('{"on": "truncate", "action": "thing.emptied"}');
SELECT rule('{"on": ["insert", "update"], "action": "thing.changed"}');
-- The key "action".
SELECT rule('{"on": "insert"}');
SELECT rule('{"on": "insert", "action": true}');
SELECT rule('{"on": "insert", "action": "thing added"}');
SELECT rule('{"on": "insert", "action": "audit.tracking.disabled"}');
-- The key "columns".
SELECT rule('{"on": "insert", "columns": ["status"], "action": "thing.added"}');
SELECT rule('{"on": "update", "columns": "status", "action": "thing.changed"}');
SELECT rule('{"on": "update", "columns": [], "action": "thing.changed"}');
SELECT rule('{"on": "update", "columns": ["status", null], "action": "thing.changed"}');
SELECT rule('{"on": "update", "columns": ["status", "status"], "action": "thing.changed"}');
SELECT rule('{"on": "update", "columns": ["role"], "action": "thing.changed"}');
SELECT rule('{"on": "update", "columns": ["rol_id"], "action": "thing.changed"}');
SELECT rule('{"on": "update", "columns": ["touched"], "action": "thing.changed"}');
SELECT rule('{"on": "update", "columns": ["whole"], "action": "thing.changed"}');
-- The keys "resource_type" and "resource_id".
SELECT rule('{"on": "insert", "action": "thing.added", "resource_type": null}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_type": "Role"}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_type": "audit"}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_id": "role_id"}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_id": [3]}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_id": []}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_id": ["role_id", "role_id"]}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_id": ["roleid"]}');
SELECT rule('{"on": "insert", "action": "thing.added", "resource_id": ["password"]}');
-- Conditions: what is no expression.
SELECT rule('{"on": "insert", "if": true, "action": "thing.added"}');
SELECT condition('');
SELECT condition('-- nothing');
SELECT condition('new.status is');
SELECT condition('new.id = 1; DROP TABLE t');
SELECT condition('new.id = 1, new.id = 2');
SELECT condition('true FROM other');
SELECT condition('new.id = 1 AS wrong');
-- Columns.
SELECT condition('new.stats = ''invited''');
SELECT condition('new.nothing_like_it = 1');
SELECT condition('status = ''invited''');
SELECT condition('colour = ''red''');
SELECT condition('t.status = ''invited''');
SELECT condition('new.ctid = old.ctid');
SELECT condition('old.id > 0', 'insert');
SELECT condition('new.id > 0', 'delete');
-- Functions, operators and types. What is in pg_catalog needs no schema, everything else does.
CREATE FUNCTION public.is_open(status text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN status = 'open';
CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
CREATE TYPE public.colour AS ENUM ('red', 'green');
SELECT condition('is_open(new.status)');
SELECT condition('new.status === ''open''');
SELECT condition('new.status::colour = ''red''');
SELECT condition('nowhere.is_open(new.status)');
SELECT condition('new.status > 5');
SELECT condition('new.id = ''one''');
SELECT condition('new.status::public.colour = ''blue''');
SELECT condition('public.is_open(new.status) AND new.status OPERATOR(public.===) ''open'' AND new.status::public.colour = ''red''');
-- The result.
SELECT condition('new.id');
SELECT condition('new.status');
-- What looks beyond the row, or is not the same each time.
SELECT condition('exists (SELECT FROM other)');
SELECT condition('count(new.id) > 1');
SELECT condition('row_number() OVER () = 1');
SELECT condition('generate_series(1, new.id) = 1');
SELECT condition('random() < 0.5');
SELECT condition('new.id = $1');
-- What the table's owner may not call.
CREATE ROLE errors_owner;
REVOKE EXECUTE ON FUNCTION is_open FROM PUBLIC;
ALTER TABLE t OWNER TO errors_owner;
SELECT condition('public.is_open(new.status)');
GRANT EXECUTE ON FUNCTION is_open TO PUBLIC;
ALTER TABLE t OWNER TO CURRENT_ROLE;
-- Configuration is atomic: nothing of all this stayed, neither settings nor actions in the catalogue.
SELECT * FROM audit.tracked_table;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass;
SELECT pattern FROM audit.catalogue EXCEPT SELECT pattern FROM before;
-- Neither does a mistake take the settings away that the table had.
SELECT audit.track('t', 'thing', actions => '{"insert": "thing.came"}');
SELECT actions('{"insert": "thing.arrived", "rules": [{"on": "delete", "action": "thing.left"}, {"on": "delete", "if": "old.gone", "action": "thing.left"}]}');
SELECT target, actions FROM audit.tracked_table;
SELECT pattern FROM audit.catalogue EXCEPT SELECT pattern FROM before ORDER BY pattern;
-- A condition that fails for a row fails the write.
SELECT audit.track('t', 'thing', actions => '{"rules": [{"on": "insert", "if": "10 / new.role_id > 1", "action": "thing.done"},
                                                        {"on": "delete", "if": "old.status::int > 1", "action": "thing.done"}]}');
INSERT INTO t VALUES (1, 'open', 1);
SELECT complain($$INSERT INTO t VALUES (2, 'open', 0)$$);
SELECT complain($$DELETE FROM t$$);
SELECT id, status FROM t;
-- So does one whose function complains, or writes to the table itself.
CREATE FUNCTION checked(status text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RAISE SQLSTATE 'AB123' USING MESSAGE = 'unknown status', DETAIL = 'It is ' || status || '.', HINT = 'Add it to the list.';
END $$;
CREATE FUNCTION add(id int) RETURNS void LANGUAGE sql VOLATILE AS $$ INSERT INTO public.t VALUES (id) $$;
CREATE FUNCTION added(id int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM public.add(id + 1); RETURN true; END $$;
SELECT audit.track('t', 'thing', actions => '{"rules": [{"on": "update", "if": "public.checked(new.status)", "action": "thing.done"},
                                                        {"on": "insert", "if": "public.added(new.id)", "action": "thing.done"}]}');
SELECT complain($$UPDATE t SET status = 'ajar'$$);
SELECT complain($$INSERT INTO t VALUES (3)$$);
-- DDL that would break a rule.
SELECT audit.track('t', 'thing', actions => '{"rules": [
    {"on": "update", "columns": ["role_id"], "action": "thing.role"},
    {"on": "update", "if": "public.is_open(new.status) and new.deleted_at > now()", "action": "thing.opened"},
    {"on": "insert", "if": "new.status::public.colour = ''red''", "action": "thing.red"},
    {"on": "delete", "action": "thing.left", "resource_type": "touch", "resource_id": ["touched"]}]}');
SELECT complain($$ALTER TABLE t DROP role_id$$);
SELECT complain($$ALTER TABLE t DROP deleted_at$$);
SELECT complain($$ALTER TABLE t DROP whole, DROP touched$$);
SELECT complain($$ALTER TABLE t ALTER deleted_at TYPE text$$);
SELECT complain($$DROP FUNCTION is_open$$);
SELECT complain($$ALTER FUNCTION is_open VOLATILE$$);
SELECT complain($$ALTER FUNCTION is_open RENAME TO is_ajar$$);
SELECT complain($$ALTER TYPE colour RENAME VALUE 'red' TO 'crimson'$$);
SELECT complain($$DROP TYPE colour$$);
-- A renamed column is renamed in conditions, but for spellings that only PostgreSQL reads.
SELECT complain($$SELECT audit.track('t', 'thing', actions => '{"rules": [{"on": "update", "if": "new.U&\"role\\005fid\" = 1", "action": "thing.role"}]}');
                  ALTER TABLE t RENAME role_id TO role$$);
-- Nothing of it happened: the table is as it was, and its events are still named by the rules.
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum;
UPDATE t SET role_id = 2;
SELECT action FROM audit.event ORDER BY event_id DESC LIMIT 1;
-- A rename that can be followed is no mistake.
ALTER TABLE t RENAME role_id TO role;
SELECT actions -> 'rules' -> 0 -> 'columns' FROM audit.tracked_table;
DROP TABLE t, other, before;
RESET client_min_messages;
DROP FUNCTION is_open, checked, add, added, actions, rule, condition, complain;
DROP OPERATOR === (text, text);
DROP TYPE colour;
DROP ROLE errors_owner;
