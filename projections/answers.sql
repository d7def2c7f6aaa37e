CREATE TABLE IF NOT EXISTS answers_v2 (
    rejected        boolean NOT NULL,
    partition       integer NOT NULL,
    log_offset      bigint NOT NULL,
    command         text NOT NULL,
    project         text NOT NULL,
    run_id          text NOT NULL,
    source          text NOT NULL,
    event_id        text NOT NULL,
    type            text NOT NULL,
    decided_offset  bigint NOT NULL,
    outcome         text NOT NULL,
    detail          text NOT NULL,
    faults          jsonb NOT NULL,
    PRIMARY KEY (rejected, partition, log_offset)
);
CREATE INDEX IF NOT EXISTS answers_v2_command ON answers_v2 (command, run_id);
CREATE INDEX IF NOT EXISTS answers_v2_undecided ON answers_v2 (project, run_id) WHERE outcome = 'undecided';
