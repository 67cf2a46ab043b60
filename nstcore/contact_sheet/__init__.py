"""Contact sheets: the images of a run as a labelled matrix, in PNG and PDF."""
