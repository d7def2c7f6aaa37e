CREATE TABLE IF NOT EXISTS projection_checkpoints (
    projection   text NOT NULL,
    version      integer NOT NULL,
    topic        text NOT NULL,
    partition    integer NOT NULL,
    next_offset  bigint NOT NULL,
    stopped_at   bigint,
    error        text,
    PRIMARY KEY (projection, version, topic, partition)
);
CREATE TABLE IF NOT EXISTS projection_heads (
    projection  text NOT NULL,
    version     integer NOT NULL,
    project     text NOT NULL,
    run_id      text NOT NULL,
    sequence    integer NOT NULL,
    digest      text NOT NULL,
    quarantine  text,
    PRIMARY KEY (projection, version, project, run_id)
);
