-- +goose Up
-- Ids compare by their bytes. categories, tags and labels are JSON arrays of
-- strings; created is milliseconds since the Unix epoch, 0 where it is not
-- known; metadata is a JSON object as it was sent. changed is the block in
-- which a row was last written, 0 for a user of whom nothing is known.
CREATE TABLE items (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    title      TEXT    NOT NULL,
    categories TEXT    NOT NULL,
    tags       TEXT    NOT NULL,
    hidden     BOOLEAN NOT NULL,
    created    BIGINT  NOT NULL,
    metadata   TEXT,
    changed    BIGINT  NOT NULL
);
CREATE INDEX items_changed ON items (changed, id) WHERE changed > 0;

-- age is in years, 0 where it is not known.
CREATE TABLE users (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    age     BIGINT NOT NULL,
    gender  TEXT   NOT NULL,
    labels  TEXT   NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX users_changed ON users (changed, id) WHERE changed > 0;

-- What was deleted, for an hour: id is the SHA-256 of the id in hexadecimal,
-- deleted_at milliseconds since the Unix epoch.
CREATE TABLE deleted_items (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    changed    BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL
);
CREATE INDEX deleted_items_changed ON deleted_items (changed, id);
CREATE TABLE deleted_users (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    changed    BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL
);
CREATE INDEX deleted_users_changed ON deleted_users (changed, id);

-- The last block of the log that is in the rows above; owner is the data
-- directory whose log that is; epoch counts how often everything was replaced;
-- pruned is the last block whose deletions are no longer told.
CREATE TABLE applied (
    one    SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    block  BIGINT   NOT NULL,
    owner  TEXT     NOT NULL,
    epoch  BIGINT   NOT NULL,
    pruned BIGINT   NOT NULL
);
INSERT INTO applied (one, block, owner, epoch, pruned) VALUES (1, 0, '', 0, 0);

-- +goose Down
DROP TABLE applied;
DROP TABLE deleted_users;
DROP TABLE deleted_items;
DROP TABLE users;
DROP TABLE items;
