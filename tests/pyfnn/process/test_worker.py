"""Claims about `Worker`: starting and ending a process, and the errors for processes that misbehave."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import alive, until
from support.rogue import HELLO, ROGUE, heard, loaded, rogue

from pyfnn import launch
from pyfnn.errors import (
    BackendUnavailable,
    BuildFailed,
    Diverged,
    InvalidInput,
    NoRoom,
    ProtocolError,
    PyfnnError,
    Unsupported,
    WorkerDied,
    WorkerError,
    WorkerTimeout,
)
from pyfnn.process.worker import Worker

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG and affinity are Linux's")


def readable(number: int) -> bool:
    return bool(select.select([number], [], [], 0)[0])


# Misbehaving processes


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", pytest.param("SIGRTMIN+1", marks=LINUX)])
def test_a_worker_killed_by_a_signal_is_reported_with_the_signal(name: str) -> None:
    with rogue(f"os.kill(os.getpid(), signal.{name})") as worker:
        with pytest.raises(WorkerDied, match=re.escape(f"ended at 'theta' with signal {name}")):
            worker.call("theta")
        with pytest.raises(WorkerDied, match=re.escape(f"ended at 'reset' with signal {name}")):
            worker.call("reset")


def test_a_worker_that_exits_is_reported_with_its_status_and_last_lines() -> None:
    behaviour = 'os.write(2, b"one\\ntwo\\nthree\\nout of memory\\n"); os._exit(3)'
    with (
        rogue(behaviour) as worker,
        pytest.raises(WorkerDied, match=r"with exit status 3; its last words: two \| three \| out of memory"),
    ):
        worker.call("theta")


def test_a_worker_that_closes_its_output_and_runs_on_is_reported_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyfnn.process.worker._ENDING", 0.1)
    with (
        rogue("os.close(1); time.sleep(600)") as worker,
        pytest.raises(WorkerDied, match="closed its output at 'theta' without ending"),
    ):
        worker.call("theta")


def test_a_worker_killed_between_calls_is_reported_at_the_next() -> None:
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
        assert time.monotonic() - start < 15  # of the 60 s


def test_an_answer_that_came_in_time_counts_though_it_is_read_late() -> None:
    script = ROGUE.format(hello=HELLO, behaviour="pass")
    with Worker([sys.executable, "-I", "-S", "-c", script], timeout=60.0, greets=False) as worker:
        assert until(lambda: readable(worker.fileno()))
        worker.timeout = 0.0
        worker.greet()
        assert worker.description.name


def test_a_worker_that_ended_in_time_is_no_late_one_though_it_is_read_late() -> None:
    with Worker([sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"], timeout=60.0, greets=False) as worker:
        assert until(lambda: readable(worker.fileno()))
        worker.timeout = 0.0
        with pytest.raises(WorkerDied, match="exit status 3"):
            worker.greet()


def test_a_late_reply_is_never_mistaken_for_another(tmp_path: Path) -> None:
    late = tmp_path / "late"
    with rogue(f"while not os.path.exists({str(late)!r}): time.sleep(0.01)\nreply('ok\\tloss=1')") as worker:
        with pytest.raises(WorkerTimeout):
            worker.call("gradient 0 1", timeout=0.1)
        late.touch()
        assert until(lambda: readable(worker.fileno()))
        with pytest.raises(WorkerError, match="still owes the reply to 'gradient 0 1'; 'theta' was not sent"):
            worker.call("theta")


def test_unexpected_output_is_an_error(tmp_path: Path) -> None:
    more = tmp_path / "more"
    waits = f"while not os.path.exists({str(more)!r}): time.sleep(0.01)"
    with rogue(f"reply('ok')\n{waits}\nreply('ok\\tseconds=0')") as worker:
        worker.call("theta")
        more.touch()
        assert until(lambda: readable(worker.fileno()))
        with pytest.raises(ProtocolError, match=r"unexpected output before 'reset': b'ok\\tseconds=0"):
            worker.call("reset")


@pytest.mark.parametrize("line", ["Segmentation fault", "", "ok\tnonsense", "{}"])
def test_a_line_outside_the_protocol_is_an_error(line: str) -> None:
    with rogue(f"reply({line!r})") as worker, pytest.raises(ProtocolError, match=r"reply"):
        worker.call("theta")


def test_bytes_that_are_not_utf_8_are_an_error() -> None:
    with rogue("os.write(1, b'ok\\xff\\n')") as worker, pytest.raises(ProtocolError, match="is not UTF-8"):
        worker.call("theta")


def test_a_megabyte_without_an_end_of_line_is_an_error() -> None:
    with (
        rogue("while True: os.write(1, b'x' * 65536)") as worker,
        pytest.raises(ProtocolError, match="no end of line in 1048576 bytes of reply to 'theta'"),
    ):
        worker.call("theta")


def test_the_last_64_kib_of_stderr_are_kept() -> None:
    behaviour = "for _ in range(40): os.write(2, b'x' * 65536)\nos.write(2, b'the end')\nreply('ok')"
    with rogue(behaviour) as worker:
        worker.call("theta")
        assert until(lambda: heard(worker).endswith("the end"))
        assert len(worker.stderr) <= 64 * 1024


def test_a_worker_that_does_not_start_is_reported_with_the_reason() -> None:
    with pytest.raises(WorkerDied, match="no-such-program: No such file or directory"):
        Worker(["no-such-program"])


def test_a_worker_of_another_protocol_version_is_rejected() -> None:
    script = f"input(); print({HELLO.replace('protocol=1', 'protocol=7')!r})"
    with pytest.raises(ProtocolError, match="protocol 7: this version speaks 1"):
        Worker([sys.executable, "-I", "-S", "-c", script])


def test_unknown_keys_of_a_reply_are_ignored() -> None:
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
def test_an_error_reply_raises_the_exception_of_its_kind(fields: str, kind: type[PyfnnError]) -> None:
    with rogue(f"reply('error\\t{fields}')") as worker:
        with pytest.raises(PyfnnError, match="m") as caught:
            worker.call("theta")
        assert type(caught.value) is kind
        with pytest.raises(PyfnnError):  # the worker still answers
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
def test_a_reply_without_a_valid_number_or_its_file_is_an_error(reply: str, words: str) -> None:
    with rogue(f"reply('{reply}')") as worker:
        model = loaded(worker)
        with pytest.raises(ProtocolError, match=words):
            model.train(0, 1, 1, 0.1)


@pytest.mark.parametrize("threads", ["0", "1.5", "many"])
def test_a_thread_count_that_is_not_a_whole_number_of_at_least_1_is_an_error(threads: str) -> None:
    with rogue(f"reply('ok\\tthreads={threads}')") as worker, pytest.raises(ProtocolError, match=f"threads={threads}"):
        loaded(worker)


def test_a_pipe_or_an_endless_file_in_place_of_a_result_is_an_error() -> None:
    behaviour = (
        "path = os.path.join(sys.argv[1], 'theta_out.bin')\n"
        "if line == 'reset\\n': os.mkfifo(path)\n"
        "if line == 'init\\n': open(path, 'wb').truncate(1 << 40)\n"
        "if line == 'forward 0 1\\n': os.remove(path)\n"
        "reply('ok\\tthreads=1')"
    )
    with rogue(behaviour) as worker:
        model = loaded(worker)
        with pytest.raises(ProtocolError, match=r"theta_out\.bin has 1099511627776 bytes"):
            model.theta()
        worker.call("forward 0 1")
        worker.call("reset")
        with pytest.raises(ProtocolError, match=r"theta_out\.bin: not a regular file"):
            model.theta()


def test_an_error_of_a_worker_on_a_full_disk_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    with rogue("reply('error\\tmessage=theta_out.bin: write failed')") as worker:
        with pytest.raises(PyfnnError, match="write failed"):
            worker.call("theta")
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
        with pytest.raises(NoRoom, match="is full: make room, or set TMPDIR"):
            worker.call("theta")


# Starting and ending


def test_closing_ends_the_process_and_removes_its_folder() -> None:
    worker = rogue("pass")
    assert worker.workdir.is_dir()
    worker.close()
    assert not worker.workdir.exists()
    assert not alive(worker.pid)
    worker.close()


@pytest.mark.parametrize("behaviour", ["signal.pause()", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_closing_kills_a_process_that_ignores_quit(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyfnn.process.worker._PATIENCE", 0.2)
    worker = rogue("signal.signal(signal.SIGTERM, signal.SIG_IGN); " + behaviour)
    with pytest.raises(WorkerTimeout):
        worker.call("theta", timeout=0.1)
    worker.close()
    assert not alive(worker.pid)


def test_closing_continues_a_stopped_process_so_that_it_can_quit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyfnn.process.worker._PATIENCE", 60.0)
    worker = rogue("pass")
    worker.signal_tree(signal.SIGSTOP)
    worker.close()
    assert worker._process.returncode == 0, "it was killed"
    assert not alive(worker.pid)


@LINUX
@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_dies_with_its_driver_stopped_or_not(stopped: bool, tmp_path: Path) -> None:
    driver = (
        "import signal, sys, time; from pyfnn.process.worker import Worker;"
        f"worker = Worker([sys.executable, '-I', '-S', '-c', {ROGUE.format(hello=HELLO, behaviour='pass')!r}]);"
        f"{'worker.signal_tree(signal.SIGSTOP);' if stopped else ''}"
        "print(worker.pid, worker.workdir, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pid, workdir = parent.stdout.readline().split()
    assert alive(int(pid))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert until(lambda: not alive(int(pid)))
    assert Path(workdir).is_dir()  # the killed driver could not remove it; the next one does
    subprocess.run([sys.executable, "-c", "from pyfnn.scratch import Scratch; Scratch()"], env=environment, check=True)
    assert not Path(workdir).exists()


@LINUX
def test_affinity_and_thread_variables_are_set_before_the_program_starts() -> None:
    cpu = max(os.sched_getaffinity(0))
    report = (
        "import json; reply('ok\\taffinity=' + repr(os.sched_getaffinity(0)) + '\\tvariables='"
        f" + ' '.join(os.environ.get(name, '-') for name in {launch.THREAD_VARIABLES!r}))"
    )
    script = ROGUE.format(hello=HELLO, behaviour=report)
    with Worker([sys.executable, "-I", "-S", "-c", script], cpus=[cpu], threads=3) as worker:
        fields = worker.call("report")
    assert fields["affinity"] == f"{{{cpu}}}"
    assert fields["variables"].split() == ["3"] * len(launch.THREAD_VARIABLES)
    assert os.environ.get("OMP_NUM_THREADS") != "3"


def test_the_worker_leads_its_own_process_group() -> None:
    with rogue("reply('ok\\tgroup=' + str(os.getpgid(0)))") as worker:
        assert int(worker.call("group")["group"]) == worker.pid != os.getpgid(0)


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
    worker.signal_tree(signal.SIGCONT)
    os.kill(worker.pid, signal.SIGKILL)
    worker.close()
    assert until(lambda: not alive(child)), "the worker's child is still alive"
