-- +goose Up
-- categories, tags and labels are JSON arrays of strings; created is
-- milliseconds since the Unix epoch, 0 where it is not known; metadata is a
-- JSON object as it was sent.
CREATE TABLE items (
    id         TEXT    NOT NULL PRIMARY KEY,
    title      TEXT    NOT NULL,
    categories TEXT    NOT NULL,
    tags       TEXT    NOT NULL,
    hidden     INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    metadata   TEXT
);

-- age is in years, 0 where it is not known.
CREATE TABLE users (
    id     TEXT    NOT NULL PRIMARY KEY,
    age    INTEGER NOT NULL,
    gender TEXT    NOT NULL,
    labels TEXT    NOT NULL
);

-- The last block of the log that is in the rows above.
CREATE TABLE applied (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    block INTEGER NOT NULL
);
INSERT INTO applied (one, block) VALUES (1, 0);

-- How often the catalogue was synced: the row that a sync writes, because
-- SQLite syncs its write-ahead log only with a transaction that wrote.
CREATE TABLE syncs (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL
);
INSERT INTO syncs (one, count) VALUES (1, 0);

-- +goose Down
DROP TABLE syncs;
DROP TABLE applied;
DROP TABLE users;
DROP TABLE items;
