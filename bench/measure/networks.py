"""The networks of a case in a worker process: one network, or many at once. All that differs between the two is here.

What makes and runs networks in a process is `pyfnn.process`; what judges them is the gate.
"""

import random
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.measure.block import MANY_BLOCKS
from bench.suites.problem import Members, Problem
from bench.suites.suite import CaseKey
from pyfnn import parity
from pyfnn.errors import Unsupported
from pyfnn.network import Network
from pyfnn.optimizers import State
from pyfnn.process.ensemble import ProcessEnsemble, open_ensemble
from pyfnn.process.model import ProcessModel
from pyfnn.process.worker import Worker
from pyfnn.validation import Array, Order

CURVE_EPOCHS = 40
_PROBES = 251  # of a timed block of passes; a prime, so that every probe meets every row
_MANY_STEPS = 100  # of a block, one of which is almost no work: 1 % of it, less than half of what may be unclaimed
_SEGMENT_MEMBERS = 3  # of many networks, checked in each segment
_STEP_IN_FORWARDS = 3  # a training step costs about three forward passes


class Run(NamedTuple):
    """Steps run in one go: seconds by the worker's clock, and the number of protocol calls that made them."""

    seconds: float
    checksum: float = 0.0  # of timed passes; 0 for training
    calls: int = 1


class Late(NamedTuple):
    """Time that a query for θ takes to wait for the end of earlier work: the driver's seconds and CPU seconds."""

    seconds: float
    cpu_seconds: float


class Noted(NamedTuple):
    """θ and the state of its optimizer: {} where that has none, and of many networks."""

    theta: Array
    state: State


class Networks(ABC):
    """The networks of a case in one worker process.

    Parameters
    ----------
    worker : Worker
    case : CaseKey
    problem : Problem

    Attributes
    ----------
    model : ProcessModel or ProcessEnsemble
        The loaded networks, after `load`.
    """

    block_factor: ClassVar[int] = 1
    """Factor on the length of a timed block."""

    curve_epochs: ClassVar[int] = 0
    """Most epochs of a training curve; 0 where the protocol reports no loss."""

    proof_steps: ClassVar[int]
    """Steps of the long trajectory that the parity battery walks."""

    model: ProcessModel | ProcessEnsemble

    def __init__(self, worker: Worker, case: CaseKey, problem: Problem) -> None:
        self._worker, self._case, self._problem = worker, case, problem

    @staticmethod
    @abstractmethod
    def ensemble_trials(problem: Problem, batch: int) -> list[parity.ManyTrial]:
        """Return the trials that a process must pass besides those of a single network."""

    @abstractmethod
    def load(self) -> None:
        """Make the networks of the workload in the process and load the data."""

    @abstractmethod
    def theta(self) -> Array:
        """Return the parameters: (n_parameters,), or (members, n_parameters) of many networks."""

    def noted(self) -> Noted:
        """Return the parameters and the state of their optimizer."""
        return Noted(self.theta(), {})

    @abstractmethod
    def run(self, steps: int, skip: int) -> Run:
        """Run `steps` steps of the case's operation, each network's, after its first `skip`."""

    def run_least(self, skip: int, steps: int) -> Run:
        """Run almost no work beside a block of `steps` steps: one of many, or the least that the protocol can ask for.

        A step is preferred, since a framework compiles for each new number of rows.
        """
        return self.run(1, skip) if steps >= _MANY_STEPS else self.run_row(skip)

    def least_share(self, steps: int) -> float:
        """Return the work of `run_least` as a share of that of `steps` steps."""
        return 1 / (steps if steps >= _MANY_STEPS else steps * self._case.workload.batch)

    @abstractmethod
    def run_row(self, skip: int) -> Run:
        """Run the least work that the protocol can ask for, after the first `skip` steps."""

    @abstractmethod
    def freshen(self, skip: int) -> None:
        """Move θ, where the operation does not, so that results of earlier calls are of no use."""

    @abstractmethod
    def draw_start(self, steps: int, secrets: random.Random) -> int:
        """Draw the place from which a block of `steps` steps starts, in steps; for passes, their probes too."""

    @abstractmethod
    def first_passes(self, steps: int) -> int:
        """Return the steps in which a block of `steps` steps meets each row at most once; 0 where all of them do."""

    @abstractmethod
    def late(self) -> Late:
        """Ask twice for θ; return what the first query after a run takes beyond the second one."""

    @abstractmethod
    def checked_passes(self, where: str, steps: int, secrets: random.Random) -> parity.Check:
        """Make passes at a secret place, with secret probes, and compare their checksum with the oracle's."""

    @abstractmethod
    def segment_checks(
        self, where: str, before: Noted, after: Noted, first: int, count: int, secrets: random.Random
    ) -> list[parity.Check]:
        """Check training over order[first : first+count] against the oracle started at `before`."""

    @abstractmethod
    def train_part(self, first: int, count: int) -> float:
        """Train over order[first : first+count], each network's, and return the seconds by the worker's clock."""

    @abstractmethod
    def loss(self) -> float:
        """Return the mean loss over all rows."""

    @abstractmethod
    def proof_seconds(self, step_seconds: float) -> float:
        """Predict the duration of the parity battery from that of one step; call right after that step."""

    @property
    @abstractmethod
    def stores_theta_between_calls(self) -> bool:
        """True where θ is rounded to the network's dtype between calls."""

    def time_one_step(self) -> float:
        """Return the driver's seconds for one step."""
        self.run(1, 0)
        return self.model.call_wall_seconds

    def make(self, network: Network, theta: Array) -> ProcessModel:
        """Return a model in this process; replaces the loaded networks."""
        return ProcessModel(self._worker, network, theta, self._case.threads)

    def make_many(self, network: Network, thetas: Array, l2: NDArray[np.float64]) -> ProcessEnsemble:
        """Return an ensemble in this process; replaces the loaded networks."""
        return open_ensemble(self._worker, network, thetas, l2, self._case.threads)


