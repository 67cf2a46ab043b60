"""What a configuration means: cells, keys, batches and paths, without a look at any output."""
