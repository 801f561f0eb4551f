"""Files: named arrays, measurements, estimates; and the one way to write."""

from .arrays import ArrayReader, ArrayWriter, Slices, check_output
from .atomic import readable, refuse_existing, replacing, write_csv
from .estimates import FINDINGS, MOTION, EstimateWriter
from .measurements import Chunk, MeasurementFile, PilotFile, VectorFile, open_measurements, write_measurements

__all__ = [
    "FINDINGS",
    "MOTION",
    "ArrayReader",
    "ArrayWriter",
    "Chunk",
    "EstimateWriter",
    "MeasurementFile",
    "PilotFile",
    "Slices",
    "VectorFile",
    "check_output",
    "open_measurements",
    "readable",
    "refuse_existing",
    "replacing",
    "write_csv",
    "write_measurements",
]
