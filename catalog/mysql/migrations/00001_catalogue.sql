-- +goose Up
-- Each statement may be run again: what makes a table is committed at once, so a
-- process that is killed leaves some of them done.
--
-- Ids are bytes, as they are compared: a text column would take "a" and "a "
-- for the same in some collations. categories, tags and labels are JSON arrays
-- of strings; created is milliseconds since the Unix epoch, 0 where it is not
-- known; metadata is a JSON object as it was sent. changed is the block in
-- which a row was last written, 0 for a user of whom nothing is known.
CREATE TABLE IF NOT EXISTS items (
    id         VARBINARY(256) NOT NULL PRIMARY KEY,
    title      LONGTEXT       NOT NULL,
    categories LONGTEXT       NOT NULL,
    tags       LONGTEXT       NOT NULL,
    hidden     TINYINT(1)     NOT NULL,
    created    BIGINT         NOT NULL,
    metadata   LONGTEXT,
    changed    BIGINT         NOT NULL,
    INDEX items_changed (changed, id)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, DEFAULT COLLATE = utf8mb4_bin;

-- age is in years, 0 where it is not known.
CREATE TABLE IF NOT EXISTS users (
    id      VARBINARY(256) NOT NULL PRIMARY KEY,
    age     BIGINT         NOT NULL,
    gender  LONGTEXT       NOT NULL,
    labels  LONGTEXT       NOT NULL,
    changed BIGINT         NOT NULL,
    INDEX users_changed (changed, id)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, DEFAULT COLLATE = utf8mb4_bin;

-- What was deleted, for an hour: id is the SHA-256 of the id in hexadecimal,
-- deleted_at milliseconds since the Unix epoch.
CREATE TABLE IF NOT EXISTS deleted_items (
    id         VARBINARY(64) NOT NULL PRIMARY KEY,
    changed    BIGINT        NOT NULL,
    deleted_at BIGINT        NOT NULL,
    INDEX deleted_items_changed (changed, id)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS deleted_users (
    id         VARBINARY(64) NOT NULL PRIMARY KEY,
    changed    BIGINT        NOT NULL,
    deleted_at BIGINT        NOT NULL,
    INDEX deleted_users_changed (changed, id)
) ENGINE = InnoDB;

-- The last block of the log that is in the rows above; owner is the data
-- directory whose log that is; epoch counts how often everything was replaced;
-- pruned is the last block whose deletions are no longer told.
CREATE TABLE IF NOT EXISTS applied (
    one    TINYINT      NOT NULL PRIMARY KEY,
    block  BIGINT       NOT NULL,
    owner  VARCHAR(128) NOT NULL,
    epoch  BIGINT       NOT NULL,
    pruned BIGINT       NOT NULL
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, DEFAULT COLLATE = utf8mb4_bin;
INSERT INTO applied (one, block, owner, epoch, pruned) VALUES (1, 0, '', 0, 0) ON DUPLICATE KEY UPDATE one = one;

-- +goose Down
DROP TABLE applied;
DROP TABLE deleted_users;
DROP TABLE deleted_items;
DROP TABLE users;
DROP TABLE items;
