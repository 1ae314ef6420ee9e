-- +goose Up
-- Each statement may be run again: what makes a table is committed at once, so a
-- process that is killed leaves some of them done.
--
-- One row for each like, read, favourite or comment, which stays. idempotency
-- is '' where a kind is possible once for a user and a content. created_at is
-- milliseconds since the Unix epoch. position is the place in the order of all,
-- ordinal that among those of the content: both from 1 without gaps, given
-- after the row was committed.
CREATE TABLE IF NOT EXISTS reactions (
    seq         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kind        VARBINARY(64) NOT NULL,
    user_id     VARBINARY(256) NOT NULL,
    content_id  VARBINARY(256) NOT NULL,
    title       LONGTEXT NOT NULL,
    idempotency VARBINARY(256) NOT NULL,
    created_at  BIGINT NOT NULL,
    position    BIGINT,
    ordinal     BIGINT,
    UNIQUE INDEX reactions_once (user_id, content_id, kind, idempotency),
    UNIQUE INDEX reactions_position (position),
    INDEX reactions_content (content_id, ordinal)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, DEFAULT COLLATE = utf8mb4_bin;

-- position is the last one that was given; identity tells these tables from
-- others; holder is the process that takes the rows to other systems, until
-- lease_until, milliseconds since the Unix epoch by the database's clock.
CREATE TABLE IF NOT EXISTS outbox (
    one         SMALLINT NOT NULL PRIMARY KEY,
    position    BIGINT NOT NULL,
    identity    VARBINARY(64) NOT NULL,
    holder      VARBINARY(64) NOT NULL,
    lease_until BIGINT NOT NULL
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, DEFAULT COLLATE = utf8mb4_bin;
INSERT INTO outbox (one, position, identity, holder, lease_until) VALUES (1, 0, '', '', 0) ON DUPLICATE KEY UPDATE one = one;

-- +goose Down
DROP TABLE outbox;
DROP TABLE reactions;
