-- Filters.
SELECT action, pattern, audit_match(action, pattern)
FROM (VALUES
    ('organisation.user.role.assigned', 'organisation.*'),
    ('organisation', 'organisation.*'),
    ('organisations.created', 'organisation.*'),
    ('project_member.added', 'project_member.*'),
    ('projectxmember.added', 'project_member.*'),
    ('entity.deleted', '*.deleted'),
    ('organisation.user.role.assigned', 'organisation.*.assigned'),
    ('dataset.created', 'entity.*, dataset.*'),
    ('organisation.user.added', 'organisation.*, -organisation.user.*'),
    ('organisation.updated', 'organisation.*, -organisation.user.*'),
    ('score.created', '-entity.*'),
    ('entity.created', '-entity.*'),
    ('organisation.created', ''),
    ('entity.created', '  '),
    ('entity.created', 'ENTITY.*'),
    ('entity.created', 'entity.%'),
    ('entity.created', 'entity.created'),
    (NULL, '*'),
    ('entity.created', NULL)
) v (action, pattern);
SELECT pattern, audit.check_pattern(pattern)
FROM (VALUES ('entity.*'), (''), ('entity.%'), ('entity. *'), ('-'), ('a.*, é*'), (repeat('a', 1025)), (repeat('a,', 33)), (NULL)) v (pattern)
WHERE length(pattern) < 100 OR pattern IS NULL;
SELECT audit.check_pattern(repeat('a', 1025)), audit.check_pattern(repeat('a,', 33));
SELECT audit.default_pattern(NULL), audit.default_pattern('p1');
-- The pattern may differ from row to row, and the catalogue's patterns show the catalogue's actions.
SELECT w.pattern, count(*) FROM audit.catalogue w JOIN audit.catalogue a ON audit_match(a.pattern, w.pattern)
WHERE w.pattern LIKE '%*' AND a.pattern NOT LIKE '%*' AND w.built_in AND a.built_in
GROUP BY w.pattern ORDER BY w.pattern;
SELECT count(*) AS total, count(*) FILTER (WHERE pattern LIKE '%*') AS wildcards FROM audit.catalogue WHERE built_in;
-- An index is asked for what a pattern shows, under row-level security too, where LIKE has to wait for the policies.
CREATE TABLE log (organisation text, action text COLLATE "C");
CREATE INDEX ON log (action);
ALTER TABLE log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON log USING (organisation = 'acme');
CREATE ROLE audit_regress_reader;
GRANT SELECT ON log TO audit_regress_reader;
SET ROLE audit_regress_reader;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET plan_cache_mode = force_generic_plan;
PREPARE by_pattern (text) AS SELECT FROM log WHERE audit_match(action, $1);
EXPLAIN (COSTS OFF) SELECT FROM log WHERE audit_match(action, 'entity.*');
EXPLAIN (COSTS OFF) SELECT FROM log WHERE audit_match(action, 'entity.created, score.created');
EXPLAIN (COSTS OFF) SELECT FROM log WHERE audit_match(action, 'entity.*, -*.deleted');
EXPLAIN (COSTS OFF) SELECT FROM log WHERE audit_match(action, 'entity.%');
EXPLAIN (COSTS OFF) EXECUTE by_pattern ('entity.*');
EXPLAIN (COSTS OFF) SELECT FROM log WHERE action LIKE 'entity.%';
RESET ROLE;
DROP TABLE log;
DROP ROLE audit_regress_reader;
