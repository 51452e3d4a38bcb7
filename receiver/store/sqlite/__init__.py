"""The SQLite database: plain functions over one connection, each run inside a transaction."""
