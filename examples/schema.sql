-- A small LLM-observability product: organisations with people, projects with what they observe.

CREATE TABLE organisations (
    id   text PRIMARY KEY,
    name text NOT NULL,
    plan text NOT NULL DEFAULT 'free'
);
CREATE TABLE users (
    id            text PRIMARY KEY,
    email         text NOT NULL,
    password_hash text NOT NULL,
    last_seen_at  timestamptz
);
CREATE TABLE instance_owners (user_id text PRIMARY KEY REFERENCES users);
CREATE TABLE invitations (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    email           text NOT NULL
);
CREATE TABLE memberships (
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    user_id         text NOT NULL REFERENCES users,
    role            text NOT NULL,
    PRIMARY KEY (organisation_id, user_id)
);
CREATE TABLE organisation_retention (
    organisation_id text PRIMARY KEY REFERENCES organisations ON DELETE CASCADE,
    keep            interval NOT NULL
);
CREATE TABLE roles (
    id              text PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    permissions     text[] NOT NULL
);
CREATE TABLE projects (
    id              text PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    name            text NOT NULL
);
CREATE TABLE project_retention (
    project_id      text PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    organisation_id text NOT NULL,
    keep            interval NOT NULL
);
CREATE TABLE project_members (
    project_id      text NOT NULL REFERENCES projects ON DELETE CASCADE,
    organisation_id text NOT NULL,
    user_id         text NOT NULL REFERENCES users,
    PRIMARY KEY (project_id, user_id)
);
CREATE TABLE project_member_roles (
    project_id      text NOT NULL,
    organisation_id text NOT NULL,
    user_id         text NOT NULL,
    role_id         text NOT NULL REFERENCES roles,
    PRIMARY KEY (project_id, user_id, role_id),
    FOREIGN KEY (project_id, user_id) REFERENCES project_members ON DELETE CASCADE
);

-- What a project holds. The scope stands in every table, as multi-tenant applications have it.
CREATE TABLE datasources (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organisation_id text NOT NULL,
    project_id      text NOT NULL REFERENCES projects ON DELETE CASCADE,
    name            text NOT NULL,
    connection      jsonb NOT NULL,
    api_key         text
);
CREATE TABLE entities (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, name text NOT NULL, labels text[]);
CREATE TABLE model_configurations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, model text NOT NULL, temperature numeric(3, 2));
CREATE TABLE conversation_configurations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, greeting text NOT NULL);
CREATE TABLE datasets (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, name text NOT NULL, row_count int NOT NULL DEFAULT 0);
CREATE TABLE scores (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, name text NOT NULL, value float8);
CREATE TABLE prompts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, name text NOT NULL);
CREATE TABLE prompt_versions (
    prompt_id       bigint NOT NULL REFERENCES prompts ON DELETE CASCADE,
    version         int NOT NULL,
    organisation_id text NOT NULL,
    project_id      text NOT NULL,
    template        text NOT NULL,
    promoted        boolean NOT NULL DEFAULT false,
    PRIMARY KEY (prompt_id, version)
);
CREATE TABLE experiments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, name text NOT NULL);
CREATE TABLE experiment_runs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, experiment_id bigint NOT NULL REFERENCES experiments ON DELETE CASCADE, organisation_id text NOT NULL, project_id text NOT NULL);
CREATE TABLE evaluations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organisation_id text NOT NULL, project_id text NOT NULL REFERENCES projects ON DELETE CASCADE, name text NOT NULL);
CREATE TABLE evaluation_runs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, evaluation_id bigint NOT NULL REFERENCES evaluations ON DELETE CASCADE, organisation_id text NOT NULL, project_id text NOT NULL);

-- The application's role: it writes its tables and says who its user is. It reads no audit events.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'observatory_app') THEN
        CREATE ROLE observatory_app LOGIN;
    END IF;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO observatory_app;
