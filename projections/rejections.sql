CREATE TABLE IF NOT EXISTS rejections_v1 (
    partition         integer NOT NULL,
    log_offset        bigint NOT NULL,
    project           text NOT NULL,
    run_id            text,
    type              text,
    source            text,
    event_id          text,
    reason            text NOT NULL,
    message           text NOT NULL,
    faults            jsonb NOT NULL,
    source_topic      text,
    source_partition  integer,
    source_offset     bigint,
    size_bytes        bigint NOT NULL,
    raw               bytea NOT NULL,
    headers           jsonb NOT NULL,
    rejected_at       timestamptz NOT NULL,
    PRIMARY KEY (partition, log_offset)
);
CREATE INDEX IF NOT EXISTS rejections_v1_newest ON rejections_v1 (rejected_at DESC, partition, log_offset DESC);
CREATE INDEX IF NOT EXISTS rejections_v1_project ON rejections_v1 (project, rejected_at DESC);
CREATE INDEX IF NOT EXISTS rejections_v1_run ON rejections_v1 (run_id, rejected_at DESC);
CREATE INDEX IF NOT EXISTS rejections_v1_reason ON rejections_v1 (reason, rejected_at DESC);
