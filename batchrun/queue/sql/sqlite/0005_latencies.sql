-- How long predictions took, by model and duration: a ring of the newest ones, from which the polling learns.
CREATE TABLE latencies (
    model TEXT NOT NULL,
    duration_s INTEGER NOT NULL,
    place INTEGER NOT NULL CHECK (place >= 0),
    took_ms INTEGER NOT NULL CHECK (took_ms > 0),
    learnt_ms INTEGER NOT NULL,
    PRIMARY KEY (model, duration_s, place)
) STRICT, WITHOUT ROWID;
