"""The report of a run: matrix, table, failures and facts in one page that needs no network."""
