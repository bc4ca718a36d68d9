"""Why a network cannot be run as asked, or has said nothing, one class for each cause. The message says what to do."""


class DeviceUnavailableError(RuntimeError):
    """The device asked for is not there, or does not compute."""


class DeviceMemoryError(RuntimeError):
    """The device has too little memory for the network, or for images of this size."""


class PrecisionUnavailableError(ValueError):
    """The device or backend does not compute in this precision."""


class BackendUnavailableError(RuntimeError):
    """The backend asked for is not installed, does not serve this device, or computes something else."""


class NonFinitePredictionError(ArithmeticError):
    """The network gave NaN or infinity."""
