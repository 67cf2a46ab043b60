"""What is read from finished runs: tables, status, an image again, cells to refine."""
