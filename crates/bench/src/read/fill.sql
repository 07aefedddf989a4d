-- Events from number $3 to below $4, every $5th. Number 0 happens at $1, in microseconds since 1970, and each other
-- $2 microseconds after the one before, or up to as much later.
-- The action is $6, or any; the project is number $7, or any: 1 % of all is in the first, and 10 % in the first organisation.
INSERT INTO audit.event
WITH drawn AS MATERIALIZED (
    SELECT n, $1::bigint + n * $2::bigint + floor(random() * $2)::bigint AS micros,
           COALESCE($7::int, floor(10000 * random() ^ 2)::int) AS project,
           random() < 0.25 AS organisational, random() AS kind, floor(10 * random())::int AS resource, random() AS person
    FROM generate_series($3::bigint, $4::bigint - 1, $5::bigint) n
), happened AS (
    SELECT n, micros, project, resource, person,
           COALESCE($6, CASE WHEN organisational THEN organisation_actions[1 + floor(kind * cardinality(organisation_actions))]
                             ELSE project_actions[1 + floor(kind * cardinality(project_actions))] END) AS action,
           CASE WHEN $6 IS NULL OR $7 IS NOT NULL THEN organisation(project) END AS organisation_id,
           CASE WHEN $7 IS NOT NULL OR $6 IS NULL AND NOT organisational THEN project(project) END AS project_id
    FROM drawn, mix
    OFFSET 0
), named AS (
    SELECT *, split_part(action, '.', 1) AS type, split_part(action, '.', -1) AS verb,
           CASE split_part(action, '.', 1)
               WHEN 'organisation' THEN organisation_id
               WHEN 'project' THEN project_id
               ELSE resource(COALESCE(project_id, organisation_id, ''), split_part(action, '.', 1), resource)
           END AS id
    FROM happened
    OFFSET 0
), imaged AS (
    SELECT *,
           CASE verb WHEN 'updated' THEN jsonb_build_object('version', n % 7, 'note', md5(n::text))
               ELSE jsonb_build_object('id', id, 'organisation_id', organisation_id, 'project_id', project_id,
                   'name', type || ' number ' || resource, 'version', n % 7, 'note', md5(n::text),
                   'attributes', jsonb '{"model": "large", "temperature": 0.7, "tags": ["a", "b"]}',
                   'description', 'Something that is audited, and is described in a sentence or two') END AS image
    FROM named
    OFFSET 0
)
-- The id as the extension makes it: milliseconds, version 7, microseconds, and the rest at random.
SELECT (lpad(to_hex(micros / 1000 << 16 | 28672 | micros % 1000), 16, '0') || '8' || substr(md5(concat(n, action, id)), 1, 15))::uuid,
       timestamptz 'epoch' + micros * interval '1 microsecond', (1000 + n / 3)::text::xid8, action, type, id,
       CASE WHEN person < 0.05 THEN 'system' ELSE person(COALESCE(organisation_id, ''), floor(20 * person ^ 2)::int) END,
       CASE WHEN person < 0.05 THEN 'system' WHEN person < 0.1 THEN 'api-key' ELSE 'user' END,
       organisation_id, project_id,
       CASE WHEN verb IN ('updated', 'deleted', 'removed') THEN image END,
       CASE WHEN verb NOT IN ('deleted', 'removed') THEN image END,
       jsonb_build_object('request_id', md5(n::text)::uuid, 'ip_address', '198.51.100.' || n % 250),
       'application', 'application', 'web', '192.0.2.7', 'public.' || type
FROM imaged
