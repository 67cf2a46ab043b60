"""What the workflow's jobs do: prepare inputs, stylize batches, save states, stop in time."""
