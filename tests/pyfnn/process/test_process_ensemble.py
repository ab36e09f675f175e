"""Claims about ensembles in a worker process: the commands of the protocol, hosts, and workers that break it."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from planted.model import PlantedBackend
from support.ensembles import L2, NETWORK, RATES, ROWS, THETAS, K, N, data, ensemble_battery
from support.places import TESTS
from support.requirements import require

import pyfnn
from pyfnn import parity, registry
from pyfnn.backend import Backend
from pyfnn.errors import ProtocolError, PyfnnError
from pyfnn.process import protocol
from pyfnn.process.ensemble import MemberByMember, ProcessEnsemble, open_ensemble
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.worker import Host


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(command_of(registry.find("numpy"))) as worker:
        yield worker


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(PlantedBackend(), tmp_path)


def _hand_over(folder: Path, members: int | None = K) -> None:
    x, y, orders = data()
    (folder / "network.txt").write_text(protocol.format_setup(protocol.Setup(NETWORK, ROWS, N, 1, members)))
    arrays = {"theta": THETAS, "x": x, "y": y, "order": orders, "l2": L2, "rates": RATES}
    for name, array in arrays.items():
        protocol.write_array(folder / f"{name}.bin", array)


def test_every_host_reports_that_it_takes_many_networks_and_a_program_need_not(host: Host) -> None:
    fields = protocol.parse_reply(host.answer("hello"))[1]
    assert protocol.parse_description(fields).many
    assert not protocol.parse_description({key: value for key, value in fields.items() if key != "many"}).many
    assert not protocol.parse_description({**fields, "many": "no"}).many
    with pytest.raises(ProtocolError, match="many=some: must be yes or no"):
        protocol.parse_description({**fields, "many": "some"})


def test_the_number_of_members_is_read_from_network_txt_as_written() -> None:
    for members in (None, 1, 256):
        setup = protocol.Setup(NETWORK, 5, 7, 2, members)
        assert protocol.parse_setup(protocol.format_setup(setup)).members == members


def test_a_host_trains_and_returns_every_members_theta(host: Host, tmp_path: Path) -> None:
    _hand_over(tmp_path)
    assert host.answer("init_many").startswith("ok\tthreads=1")
    assert host.answer("train_many 0 15 4").startswith("ok\tseconds=")
    assert host.answer("theta") == "ok\n"
    ends = protocol.read_array(tmp_path / "theta_out.bin", THETAS.shape, "float32")
    assert (ends != THETAS).any(axis=1).all()
    assert host.answer("reset") == "ok\n"
    host.answer("theta")
    assert (tmp_path / "theta_out.bin").read_bytes() == THETAS.tobytes()


@pytest.mark.parametrize(
    ("before", "line", "words"),
    [
        ("hello", "train_many 0 1 1", "no ensemble yet: init_many comes first"),
        ("init_many", "train 0 1 1 0.1", "no model yet: init comes first"),
        ("init_many", "forward 0 1", "no model yet: init comes first"),
        ("init_many", "train_many 0 1 1 0.1", "the command is 'train_many FIRST COUNT BATCH'"),
        ("init_many", "train_many 0 99 1", "must lie within the 15 entries of each order"),
        ("hello", "theta", "no model yet"),
        ("hello", "reset", "no model yet"),
    ],
)
def test_a_command_out_of_place_is_an_error_and_the_host_goes_on(
    before: str, line: str, words: str, host: Host, tmp_path: Path
) -> None:
    _hand_over(tmp_path)
    host.answer(before)
    status, fields = protocol.parse_reply(host.answer(line))
    assert status == "error"
    assert words in fields["message"]
    assert host.answer("hello").startswith("ok\t")


def test_a_missing_number_of_members_or_a_short_file_is_named(host: Host, tmp_path: Path) -> None:
    _hand_over(tmp_path, members=None)
    assert "network.txt has no line 'members'" in host.answer("init_many")
    _hand_over(tmp_path, members=K + 1)
    assert "theta.bin has 416 bytes: (5, 26) of float32 takes 520" in host.answer("init_many")
    _hand_over(tmp_path)
    host.answer("init_many")
    (tmp_path / "rates.bin").write_bytes(b"12345678")
    assert "rates.bin has 8 bytes: (4,) of float64 takes 32" in host.answer("train_many 0 1 1")


HELLO = protocol.format_reply("ok", protocol.describe(replace(PlantedBackend().description, many=True)))
ROGUE = """
import sys
for line in sys.stdin:
    word = line.split()[0]
    if word == "quit":
        break
    sys.stdout.write({{"hello": {hello!r}, "init_many": "ok\\tthreads=1\\n"}}.get(word, {reply!r}))
    sys.stdout.flush()
"""


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("ok\n", "the reply lacks seconds"),
        ("ok\tseconds=-1\n", "seconds=-1: must be finite and not negative"),
        ("ok\tseconds=1\n", r"theta_out\.bin: No such file"),
        ("trained\n", "starts with neither ok nor error"),
    ],
)
def test_a_wrong_reply_to_train_many_violates_the_protocol(reply: str, words: str) -> None:
    script = ROGUE.format(hello=HELLO, reply=reply)
    with Worker([sys.executable, "-I", "-S", "-c", script], timeout=20.0) as rogue:
        many = open_ensemble(rogue, NETWORK, THETAS)
        assert type(many) is ProcessEnsemble
        many.load(*data())
        with pytest.raises(ProtocolError, match=words):
            many.train(0, 1, 1, RATES)


def test_a_worker_that_claims_many_and_refuses_init_many_is_an_error() -> None:
    script = ROGUE.format(hello=HELLO, reply="").replace('"ok\\tthreads=1\\n"', '"error\\tmessage=unknown command\\n"')
    with Worker([sys.executable, "-I", "-S", "-c", script], timeout=20.0) as rogue:
        many = open_ensemble(rogue, NETWORK, THETAS)
        with pytest.raises(PyfnnError, match="unknown command"):
            many.load(*data())


def test_an_ensemble_whose_worker_was_loaded_again_is_an_error(worker: Worker) -> None:
    many = open_ensemble(worker, NETWORK, THETAS, L2)
    many.load(*data())
    x, y, orders = data()
    ProcessModel(worker, NETWORK, THETAS[0]).load(x, y, orders[0])
    for call in (many.thetas, many.reset, lambda: many.train(0, 1, 1, RATES)):
        with pytest.raises(PyfnnError, match="this ensemble's worker has been loaded with another model since"):
            call()


@pytest.fixture(scope="module")
def foreign() -> Backend:
    require("perl", shutil.which("perl") is not None, "install Perl 5.22 or later")
    return pyfnn.load_backend("foreign", [TESTS / "foreign" / "backend.toml"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_program_without_many_networks_trains_them_one_after_the_other(foreign: Backend, dtype: str) -> None:
    assert not foreign.description.many
    with foreign.create_many(NETWORK, THETAS, L2) as many:
        assert isinstance(many, MemberByMember)
    evidence = parity.examine_many(foreign.create_many, ensemble_battery(dtype))
    assert evidence.passed, evidence.worst


def test_the_time_of_an_ensemble_run_member_by_member_is_that_of_its_training(worker: Worker) -> None:
    many = MemberByMember(worker, NETWORK, THETAS, L2)
    many.load(*data())
    many.accounts = True
    seconds = many.train(0, N, 1, RATES)
    assert 0 < seconds <= many.call_wall_seconds
    assert many.call_cpu_seconds > 0
