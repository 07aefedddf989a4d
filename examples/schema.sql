-- The sample application: an LLM-observability product. Organisations have people and projects; a project holds what it
-- observes and what it tries out. The schema is what its engineers wrote for themselves: nothing in it is there for the audit.
--
-- Ids of what has an address of its own (organisations, users, projects, API keys) are made by the application; all else counts.

-- People and organisations.

CREATE TABLE organisations (
    id            text PRIMARY KEY,
    name          text NOT NULL,
    plan          text NOT NULL DEFAULT 'free' CHECK (plan IN ('free', 'team', 'enterprise')),
    billing_email text,
    seats_used    int NOT NULL DEFAULT 0,                -- a counter that the application keeps
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id                text PRIMARY KEY,
    email             text NOT NULL UNIQUE,
    name              text NOT NULL,
    password_hash     text NOT NULL,
    totp_seed         text,                              -- of the second factor
    is_instance_owner boolean NOT NULL DEFAULT false,    -- runs this installation
    sign_in_count     int NOT NULL DEFAULT 0,
    last_seen_at      timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE invitations (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    email           text NOT NULL,
    role            text NOT NULL DEFAULT 'member',
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'revoked')),
    token_hash      text NOT NULL,
    expires_on      date NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE memberships (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    user_id         text NOT NULL REFERENCES users ON DELETE CASCADE,
    role            text NOT NULL DEFAULT 'member' CHECK (role IN ('admin', 'member', 'viewer')),
    wants_digest    boolean NOT NULL DEFAULT true,       -- the weekly e-mail
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, user_id)
);

-- What a project's members may do. Who has a role with the permission project:admin administers the project.
CREATE TABLE roles (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    name            text NOT NULL,
    permissions     text[] NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, name)
);

-- Projects.

CREATE TABLE projects (
    id              text PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    name            text NOT NULL,
    description     text,
    trace_count     bigint NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, organisation_id)
);

-- One row for an organisation, and one for each project that has settings of its own. NULL means: as the level above.
CREATE TABLE settings (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations ON DELETE CASCADE,
    project_id      text,
    retention_days  int CHECK (retention_days > 0),
    default_model   text,
    redact_inputs   boolean,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (organisation_id, project_id),
    FOREIGN KEY (project_id, organisation_id) REFERENCES projects (id, organisation_id) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE TABLE project_members (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, user_id)
);

CREATE TABLE project_roles (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id  bigint NOT NULL REFERENCES project_members ON DELETE CASCADE,
    role_id    bigint NOT NULL REFERENCES roles ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (member_id, role_id)
);

CREATE TABLE api_keys (
    id           text PRIMARY KEY,
    project_id   text NOT NULL REFERENCES projects ON DELETE CASCADE,
    name         text NOT NULL,
    key_hash     text NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- What a project observes.

CREATE TABLE datasources (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id     text NOT NULL REFERENCES projects ON DELETE CASCADE,
    name           text NOT NULL,
    kind           text NOT NULL,
    connection     jsonb NOT NULL DEFAULT '{}',
    api_key        text,
    sync_cursor    text,
    last_synced_at timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, name)
);

CREATE TABLE entities (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  text NOT NULL REFERENCES projects ON DELETE CASCADE,
    external_id text NOT NULL,                           -- what the customer calls it
    name        text NOT NULL,
    labels      text[] NOT NULL DEFAULT '{}',
    trace_count bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, external_id)
);

CREATE TABLE model_configurations (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   text NOT NULL REFERENCES projects ON DELETE CASCADE,
    name         text NOT NULL,
    model        text NOT NULL,
    temperature  numeric(3, 2) NOT NULL DEFAULT 1,
    max_tokens   int,
    provider_key text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE conversation_configurations (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id             text NOT NULL REFERENCES projects ON DELETE CASCADE,
    model_configuration_id bigint REFERENCES model_configurations ON DELETE SET NULL,
    name                   text NOT NULL,
    greeting               text,
    tools                  jsonb NOT NULL DEFAULT '[]',
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE datasets (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  text NOT NULL REFERENCES projects ON DELETE CASCADE,
    name        text NOT NULL,
    description text,
    item_count  int NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dataset_items (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset_id bigint NOT NULL REFERENCES datasets ON DELETE CASCADE,
    input      text NOT NULL,
    expected   text
);

CREATE TABLE scores (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    trace_id   text NOT NULL,
    name       text NOT NULL,
    value      float8,
    comment    text,
    deleted_at timestamptz,                              -- in the bin; a worker empties it
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- What a project tries out.

CREATE TABLE prompts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   text NOT NULL REFERENCES projects ON DELETE CASCADE,
    name         text NOT NULL,
    tags         text[] NOT NULL DEFAULT '{}',
    last_used_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, name)
);

CREATE TABLE prompt_versions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prompt_id   bigint NOT NULL REFERENCES prompts ON DELETE CASCADE,
    version     int NOT NULL,
    template    text NOT NULL,
    note        text,
    is_promoted boolean NOT NULL DEFAULT false,          -- the one that is served
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (prompt_id, version)
);
CREATE UNIQUE INDEX one_promoted_version ON prompt_versions (prompt_id) WHERE is_promoted;

CREATE TABLE experiments (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    dataset_id bigint REFERENCES datasets ON DELETE SET NULL,
    name       text NOT NULL,
    status     text NOT NULL DEFAULT 'queued',           -- of its latest run
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE evaluations (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    name       text NOT NULL,
    criterion  text NOT NULL,
    status     text NOT NULL DEFAULT 'queued',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A run is of an experiment or of an evaluation; the project stands here too, since its latest runs are what people look at.
CREATE TABLE runs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id    text NOT NULL REFERENCES projects ON DELETE CASCADE,
    experiment_id bigint REFERENCES experiments ON DELETE CASCADE,
    evaluation_id bigint REFERENCES evaluations ON DELETE CASCADE,
    number        int NOT NULL DEFAULT 1,
    status        text NOT NULL DEFAULT 'queued',
    items_done    int NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(experiment_id, evaluation_id) = 1),
    UNIQUE (experiment_id, number),
    UNIQUE (evaluation_id, number)
);
CREATE INDEX ON runs (project_id, id);

-- updated_at keeps itself.
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;

DO $$
DECLARE
    touched regclass;
BEGIN
    FOR touched IN SELECT attrelid FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                   WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attname = 'updated_at' LOOP
        EXECUTE format('CREATE TRIGGER touch BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION touch()', touched);
    END LOOP;

    -- The role that the application logs in as.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'observatory_app') THEN
        CREATE ROLE observatory_app LOGIN;
    END IF;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO observatory_app;
