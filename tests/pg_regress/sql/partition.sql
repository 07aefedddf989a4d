-- Months ahead, and the catch-all emptied.
CREATE VIEW months AS
SELECT c.relname ~ '^event_\d{4}_\d\d$' AS month, pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' AS catch_all, c.relrowsecurity,
       (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies,
       (SELECT count(*) FROM pg_index WHERE indrelid = c.oid) AS indexes,
       (SELECT string_agg(format('%s %s', tgname, tgenabled), ', ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = c.oid) AS triggers,
       (SELECT count(*) FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner) AS grants,
       c.relname
FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'audit.event'::regclass;
SELECT count(*) > 0 AS waiting FROM audit.event_default;
INSERT INTO audit.event (event_id, occurred_at, transaction_id, action)
VALUES ('00000000-0000-7000-8000-000000000001', '2024-02-29 23:59:59.999999Z', '1', 'leap.day'),
       ('00000000-0000-7000-8000-000000000002', '2024-03-01 00:00:00Z', '1', 'first.day'),
       ('00000000-0000-7000-8000-000000000003', '2024-01-01 00:00:00+14', '1', 'far.east');
SET TimeZone = 'Pacific/Kiritimati';
CALL audit.maintain();
RESET TimeZone;
SELECT count(*) AS left_over FROM audit.event_default;
SELECT tableoid::regclass, action FROM audit.event WHERE action IN ('leap.day', 'first.day', 'far.east') ORDER BY event_id;
SELECT month, catch_all, relrowsecurity, policies, indexes, triggers, grants, count(*) > 0 AS some FROM months GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 2;
SELECT count(*) AS this_month_and_three_ahead FROM months WHERE relname >= 'event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') AND month;
-- Again: nothing to do. Inside a transaction block: all or nothing.
CALL audit.maintain();
BEGIN;
INSERT INTO audit.event (event_id, occurred_at, transaction_id, action) VALUES ('00000000-0000-7000-8000-000000000004', '2023-05-05', '1', 'in.block');
CALL audit.maintain();
SELECT tableoid::regclass FROM audit.event WHERE action = 'in.block';
ROLLBACK;
SELECT to_regclass('audit.event_2023_05');
-- The session's own settings are as before.
SHOW search_path;
SHOW lock_timeout;
DROP VIEW months;
