"""Neural style transfer by optimization, for grids of pictures.

Gatys, Ecker & Bethge, *A Neural Algorithm of Artistic Style*, arXiv 1508.06576.
"""

__version__ = "0.1.0"