class OneNetwork(Networks):
    """One network: it trains, and its passes are timed."""

    curve_epochs: ClassVar[int] = CURVE_EPOCHS
    proof_steps: ClassVar[int] = parity.STEPS

    model: ProcessModel

    def __init__(self, worker: Worker, case: CaseKey, problem: Problem) -> None:
        super().__init__(worker, case, problem)
        self._probes: Order = np.zeros(1, np.int64)

    @staticmethod
    def ensemble_trials(problem: Problem, batch: int) -> list[parity.ManyTrial]:  # noqa: ARG004
        """Return no trials."""
        return []

    def load(self) -> None:
        """Make the network and load the data."""
        problem = self._problem
        self.model = self.make(problem.network, problem.theta)
        self.model.load(problem.x, problem.y, problem.order)

    def theta(self) -> Array:
        """Return the parameters. (n_parameters,)."""
        return self.model.theta()

    def noted(self) -> Noted:
        """Return the parameters and the state of their optimizer."""
        return Noted(self.theta(), self.model.optimizer_state())

    def run(self, steps: int, skip: int) -> Run:
        """Train over rows of the order, or repeat passes over one batch after another."""
        workload, operation = self._case.workload, self._case.operation
        first = skip * workload.batch
        if operation == "train":
            return Run(self.train_part(first, steps * workload.batch))
        start = first % (workload.rows - workload.batch + 1)
        probes = np.roll(self._probes, -(skip % len(self._probes)))  # of this step, however the block is cut into calls
        seconds = self.model.time(operation, start, workload.batch, steps, probes)
        return Run(seconds, self.model.checksum)

    def run_row(self, skip: int) -> Run:
        """Train on one row, or pass over it once."""
        workload, operation = self._case.workload, self._case.operation
        first = skip * workload.batch
        if operation == "train":
            return Run(self.model.train(first, 1, 1, self._case.learning_rate, self._case.optimizer))
        return Run(self.model.time(operation, first % workload.rows, 1, 1), self.model.checksum)

    def freshen(self, skip: int) -> None:
        """Take one training step before passes: a table of all rows' results is then of no use to them."""
        workload = self._case.workload
        if self._case.operation != "train":
            first = skip % (self._problem.n_order // workload.batch) * workload.batch
            self.model.train(first, workload.batch, workload.batch, self._case.learning_rate)

    def draw_start(self, steps: int, secrets: random.Random) -> int:
        """Draw a step of the order from which `steps` steps are left; passes go around the rows and need one."""
        training = self._case.operation == "train"
        if not training:
            self._probes = self._draw_probes(_PROBES, secrets)
        room = self._problem.n_order // self._case.workload.batch - (steps if training else 1)
        return secrets.randint(0, room)

    def _draw_probes(self, n: int, secrets: random.Random) -> Order:
        network = self._problem.network
        outputs = self._case.workload.batch * network.sizes[-1]
        entries = outputs if self._case.operation == "forward" else network.n_parameters
        return np.array([secrets.randrange(entries) for _ in range(n)])

    def first_passes(self, steps: int) -> int:
        """Return the passes that meet each row once, where a block has more."""
        most = self._case.workload.rows // self._case.workload.batch
        return most if self._case.operation != "train" and steps > most else 0

    def checked_passes(self, where: str, steps: int, secrets: random.Random) -> parity.Check:
        """Compare the sum of `steps` probed entries."""
        problem, batch, operation = self._problem, self._case.workload.batch, self._case.operation
        assert operation != "train"
        first, probes = secrets.randint(0, len(problem.x) - batch), self._draw_probes(steps, secrets)
        theta = self.theta()
        self.model.time(operation, first, batch, steps, probes)
        data = problem.x, problem.y
        return parity.pass_check(
            where, problem.network, theta, *data, operation, first, batch, probes, self.model.checksum
        )

    def late(self) -> Late:
        """Compare the query for θ with which training ends, or one after passes, with the next one."""
        if self._case.operation != "train":
            self.model.theta()
        return _late(self.model)

    def segment_checks(
        self,
        where: str,
        before: Noted,
        after: Noted,
        first: int,
        count: int,
        secrets: random.Random,  # noqa: ARG002
    ) -> list[parity.Check]:
        """Check the network."""
        problem, case = self._problem, self._case
        rows = problem.order[first : first + count]
        data = problem.x, problem.y
        checks = parity.segment_checks(
            where,
            problem.network,
            before.theta,
            after.theta,
            *data,
            rows,
            case.workload.batch,
            case.learning_rate,
            case.optimizer,
            (before.state, after.state),
        )
        return list(checks)

    def train_part(self, first: int, count: int) -> float:
        """Train the network; the last minibatch may be short."""
        case = self._case
        return self.model.train(first, count, case.workload.batch, case.learning_rate, case.optimizer)

    def loss(self) -> float:
        """Return the mean loss over all rows."""
        return self.model.loss_and_gradient(0, self._case.workload.rows)[0]

    def proof_seconds(self, step_seconds: float) -> float:
        """Predict from the battery's steps, which are training steps."""
        return parity.PROOF_STEPS * step_seconds * (_STEP_IN_FORWARDS if self._case.operation == "forward" else 1)

    @property
    def stores_theta_between_calls(self) -> bool:
        """False: the worker holds θ."""
        return False


class ManyNetworks(Networks):
    """Many networks at once, which train and do nothing else. A run's steps are those of each network."""

    block_factor: ClassVar[int] = MANY_BLOCKS
    proof_steps: ClassVar[int] = parity.MANY_STEPS

    model: ProcessEnsemble

    def __init__(self, worker: Worker, case: CaseKey, problem: Problem) -> None:
        super().__init__(worker, case, problem)
        self._members = _members_of(problem)

    @staticmethod
    def ensemble_trials(problem: Problem, batch: int) -> list[parity.ManyTrial]:
        """Return the battery of many networks."""
        members = _members_of(problem)
        return parity.many_battery(problem.network, members.thetas, members.l2, problem.x, problem.y, batch)

    def load(self) -> None:
        """Make all networks and load the data and their orders."""
        members = self._members
        self.model = self.make_many(self._problem.network, members.thetas, members.l2)
        self.model.load(self._problem.x, self._problem.y, members.orders)

    def theta(self) -> Array:
        """Return the parameters. (members, n_parameters)."""
        return self.model.thetas()

    def run(self, steps: int, skip: int) -> Run:
        """Train every network over rows of its own order, at its own rate."""
        batch = self._case.workload.batch
        seconds = self.model.train(skip * batch, steps * batch, batch, self._members.rates)
        return Run(seconds, calls=self.model.members if self.stores_theta_between_calls else 1)

    def run_row(self, skip: int) -> Run:
        """Train every network on one row."""
        seconds = self.model.train(skip * self._case.workload.batch, 1, 1, self._members.rates)
        return Run(seconds, calls=self.model.members if self.stores_theta_between_calls else 1)

    def freshen(self, skip: int) -> None:
        """Do nothing: many networks only train."""

    def draw_start(self, steps: int, secrets: random.Random) -> int:
        """Draw a step of the orders from which `steps` steps are left."""
        return secrets.randint(0, self._problem.n_order // self._case.workload.batch - steps)

    def first_passes(self, steps: int) -> int:  # noqa: ARG002
        """Return 0: θ moves at each step."""
        return 0

    def late(self) -> Late:
        """Compare the query for θ with which training ends with the next one."""
        return _late(self.model)

    def checked_passes(self, where: str, steps: int, secrets: random.Random) -> parity.Check:  # noqa: ARG002
        """Raise: many networks only train.

        Raises
        ------
        Unsupported
        """
        raise Unsupported("many networks at once only train")

    def segment_checks(
        self, where: str, before: Noted, after: Noted, first: int, count: int, secrets: random.Random
    ) -> list[parity.Check]:
        """Check a few members, drawn anew for each segment."""
        problem, batch, members = self._problem, self._case.workload.batch, self._members
        checks: list[parity.Check] = []
        for k in secrets.sample(range(len(members.rates)), min(_SEGMENT_MEMBERS, len(members.rates))):
            network = replace(problem.network, l2=float(members.l2[k]))
            rows = members.orders[k, first : first + count]
            place, rate = f"{where}, member {k}", float(members.rates[k])
            data = problem.x, problem.y
            checks += parity.segment_checks(place, network, before.theta[k], after.theta[k], *data, rows, batch, rate)
        return checks

    def train_part(self, first: int, count: int) -> float:
        """Train every network; the last minibatches may be short."""
        return self.model.train(first, count, self._case.workload.batch, self._members.rates)

    def loss(self) -> float:
        """Raise: the protocol reports no loss of many networks.

        Raises
        ------
        Unsupported
        """
        raise Unsupported("the protocol reports no loss of many networks at once")

    def proof_seconds(self, step_seconds: float) -> float:
        """Predict from a step of each network: one call loads, each other call walks the trajectory."""
        calls = parity.MANY_TIMES + 1
        return calls * step_seconds + parity.MANY_TIMES * parity.MANY_STEPS * self.model.call_wall_seconds

    @property
    def stores_theta_between_calls(self) -> bool:
        """True where the driver keeps θ between calls, in the network's dtype."""
        return self.model.stores_theta_between_calls

    def time_one_step(self) -> float:
        """Return the driver's seconds for one step of each network, loading each network included."""
        start = time.perf_counter()
        self.run(1, 0)
        return time.perf_counter() - start


def _late(model: ProcessModel | ProcessEnsemble) -> Late:
    first = model.query_wall_seconds, model.query_cpu_seconds
    model.query_theta()
    return Late(first[0] - model.query_wall_seconds, first[1] - model.query_cpu_seconds)


def networks_of(problem: Problem) -> type[Networks]:
    """Return the class that makes and runs the networks of a problem."""
    return OneNetwork if problem.members is None else ManyNetworks


def _members_of(problem: Problem) -> Members:
    assert problem.members is not None
    return problem.members
