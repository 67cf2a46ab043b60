"""Runs beside each other: what was changed, and what became of every cell.

``runs`` reads them and finds the cells that belong together, ``changes`` says how metrics differ,
``comparison`` puts it together with what the records tell, ``thresholds`` says what of it is too
much, and ``comparison_files`` writes the page, the table and the summary.
"""
