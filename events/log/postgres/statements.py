"""The statements that write. Each is a transaction of its own.

Whatever several heads are locked for, they are locked in (topic, partition) order. What is given as `chunks` is
sent to those who wait, with the commit.
"""

from events.log.postgres.pushing import tell

# Where the chunks of each statement are.
_SUBMITTED = """(SELECT $6::text AS channel) AS place,
    unnest($7::bigint[], $8::text[], $9::text[]) AS chunk (distance, about, body)"""
_SUBMITTED_TO_MANY = """unnest($6::text[], $7::integer[], $8::text[], $9::bigint[], $10::text[], $11::text[])
        AS chunk (of_topic, of_partition, channel, distance, about, body)
    WHERE of_topic = topic AND of_partition = partition"""
_APPENDED = """(SELECT $9::text AS channel) AS place,
    unnest($10::bigint[], $11::text[], $12::text[]) AS chunk (distance, about, body)"""
_APPENDED_TO_MANY = """unnest($10::integer[], $11::text[], $12::bigint[], $13::text[], $14::text[])
        AS chunk (of_partition, channel, distance, about, body)
    WHERE of_partition = partition"""

SUBMIT = f"""
WITH moved AS (
    UPDATE autopack_log.heads
    SET next_offset = next_offset + cardinality($3::bytea[]),
        recorded_at = greatest(recorded_at, clock_timestamp())
    WHERE topic = $1::text AND partition = $2::integer
    RETURNING next_offset - cardinality($3::bytea[]) AS start, recorded_at
), written AS (
    INSERT INTO autopack_log.records (topic, partition, "offset", key, value, headers, recorded_at)
    SELECT $1::text, $2::integer, start + n - 1, key, value, headers, recorded_at
    FROM moved, unnest($3::bytea[], $4::bytea[], $5::json[]) WITH ORDINALITY AS new (key, value, headers, n)
)
SELECT start, {tell(_SUBMITTED)}
FROM moved
"""

# The same for several places, each of which gets its records behind one another.
SUBMIT_TO_MANY = f"""
WITH new AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY topic, partition ORDER BY n) - 1 AS distance
    FROM unnest($1::text[], $2::integer[], $3::bytea[], $4::bytea[], $5::json[]) WITH ORDINALITY
        AS new (topic, partition, key, value, headers, n)
), locked AS MATERIALIZED (
    SELECT head.topic, head.partition, counted.records
    FROM autopack_log.heads AS head
        JOIN (SELECT topic, partition, count(*) AS records FROM new GROUP BY topic, partition) AS counted
            USING (topic, partition)
    ORDER BY head.topic, head.partition
    FOR UPDATE OF head
), moved AS (
    UPDATE autopack_log.heads AS head
    SET next_offset = head.next_offset + locked.records,
        recorded_at = greatest(head.recorded_at, clock_timestamp())
    FROM locked
    WHERE head.topic = locked.topic AND head.partition = locked.partition
    RETURNING head.topic, head.partition, head.recorded_at, head.next_offset - locked.records AS start
), written AS (
    INSERT INTO autopack_log.records (topic, partition, "offset", key, value, headers, recorded_at)
    SELECT topic, partition, start + distance, key, value, headers, recorded_at
    FROM new JOIN moved USING (topic, partition)
)
SELECT topic, partition, start, {tell(_SUBMITTED_TO_MANY)}
FROM moved
"""

TAKE_OVER = """
UPDATE autopack_log.heads
SET epoch = epoch + 1, owner = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE topic = 'autopack.events' AND partition = $1
RETURNING epoch, next_offset, commands, results
"""

RENEW = """
UPDATE autopack_log.heads
SET lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE topic = 'autopack.events' AND partition = $1 AND epoch = $2
RETURNING next_offset
"""

RELEASE = """
UPDATE autopack_log.heads
SET owner = NULL, lease_until = NULL
WHERE topic = 'autopack.events' AND partition = $1 AND epoch = $2
"""

