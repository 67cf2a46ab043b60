"""Images: from a file to sRGB pixels, to the wanted size, and back to a file.

In memory an image is a numpy array ``(H, W, 3)`` in sRGB, either uint8 or uint16 as it was decoded
or float32 in [0, 1].
"""

from nstcore.images.image import DecodedImage, IntegerPixels, quantize, to_float
from nstcore.images.metadata import read_record
from nstcore.images.reading import decode, load_float
from nstcore.images.resize import fit_size, resize
from nstcore.images.saving import prepare, write_image

__all__ = [
    "DecodedImage",
    "IntegerPixels",
    "decode",
    "fit_size",
    "load_float",
    "prepare",
    "quantize",
    "read_record",
    "resize",
    "to_float",
    "write_image",
]
