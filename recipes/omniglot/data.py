# SPDX-License-Identifier: Apache-2.0
"""Omniglot: handwritten characters, 20 images of each, by alphabet (Brenden Lake, MIT licence)."""
from __future__ import annotations

import io
import zipfile

import torch
from PIL import Image

from kit.data import find
from kit.embed import Images

_PLACE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_SUMS = {
    "images_background_small1": "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
    "images_background_small2": "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
}

TRAIN = ("images_background_small1", ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"))
TEST = ("images_background_small2", ("Japanese_(katakana)", "Sanskrit", "Tagalog"))  # Greek and Latin are in both archives
VALIDATION = "Korean"  # of TRAIN: held out when settings are chosen


def alphabets(archive: str, names: tuple[str, ...]) -> Images:
    """The images of these alphabets, 28 × 28, ink 1 and paper 0, with a label per character."""
    path = find(f"omniglot/{archive}.zip", f"{_PLACE}{archive}.zip", _SUMS[archive])
    pixels, labels, numbers = [], [], {}
    with zipfile.ZipFile(path) as file:
        for entry in sorted(file.namelist()):
            parts = entry.split("/")
            if not entry.endswith(".png") or parts[1] not in names:
                continue
            image = Image.open(io.BytesIO(file.read(entry))).convert("L").resize((28, 28), Image.BILINEAR)
            pixels.append(1 - torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).float().view(1, 28, 28) / 255)
            labels.append(numbers.setdefault(parts[1] + parts[2], len(numbers)))
    return Images(torch.stack(pixels), torch.tensor(labels))


def for_tuning() -> tuple[Images, Images]:
    """Training without the validation alphabet, and that alphabet."""
    archive, names = TRAIN
    return alphabets(archive, tuple(n for n in names if n != VALIDATION)), alphabets(archive, (VALIDATION,))


def for_test() -> tuple[Images, Images]:
    """All alphabets to train on, and 106 characters of alphabets that were never seen."""
    return alphabets(*TRAIN), alphabets(*TEST)
