-- +goose Up
-- One row for each like, read, favourite or comment, which stays. idempotency
-- is '' where a kind is possible once for a user and a content. created_at is
-- milliseconds since the Unix epoch. position is the place in the order of all,
-- ordinal that among those of the content: both from 1 without gaps, given
-- after the row was committed.
CREATE TABLE reactions (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    content_id  TEXT NOT NULL,
    title       TEXT NOT NULL,
    idempotency TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    position    BIGINT,
    ordinal     BIGINT
);
CREATE UNIQUE INDEX reactions_once ON reactions (user_id, content_id, kind, idempotency);
CREATE UNIQUE INDEX reactions_position ON reactions (position);
CREATE INDEX reactions_content ON reactions (content_id, ordinal);

-- position is the last one that was given; identity tells these tables from
-- others; holder is the process that takes the rows to other systems, until
-- lease_until, milliseconds since the Unix epoch by the database's clock.
CREATE TABLE outbox (
    one         SMALLINT NOT NULL PRIMARY KEY,
    position    BIGINT NOT NULL,
    identity    TEXT NOT NULL,
    holder      TEXT NOT NULL,
    lease_until BIGINT NOT NULL
);
INSERT INTO outbox (one, position, identity, holder, lease_until) VALUES (1, 0, '', '', 0);

-- +goose Down
DROP TABLE outbox;
DROP TABLE reactions;
