"""The part of a run's results that is of the machine: its ceilings, and the state of host and device around samples."""

from bench.terms import Rate, Value, When


class Peak(Value):
    """Rate of multiply-adds in registers, two operations each, of all threads together or of the whole device."""

    device: str = "cpu"
    level: str
    dtype: str
    threads: int
    gflops: Rate


class Bandwidth(Value):
    """Memory traffic of all threads together over arrays of `bytes` bytes in total, counted as STREAM counts it.

    `cache` is the cache that holds the arrays, for example L1; empty where they are in memory.
    """

    device: str = "cpu"
    traffic: str
    threads: int
    bytes: int
    gigabytes_per_second: Rate
    cache: str = ""


class BareProducts(Value):
    """Rate of the matrix products of a step, without the rest of it, through a BLAS library.

    `sizes` are m_0 .. m_L, `operations` those of one step, counted as those of a case are.
    """

    sizes: tuple[int, ...]
    batch: int
    dtype: str
    threads: int
    library: str
    operations: int
    gflops: Rate


class Ceilings(Value):
    """Peak rates of this machine, probed before or after all measurement; `absent` has the reason where not probed."""

    when: When
    peaks: list[Peak] = []
    bandwidths: list[Bandwidth] = []
    products: list[BareProducts] = []
    absent: str = ""


class DeviceState(Value):
    """Sensor readings of a device between two timed blocks; `case` is None before and after all of them.

    `held_down` names the causes that limited the device's clocks at that moment or, for causes that the driver counts,
    since the previous reading.
    """

    device: str = "cuda"
    case: int | None = None
    launch: int | None = None
    round: int | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    watts: float | None = None
    celsius: float | None = None
    held_down: list[str] = []


class HostState(Value):
    """Load of the machine: just before measuring, without this run; and over the whole run, this run included."""

    when: When
    busy_cpus: float | None = None  # CPUs' worth of work, on the CPUs that this process may use
    steal: float | None = None  # share of the time that a hypervisor gave to other machines
    load_1min: float | None = None
    celsius: float | None = None
    memory_available_bytes: int | None = None