# Nothing is written, and the end is null, where the positions lie behind the ends of what they speak of: then
# those records were lost with the server's last moments. Where the epoch is not ours any more there is no row.
APPEND_EVENTS = f"""
WITH lost AS MATERIALIZED (
    SELECT FROM autopack_log.heads AS own JOIN autopack_log.heads AS read USING (partition)
    WHERE partition = $1 AND own.topic = 'autopack.events' AND own.epoch = $2
        AND read.topic IN ('autopack.commands', 'autopack.results')
        AND read.next_offset < CASE read.topic WHEN 'autopack.commands' THEN $7::bigint ELSE $8::bigint END
), moved AS (
    UPDATE autopack_log.heads
    SET next_offset = next_offset + cardinality($4::bytea[]),
        recorded_at = greatest(recorded_at, clock_timestamp()),
        commands = greatest(commands, $7),
        results = greatest(results, $8),
        lease_until = clock_timestamp() + make_interval(secs => $3)
    WHERE topic = 'autopack.events' AND partition = $1 AND epoch = $2 AND NOT EXISTS (SELECT FROM lost)
    RETURNING next_offset, next_offset - cardinality($4::bytea[]) AS start, recorded_at
), written AS (
    INSERT INTO autopack_log.records (topic, partition, "offset", key, value, headers, recorded_at)
    SELECT 'autopack.events', $1, start + n - 1, key, value, headers, recorded_at
    FROM moved, unnest($4::bytea[], $5::bytea[], $6::json[]) WITH ORDINALITY AS new (key, value, headers, n)
)
SELECT next_offset, {tell(_APPENDED)}
FROM moved
UNION ALL SELECT NULL, NULL FROM lost
"""

# The same for several partitions, each with an epoch of its own: those that are not ours any more are left out.
APPEND_EVENTS_OF_MANY = f"""
WITH step AS MATERIALIZED (
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[])
        AS step (partition, epoch, commands, results)
), new AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY partition ORDER BY n) - 1 AS distance
    FROM unnest($6::integer[], $7::bytea[], $8::bytea[], $9::json[]) WITH ORDINALITY
        AS new (partition, key, value, headers, n)
), lost AS MATERIALIZED (
    SELECT DISTINCT step.partition
    FROM step
        JOIN autopack_log.heads AS own
            ON own.topic = 'autopack.events' AND own.partition = step.partition AND own.epoch = step.epoch
        JOIN autopack_log.heads AS read ON read.partition = step.partition
    WHERE read.topic IN ('autopack.commands', 'autopack.results')
        AND read.next_offset < CASE read.topic WHEN 'autopack.commands' THEN step.commands ELSE step.results END
), locked AS MATERIALIZED (
    SELECT head.partition, head.epoch
    FROM autopack_log.heads AS head
    WHERE head.topic = 'autopack.events' AND head.partition = ANY ($1)
    ORDER BY head.partition
    FOR UPDATE
), ours AS MATERIALIZED (
    SELECT step.*, (SELECT count(*) FROM new WHERE new.partition = step.partition) AS records
    FROM step JOIN locked USING (partition, epoch)
    WHERE NOT EXISTS (SELECT FROM lost WHERE lost.partition = step.partition)
), moved AS (
    UPDATE autopack_log.heads AS head
    SET next_offset = head.next_offset + ours.records,
        recorded_at = greatest(head.recorded_at, clock_timestamp()),
        commands = greatest(head.commands, ours.commands),
        results = greatest(head.results, ours.results),
        lease_until = clock_timestamp() + make_interval(secs => $5)
    FROM ours
    WHERE head.topic = 'autopack.events' AND head.partition = ours.partition
    RETURNING head.partition, head.next_offset, head.next_offset - ours.records AS start, head.recorded_at
), written AS (
    INSERT INTO autopack_log.records (topic, partition, "offset", key, value, headers, recorded_at)
    SELECT 'autopack.events', partition, start + distance, key, value, headers, recorded_at
    FROM new JOIN moved USING (partition)
)
SELECT partition, next_offset, {tell(_APPENDED_TO_MANY)}
FROM moved
UNION ALL SELECT partition, NULL, NULL FROM lost
"""

