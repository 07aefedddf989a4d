-- The last script: how everything is now, so that audit.health can tell what becomes another.

DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION audit.as_installed() RETURNS TABLE (type text, identity text, definition text)
                    LANGUAGE sql IMMUTABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS %L',
                   (SELECT 'VALUES ' || string_agg(format('(%L, %L, %L)', p.type, p.identity, p.definition), ', ' ORDER BY p.type, p.identity)
                    FROM audit.parts() p));
END
$$;
