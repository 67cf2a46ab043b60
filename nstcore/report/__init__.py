"""The report of a run: a page that needs no network, with matrix, plots, table and provenance."""
