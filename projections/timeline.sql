CREATE TABLE IF NOT EXISTS timeline_v1 (
    project      text NOT NULL,
    run_id       text NOT NULL,
    sequence     integer NOT NULL,
    partition    integer NOT NULL,
    log_offset   bigint NOT NULL,
    type         text NOT NULL,
    event_id     text NOT NULL,
    source       text NOT NULL,
    cause_id     text,
    request_id   text,
    phase_id     text,
    tier_id      text,
    recorded_at  timestamptz NOT NULL,
    emitted_at   timestamptz,
    summary      text NOT NULL,
    PRIMARY KEY (project, run_id, sequence)
);
