"""Claims about worker processes: how they start, how they end, and what is said of those that misbehave."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.rogue import HELLO, ROGUE, loaded, rogue

import pyfnn
from pyfnn import parity, registry
from pyfnn.errors import (
    BackendUnavailable,
    BuildFailed,
    Diverged,
    InvalidInput,
    ProtocolError,
    PyfnnError,
    Unsupported,
    WorkerDied,
    WorkerError,
    WorkerTimeout,
)
from pyfnn.manifest import PACKAGE
from pyfnn.network import Network, initialize
from pyfnn.process import launch
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG and affinity are Linux's")


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def alive(pid: int) -> bool:
    """Whether it still runs: a zombie, or a number that is no process's, does not."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def numpy_worker() -> Iterator[Worker]:
    with Worker(command_of(registry.find("numpy"))) as worker:
        yield worker


# Misbehaviour ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_worker_killed_by_a_signal_is_dead_of_that_signal(name: str) -> None:
    with rogue(f"os.kill(os.getpid(), signal.{name})") as worker:
        with pytest.raises(WorkerDied, match=f"ended at 'theta' with signal {name}"):
            worker.call("theta")
        with pytest.raises(WorkerDied, match=f"ended at 'reset' with signal {name}"):
            worker.call("reset")


def test_a_worker_that_exits_is_dead_of_its_status_and_its_last_words_are_shown() -> None:
    deed = 'os.write(2, b"one\\ntwo\\nthree\\nout of memory\\n"); os._exit(3)'
    with (
        rogue(deed) as worker,
        pytest.raises(WorkerDied, match=r"with exit status 3; its last words: two \| three \| out of memory"),
    ):
        worker.call("theta")


def test_a_worker_killed_between_calls_is_dead() -> None:
    with rogue("pass") as worker:
        os.kill(worker.pid, signal.SIGKILL)
        assert until(lambda: not alive(worker.pid))
        with pytest.raises(WorkerDied, match="signal SIGKILL"):
            worker.call("theta")


def test_an_illegal_instruction_is_explained() -> None:
    with (
        rogue("os.kill(os.getpid(), signal.SIGILL)") as worker,
        pytest.raises(WorkerDied, match="signal SIGILL: an instruction this CPU does not have"),
    ):
        worker.call("theta")


def test_a_silent_worker_times_out() -> None:
    with rogue("time.sleep(60)") as worker:
        start = time.monotonic()
        with pytest.raises(WorkerTimeout, match="no reply to 'theta' in time"):
            worker.call("theta", timeout=0.2)
        assert time.monotonic() - start < 5


def test_a_late_reply_is_never_taken_for_another() -> None:
    with rogue("time.sleep(0.5); reply('ok\\tloss=1')") as worker:
        with pytest.raises(WorkerTimeout):
            worker.call("gradient 0 1", timeout=0.1)
        with pytest.raises(WorkerError, match="still owes the reply to 'gradient 0 1'; 'theta' was not sent"):
            worker.call("theta")


def test_output_that_nobody_asked_for_is_noticed() -> None:
    with rogue("reply('ok'); reply('ok\\tseconds=0')") as worker:
        worker.call("theta")
        time.sleep(0.2)
        with pytest.raises(ProtocolError, match=r"unexpected output before 'reset': b'ok\\tseconds=0"):
            worker.call("reset")


@pytest.mark.parametrize("rubbish", ["Segmentation fault", "", "ok\tnonsense", "{}"])
def test_rubbish_is_not_the_protocol(rubbish: str) -> None:
    with rogue(f"reply({rubbish!r})") as worker, pytest.raises(ProtocolError, match=r"reply"):
        worker.call("theta")


def test_bytes_that_are_no_text_are_not_the_protocol() -> None:
    with rogue("os.write(1, b'ok\\xff\\n')") as worker, pytest.raises(ProtocolError, match="is not UTF-8"):
        worker.call("theta")


