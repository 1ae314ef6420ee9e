-- +goose Up
-- changed is the block in which a row was last written, by which followers
-- find what is new. A user of whom nothing is known but that they exist has 0.
ALTER TABLE items ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX items_changed ON items (changed, id) WHERE changed > 0;
CREATE INDEX users_changed ON users (changed, id) WHERE changed > 0;

-- What was deleted, for an hour: id is the SHA-256 of the id in hexadecimal,
-- deleted_at milliseconds since the Unix epoch.
CREATE TABLE deleted_items (
    id         TEXT    NOT NULL PRIMARY KEY,
    changed    INTEGER NOT NULL,
    deleted_at INTEGER NOT NULL
);
CREATE INDEX deleted_items_changed ON deleted_items (changed, id);
CREATE TABLE deleted_users (
    id         TEXT    NOT NULL PRIMARY KEY,
    changed    INTEGER NOT NULL,
    deleted_at INTEGER NOT NULL
);
CREATE INDEX deleted_users_changed ON deleted_users (changed, id);

-- owner is the data directory whose log the blocks are of; epoch counts how
-- often everything was replaced; pruned is the last block whose deletions are
-- no longer told.
ALTER TABLE applied ADD COLUMN owner  TEXT    NOT NULL DEFAULT '';
ALTER TABLE applied ADD COLUMN epoch  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE applied ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE applied DROP COLUMN pruned;
ALTER TABLE applied DROP COLUMN epoch;
ALTER TABLE applied DROP COLUMN owner;
DROP TABLE deleted_users;
DROP TABLE deleted_items;
DROP INDEX users_changed;
DROP INDEX items_changed;
ALTER TABLE users DROP COLUMN changed;
ALTER TABLE items DROP COLUMN changed;