# FOR UPDATE gives each head as it is once the lock is ours, and so the epoch that counts.
APPEND_STEP = """
WITH lost AS MATERIALIZED (
    SELECT FROM autopack_log.heads AS own JOIN autopack_log.heads AS read USING (partition)
    WHERE partition = $1 AND own.topic = 'autopack.events' AND own.epoch = $2
        AND read.topic IN ('autopack.commands', 'autopack.results')
        AND read.next_offset < CASE read.topic WHEN 'autopack.commands' THEN $9::bigint ELSE $10::bigint END
), new AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY topic, partition ORDER BY n) - 1 AS distance
    FROM unnest($4::text[], $5::integer[], $6::bytea[], $7::bytea[], $8::json[]) WITH ORDINALITY
        AS new (topic, partition, key, value, headers, n)
), counted AS MATERIALIZED (
    SELECT topic, partition, sum(records) AS records
    FROM (
        SELECT topic, partition, 1 AS records FROM new
        UNION ALL
        SELECT 'autopack.events', $1, 0
    ) AS heads
    GROUP BY topic, partition
), locked AS MATERIALIZED (
    SELECT head.topic, head.partition, head.epoch, counted.records
    FROM autopack_log.heads AS head JOIN counted USING (topic, partition)
    ORDER BY head.topic, head.partition
    FOR UPDATE OF head
), fence AS MATERIALIZED (
    SELECT clock_timestamp() AS now FROM locked
    WHERE topic = 'autopack.events' AND partition = $1 AND epoch = $2 AND NOT EXISTS (SELECT FROM lost)
), moved AS (
    UPDATE autopack_log.heads AS head
    SET next_offset = head.next_offset + locked.records,
        recorded_at = greatest(head.recorded_at, fence.now),
        commands = CASE locked.topic WHEN 'autopack.events' THEN greatest(head.commands, $9) ELSE 0 END,
        results = CASE locked.topic WHEN 'autopack.events' THEN greatest(head.results, $10) ELSE 0 END,
        lease_until = CASE locked.topic WHEN 'autopack.events' THEN fence.now + make_interval(secs => $3) END
    FROM locked, fence
    WHERE head.topic = locked.topic AND head.partition = locked.partition
    RETURNING head.topic, head.partition, head.recorded_at,
        head.next_offset, head.next_offset - locked.records AS start
), written AS (
    INSERT INTO autopack_log.records (topic, partition, "offset", key, value, headers, recorded_at)
    SELECT topic, partition, start + distance, key, value, headers, recorded_at
    FROM new JOIN moved USING (topic, partition)
)
SELECT next_offset FROM moved WHERE topic = 'autopack.events' UNION ALL SELECT NULL FROM lost
"""

DELETE = """
DELETE FROM autopack_log.records
WHERE topic = $1 AND partition = $2 AND "offset" < least($3, (
    SELECT CASE $1 WHEN 'autopack.commands' THEN commands ELSE results END
    FROM autopack_log.heads
    WHERE topic = 'autopack.events' AND partition = $2))
"""

# What is older than the moment, which is a prefix: within a partition recorded_at never goes back.
EXPIRE = """
DELETE FROM autopack_log.records
WHERE topic = $1 AND partition = $2 AND "offset" < coalesce(
    (SELECT "offset" FROM autopack_log.records
     WHERE topic = $1 AND partition = $2 AND recorded_at >= clock_timestamp() - make_interval(secs => $3)
     ORDER BY "offset" LIMIT 1),
    (SELECT next_offset FROM autopack_log.heads WHERE topic = $1 AND partition = $2))
"""

ENDS = "SELECT partition, next_offset FROM autopack_log.heads WHERE topic = $1"

CHECK = "SELECT current_setting('transaction_read_only')::bool AS takes_no_writes FROM autopack_log.settings"
