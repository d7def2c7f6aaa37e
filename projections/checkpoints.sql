CREATE TABLE IF NOT EXISTS projection_checkpoints (
    projection   text NOT NULL,
    version      integer NOT NULL,
    topic        text NOT NULL,
    partition    integer NOT NULL,
    next_offset  bigint NOT NULL,
    stopped_at   bigint,
    error        text,
    generation   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, version, topic, partition)
);
-- Asked first: to alter a table locks everybody out of it, also where there is nothing to alter.
DO $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'projection_checkpoints'::regclass AND attname = 'generation'
    ) THEN
        ALTER TABLE projection_checkpoints ADD COLUMN generation bigint NOT NULL DEFAULT 0;
    END IF;
END $$;
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
-- Few are: whoever asks which looks at those alone.
CREATE INDEX IF NOT EXISTS projection_heads_quarantined ON projection_heads (project, run_id, quarantine)
    WHERE quarantine IS NOT NULL;