def test_megabytes_without_an_end_of_line_are_not_the_protocol() -> None:
    with (
        rogue("while True: os.write(1, b'x' * 65536)") as worker,
        pytest.raises(ProtocolError, match="no end of line in 1048576 bytes of reply to 'theta'"),
    ):
        worker.call("theta")


def test_stderr_is_kept_to_its_end_and_bounded() -> None:
    deed = "for _ in range(40): os.write(2, b'x' * 65536)\nos.write(2, b'the end')\nreply('ok')"
    with rogue(deed) as worker:
        worker.call("theta")
        assert until(lambda: worker._drain(0.1) and worker.stderr.endswith("the end"))
        assert len(worker.stderr) <= 64 * 1024


def test_a_worker_that_does_not_start_says_why() -> None:
    with pytest.raises(WorkerDied, match="no-such-program: No such file or directory"):
        Worker(["no-such-program"])


def test_a_worker_of_another_protocol_is_refused_by_its_number() -> None:
    script = f"input(); print({HELLO.replace('protocol=1', 'protocol=7')!r})"
    with pytest.raises(ProtocolError, match="protocol 7: this version speaks 1"):
        Worker([sys.executable, "-I", "-S", "-c", script])


def test_unknown_keys_are_ignored() -> None:
    with rogue("reply('ok\\tcolour=blue')") as worker:
        assert worker.call("theta") == {"colour": "blue"}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ("kind=diverged\\tmessage=m", Diverged),
        ("kind=unsupported\\tmessage=m", Unsupported),
        ("kind=invalid\\tmessage=m", InvalidInput),
        ("kind=unavailable\\tmessage=m\\tremedy=r", BackendUnavailable),
        ("kind=build_failed\\tmessage=m", BuildFailed),
        ("kind=internal\\tmessage=m", PyfnnError),
        ("kind=new\\tmessage=m", PyfnnError),
        ("message=m", PyfnnError),
    ],
)
def test_an_error_reply_is_the_error_of_its_kind(fields: str, kind: type[PyfnnError]) -> None:
    with rogue(f"reply('error\\t{fields}')") as worker:
        with pytest.raises(PyfnnError, match="m") as caught:
            worker.call("theta")
        assert type(caught.value) is kind
        with pytest.raises(PyfnnError):  # an error is a reply: the worker lives on
            worker.call("theta")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("ok\\tthreads=1", "the reply lacks seconds"),
        ("ok\\tthreads=1\\tseconds=fast", "seconds=fast is no number"),
        ("ok\\tthreads=1\\tseconds=-1", "seconds=-1: must be finite and not negative"),
        ("ok\\tthreads=1\\tseconds=nan", "seconds=nan: must be finite and not negative"),
        ("ok\\tthreads=1\\tseconds=0", "theta_out.bin: No such file"),
    ],
)
def test_a_reply_that_lacks_its_number_or_its_file_is_not_the_protocol(reply: str, words: str) -> None:
    with rogue(f"reply('{reply}')") as worker:
        model = loaded(worker)
        with pytest.raises(ProtocolError, match=words):
            model.train(0, 1, 1, 0.1)


@pytest.mark.parametrize("threads", ["0", "1.5", "many"])
def test_a_thread_count_that_is_none_is_not_the_protocol(threads: str) -> None:
    with rogue(f"reply('ok\\tthreads={threads}')") as worker, pytest.raises(ProtocolError, match=f"threads={threads}"):
        loaded(worker)


# Beginnings and ends --------------------------------------------------------------------------------------------------


def test_closing_ends_the_process_and_removes_its_folder() -> None:
    worker = rogue("pass")
    assert worker.workdir.is_dir()
    worker.close()
    assert not worker.workdir.exists()
    assert not alive(worker.pid)
    worker.close()


