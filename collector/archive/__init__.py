"""Events on disk: a journal that is written before a batch is acknowledged, and the Parquet files made from it."""
