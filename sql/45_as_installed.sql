-- The last script: how everything is now, so that audit.health can tell what becomes another.

CREATE FUNCTION audit.as_installed() RETURNS TABLE (type text, identity text, definition text)
    LANGUAGE sql IMMUTABLE AS $$ SELECT NULL::text, NULL::text, NULL::text $$;
REVOKE ALL ON FUNCTION audit.as_installed() FROM PUBLIC;
COMMENT ON FUNCTION audit.as_installed() IS 'What the extension consists of, as CREATE EXTENSION made it: what audit.parts returned then';
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION audit.as_installed() RETURNS TABLE (type text, identity text, definition text)
                    LANGUAGE sql IMMUTABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS %L',
                   (SELECT 'VALUES ' || string_agg(format('(%L, %L, %L)', p.type, p.identity, p.definition), ', ' ORDER BY p.type, p.identity)
                    FROM audit.parts() p));
END
$$;