@pytest.mark.parametrize("deed", ["signal.pause()", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_closing_ends_a_process_that_does_not_listen(deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyfnn.process.worker._PATIENCE", 0.2)
    worker = rogue("signal.signal(signal.SIGTERM, signal.SIG_IGN); " + deed)
    with pytest.raises(WorkerTimeout):
        worker.call("theta", timeout=0.1)
    worker.close()
    assert not alive(worker.pid)


def test_closing_ends_a_stopped_process_gently() -> None:
    worker = rogue("pass")
    worker.signal_group(signal.SIGSTOP)
    start = time.monotonic()
    worker.close()
    assert time.monotonic() - start < 1.5
    assert not alive(worker.pid)


@LINUX
@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_dies_with_its_driver_stopped_or_not(stopped: bool) -> None:
    driver = (
        "import signal, sys, time; from pyfnn.process import Worker;"
        f"worker = Worker([sys.executable, '-I', '-S', '-c', {ROGUE.format(hello=HELLO, deed='pass')!r}]);"
        f"{'worker.signal_group(signal.SIGSTOP);' if stopped else ''}"
        "print(worker.pid, worker.workdir, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, workdir = parent.stdout.readline().split()
    assert alive(int(pid))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert until(lambda: not alive(int(pid)))
    Path(workdir).rmdir()  # nobody was left to do it


@LINUX
def test_affinity_and_thread_variables_are_set_before_the_program_starts() -> None:
    cpu = max(os.sched_getaffinity(0))
    report = (
        "import json; reply('ok\\taffinity=' + repr(os.sched_getaffinity(0)) + '\\tvariables='"
        f" + ' '.join(os.environ.get(name, '-') for name in {launch.THREAD_VARIABLES!r}))"
    )
    script = ROGUE.format(hello=HELLO, deed=report)
    with Worker([sys.executable, "-I", "-S", "-c", script], cpus=[cpu], threads=3) as worker:
        fields = worker.call("report")
    assert fields["affinity"] == f"{{{cpu}}}"
    assert fields["variables"].split() == ["3"] * len(launch.THREAD_VARIABLES)
    assert os.environ.get("OMP_NUM_THREADS") != "3"


def test_the_workers_group_is_its_own() -> None:
    with rogue("reply('ok\\tgroup=' + str(os.getpgid(0)))") as worker:
        assert int(worker.call("group")["group"]) == worker.pid != os.getpgid(0)


# Models at the other end ----------------------------------------------------------------------------------------------


def test_a_worker_holds_the_model_that_was_loaded_last(numpy_worker: Worker) -> None:
    first = loaded(numpy_worker, 1)
    outputs = first.forward(0, 5)
    second = loaded(numpy_worker, 2)
    assert second.forward(0, 5).tobytes() != outputs.tobytes()
    for call in (lambda: first.forward(0, 1), first.theta, first.reset, lambda: first.train(0, 1, 1, 0.1)):
        with pytest.raises(PyfnnError, match="this model's worker has been loaded with another model since"):
            call()


def test_loading_again_after_training_wants_a_reset(numpy_worker: Worker) -> None:
    model = loaded(numpy_worker)
    start = model.theta()
    model.train(0, 5, 1, 0.1)
    moved = model.theta()
    with pytest.raises(PyfnnError, match="theta has moved, and loading would start the worker over: call reset first"):
        model.load(np.ones((2, 3), "f4"), np.ones((2, 2), "f4"), np.arange(2))
    assert model.theta().tobytes() == moved.tobytes()
    model.reset()
    model.load(np.ones((2, 3), "f4"), np.ones((2, 2), "f4"), np.arange(2))
    assert model.theta().tobytes() == start.tobytes()


def test_the_wall_seen_from_here_is_no_less_than_what_the_worker_says(numpy_worker: Worker) -> None:
    model = loaded(numpy_worker)
    seconds = model.train(0, 5, 1, 0.1)
    assert 0 < seconds <= model.call_wall_seconds
    seconds = model.time("gradient", 0, 5, 10)
    assert 0 < seconds <= model.call_wall_seconds


def hosting(folder: Path, module: str) -> list[str]:
    """What starts a host of the class `Hosted` of that module's text."""
    (folder / "hosted_here.py").write_text(module)
    (folder / "backend.toml").write_text(
        '[[backend]]\nname = "hosted"\nlanguage = "Python"\ndivision = "plain"\nhost = "hosted_here:Hosted"\n'
    )
    row = registry.find("hosted", [folder / "backend.toml"])
    places = [str(folder), str(Path(__file__).parents[2]), str(PACKAGE.parent)]
    return ["env", f"PYTHONPATH={os.pathsep.join(places)}", *command_of(row)]


CHATTY = """
import os
from planted.model import PlantedBackend
class Hosted(PlantedBackend):
    def __init__(self, row):
        super().__init__()
        print("made")
    def _create(self, *args):
        os.write(1, b"natively printed\\n"); os.system("echo from a child")
        return super()._create(*args)
"""


def test_a_backend_that_prints_speaks_into_stderr(tmp_path: Path) -> None:
    with Worker(hosting(tmp_path, CHATTY)) as worker:
        model = loaded(worker)
        assert np.isfinite(model.forward(0, 5)).all()
        assert until(lambda: worker._drain(0.1) and "from a child" in worker.stderr)
        assert "natively printed" in worker.stderr


LOCATED = """
from dataclasses import replace
import numpy as np
from planted.model import PlantedBackend
class Hosted(PlantedBackend):
    @property
    def description(self):
        return replace(super().description, flags=str(self.array.ctypes.data % 4096))
    def __init__(self, row):
        super().__init__()
        self.array = np.empty(5000)
"""


def test_each_host_lays_out_its_memory_anew(tmp_path: Path) -> None:
    command = ["env", "PYTHONHASHSEED=0", *hosting(tmp_path, LOCATED)]
    places = set()
    for _ in range(4):
        with Worker(command) as worker:
            places.add(worker.description.flags)
    assert len(places) > 1  # of 256 each


def test_a_host_that_cannot_be_had_is_unavailable_with_its_reason_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "backend.toml").write_text(
        '[[backend]]\nname = "gone"\nlanguage = "Python"\ndivision = "plain"\nhost = "no_such_module:X"\n'
        'remedy = "pip install it"\n'
    )
    with pytest.raises(BackendUnavailable) as caught:
        Worker(command_of(registry.find("gone", [tmp_path / "backend.toml"])))
    assert "No module named 'no_such_module'" in caught.value.reason
    assert caught.value.remedy == "pip install it"


def test_a_hosted_worker_passes_what_the_backend_passes() -> None:
    network = Network((3, 5, 2), "tanh", "squared_error")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype("f4"), rng.normal(size=(40, 2)).astype("f4")
    battery = parity.battery(network, initialize(network, 1), x, y, 4)
    with Worker(command_of(registry.find("numpy"))) as worker:
        evidence = parity.examine(lambda network, theta: ProcessModel(worker, network, theta), battery)
    assert evidence.passed, evidence.worst
    here = parity.examine(pyfnn.load_backend("numpy").create, battery)
    assert [check.error for check in evidence.checks] == [check.error for check in here.checks]


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_a_worker_that_is_killed_leaves_no_child_behind(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "for line in sys.stdin:\n"
        "    print('ok\\tprotocol=1\\tname=p\\tlanguage=p\\tcompiler=p\\tflags=\\tactivations=\\tlosses=\\t'\n"
        "          f'arithmetic=native\\tdeterministic=yes\\tclock={child.pid}', flush=True)\n"
    )
    worker = Worker([sys.executable, str(program)])
    child = int(worker.description.clock)
    worker.signal_group(signal.SIGCONT)
    os.kill(worker.pid, signal.SIGKILL)
    worker.close()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "its child is still alive"
        time.sleep(0.01)
