"""The errors a user can meet, each saying what is wrong, where, and how to mend it.

SegpruneError
├── ConfigError       a key or value in the composed configuration
├── DataError         a file or folder of the dataset
├── BudgetError       a budget that no cut of this network can meet
├── CutError          a cut that does not equal the masked network
├── CheckpointError   a checkpoint that is damaged, foreign or of another version
├── StoreError        a disk that cannot write or read results
├── TrainingError     a loss that is no longer finite
└── TrackingError     a tracking server that cannot be reached
"""


class SegpruneError(Exception):
    """Any error that a user can mend; it is printed as one paragraph, without a traceback."""


class ConfigError(SegpruneError):
    """The composed configuration holds a key or value that cannot work."""


class DataError(SegpruneError):
    """The dataset on disk is not what the configuration says it is.

    Attributes:
        faults: Of single files, each in full, where the message has the first one only.
    """

    faults: tuple[str, ...] = ()


class BudgetError(SegpruneError):
    """No cut of this network meets the budget."""


class CutError(SegpruneError):
    """A cut network is not the original with the same channels set to zero."""


class CheckpointError(SegpruneError):
    """A checkpoint cannot be read back into the network it claims to hold."""


class StoreError(SegpruneError):
    """The disk of the result store refuses."""


class TrainingError(SegpruneError):
    """The loss is no longer finite."""


class TrackingError(SegpruneError):
    """The tracking server cannot be reached or refuses data."""
