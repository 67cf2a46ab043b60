"""Pictures: from a file to sRGB pixels, to the wanted size, and back to a file.

In memory a picture is a numpy array ``(H, W, 3)`` in sRGB, either uint8 or uint16 as it was decoded
or float32 in [0, 1].
"""

from nstcore.images.image import Picture, Pixels, quantize, to_float
from nstcore.images.metadata import read_record
from nstcore.images.preparing import load_float, prepare
from nstcore.images.reading import decode
from nstcore.images.resize import fit_size, resize
from nstcore.images.saving import save_picture

__all__ = [
    "Picture",
    "Pixels",
    "decode",
    "fit_size",
    "load_float",
    "prepare",
    "quantize",
    "read_record",
    "resize",
    "save_picture",
    "to_float",
]
