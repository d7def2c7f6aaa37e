CREATE SCHEMA autopack_log;

CREATE TABLE autopack_log.settings (
    is_the_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    schema_version  integer NOT NULL,
    partition_count integer NOT NULL CHECK (partition_count > 0),
    secret          text NOT NULL DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
);

-- Where each partition of each topic ends. Whoever appends to a partition locks its head until the commit, so
-- that offsets are contiguous and become visible in their order. In the history's heads stands who may append
-- at all (epoch), and up to where the last step had read the submitted topics (commands, results).
-- There is room on each page for new versions of a row: every append makes one, and none touches the index.
CREATE TABLE autopack_log.heads (
    topic       text COLLATE "C" NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    recorded_at timestamptz NOT NULL DEFAULT '-infinity',
    epoch       bigint NOT NULL DEFAULT 0,
    owner       text,
    lease_until timestamptz,
    commands    bigint NOT NULL DEFAULT 0,
    results     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 20);

-- The bytes of key and value as they came; headers as one JSON object, each value's bytes read as Latin-1.
CREATE TABLE autopack_log.records (
    topic       text COLLATE "C" NOT NULL,
    partition   integer NOT NULL,
    "offset"    bigint NOT NULL,
    key         bytea,
    value       bytea NOT NULL,
    headers     json NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);

CREATE TABLE autopack_log.members (
    group_name  text NOT NULL,
    instance    text NOT NULL,
    joined      bigint GENERATED ALWAYS AS IDENTITY,
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (group_name, instance)
);

CREATE TABLE autopack_log.group_offsets (
    group_name  text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (group_name, partition)
);
