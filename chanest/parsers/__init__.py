"""Files that nobody vouches for, HDF5 and MATLAB's: parsed by a process of its own, whose crash is an error message."""

from .child import is_readable_kind, plain
from .reader import WHOLE_FILE_LIMIT, Dataset, ForeignArrays, Tree, check_file, is_hdf5, read_tree, too_large, tree_of

__all__ = [
    "WHOLE_FILE_LIMIT",
    "Dataset",
    "ForeignArrays",
    "Tree",
    "check_file",
    "is_hdf5",
    "is_readable_kind",
    "plain",
    "read_tree",
    "too_large",
    "tree_of",
]
