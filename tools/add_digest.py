"""Write into model files the digest that chanest has written into them since 0.3.0; all else stays as it is.

    python tools/add_digest.py models/*.h5

For models of before. The digest is taken over what the file says (docs/file-formats.md), so whoever runs this again on
the same tensors gets the same digest, and nothing is written where it is there already.
"""

import argparse
import sys
from pathlib import Path

import h5py

from chanest.models import read_model
from chanest.models.hdf5 import digest_of
from chanest.parsers import read_tree


def main() -> None:
    """Add, say what was done, and exit with 1 where a digest is there that is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    wrong = False
    for path in parser.parse_args().models:
        file = read_tree(path)
        told, found = file.attributes.get("digest"), digest_of(file)
        if told is None:
            with h5py.File(path, "r+") as writable:
                writable.attrs["digest"] = found
            read_model(path)
        wrong |= told not in (None, found)
        print(f"{path.stem}: {found} {'added' if told is None else 'is there' if told == found else f'is not {told}'}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
