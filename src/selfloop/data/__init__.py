"""Data sets and tables on disk: Parquet shards, training sets that link to them, measurements."""
