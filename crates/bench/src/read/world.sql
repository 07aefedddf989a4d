-- Who and what there is: 1,000 organisations with 10,000 projects, numbered from the largest. The first organisation
-- has 100 of the projects, the last has 7.
CREATE FUNCTION project(number int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN md5('project' || number)::uuid::text;
CREATE FUNCTION organisation(project int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN md5('organisation' || floor(1000 * (project / float8 '10000') ^ float8 '1.5'))::uuid::text;
CREATE FUNCTION resource(scope text, type text, number int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN md5(scope || type || number)::uuid::text;
CREATE FUNCTION person(organisation_id text, number int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN md5(organisation_id || 'person' || number)::uuid::text;

-- What happens how often: each action that comes with the extension as often as its weight says, by level. What is
-- made apart, because it is rare, has none.
CREATE TABLE mix AS
SELECT array_agg(action) FILTER (WHERE organisational) AS organisation_actions,
       array_agg(action) FILTER (WHERE NOT organisational) AS project_actions
FROM (
    SELECT DISTINCT ON (c.pattern) c.pattern AS action, w.weight,
           audit_match(c.pattern, 'organisation.*, role.*') AS organisational
    FROM audit.catalogue c
    JOIN (VALUES
        (1, 'retention.deleted, instance_owner.*', 0),
        (2, 'organisation.user.*', 20),
        (3, 'organisation.updated', 6),
        (4, 'organisation.*', 1),
        (5, 'entity.*', 12),
        (6, '*.updated', 6),
        (7, '*', 2)
    ) w (place, pattern, weight) ON audit_match(c.pattern, w.pattern)
    WHERE c.built_in AND c.pattern NOT LIKE '%*%'
    ORDER BY c.pattern, w.place
) weighed, generate_series(1, weight);
