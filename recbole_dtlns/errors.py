"""Every error this package raises on purpose: what is wrong, where, and what to do."""


class DTLNSError(Exception):
    """Root of the package's errors; catching it catches all of them."""


class ConfigError(DTLNSError):
    """A setting is unknown, has a wrong value, or contradicts another setting."""


class UnknownNameError(ConfigError):
    """A teacher, judge, sampler, preset or model name that nothing is registered under."""


class DataError(DTLNSError):
    """The interactions, vectors or paths handed in cannot be used."""


class ArtefactError(DTLNSError):
    """An artefact cannot be written, or a stored one is damaged and may not be rebuilt."""


class EngineError(DTLNSError):
    """A language model or a cluster cannot be reached: the model, its server, the key or the address is wrong."""


class JudgeError(DTLNSError):
    """A judge's answers are too bad to go on with."""


class CheckpointError(DTLNSError):
    """A checkpoint is missing, damaged, or belongs to another model or data set."""


class DivergedError(DTLNSError):
    """Training cannot go on: its loss became NaN or infinite."""


class ProcessError(DTLNSError):
    """One of the processes that work together was ended, or lost the others."""


class ContractError(DTLNSError):
    """A component is none of its kind, gives what it may not, or needs what it did not ask for."""


class UnsupportedModelError(DTLNSError):
    """DTL-NS was asked to do something for a model that the model cannot take."""


class InstallationError(DTLNSError):
    """A required library is missing or has a version that cannot work."""


class TrialError(DTLNSError):
    """Every trial of a search failed."""
