CREATE TABLE IF NOT EXISTS answers_v1 (
    command      text NOT NULL,
    rejected     boolean NOT NULL,
    project      text NOT NULL,
    source       text NOT NULL,
    event_id     text NOT NULL,
    run_id       text NOT NULL,
    type         text NOT NULL,
    partition    integer NOT NULL,
    log_offset   bigint NOT NULL,
    outcome      text NOT NULL,
    detail       text NOT NULL,
    faults       jsonb NOT NULL,
    PRIMARY KEY (command, rejected)
);
CREATE INDEX IF NOT EXISTS answers_v1_undecided ON answers_v1 (project, run_id) WHERE outcome = 'undecided';
