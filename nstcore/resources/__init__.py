"""What a machine offers, and how much time, memory and disk a run takes."""
