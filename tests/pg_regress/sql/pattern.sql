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
