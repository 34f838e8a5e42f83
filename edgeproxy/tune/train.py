"""The training loop: AdamW on A and B, the best of which are kept by the held-out loss.

Everything follows from the settings and a checkpoint's `Position`: which examples come next, at
which rate, whether the held-out loss is due. So a tuning that was killed goes on as if nothing had
been, to the bit with one thread.

May touch: the checkpoint's file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgeproxy.errors import TuningError
from edgeproxy.tune.batches import Batch, Order, micro_batches
from edgeproxy.tune.checkpoint import Arrays, Checkpoint, Origin, Position, Way
from edgeproxy.tune.held_out import FORWARD_SHARE, HeldOut
from edgeproxy.tune.lora import parameters
from edgeproxy.tune.loss import backward
from edgeproxy.tune.memory import telling_of_memory
from edgeproxy.tune.network import Network, looking
from edgeproxy.tune.optimizer import Optimizer, copied, fill, numbers
from edgeproxy.tune.pace import Pace
from edgeproxy.tune.progress import Ending, Plan, Progress, Trained
from edgeproxy.tune.settings import Settings, rate_share
from edgeproxy.tune.speed import dtype_of, fastest_threads, using_threads
from edgeproxy.tune.tokens import Tokens
from edgeproxy.units import duration

Heard = Callable[[Plan | Progress], None]
Clock = Callable[[], float]

EVERY, SHARE = 30.0, 50.0
"""A checkpoint is written so many seconds after the last, and so many times what that took."""

_TRIAL_TOKENS = 256
"""So many tokens, or one example, go through the network in a trial of its speed."""


class _Stopped(Exception):
    """It was asked to stop amid a step or an evaluation, of which nothing is kept."""


def train(
    network: Network,
    training: Sequence[Tokens],
    held_out: Sequence[Tokens],
    settings: Settings,
    *,
    model: str,
    checkpoint: Path | None = None,
    resume: bool = False,
    heard: Heard = lambda _: None,
    is_stopping: Callable[[], bool] = lambda: False,
    clock: Clock = time.monotonic,
) -> Trained:
    """Train the A and B that `add_lora` gave `network`; afterwards they are the best ones.

    The best have the least loss on `held_out`; where nothing is held out, all epochs are done and
    the last are kept. `model` is the sha256 of the model's file. The state is kept in the file
    `checkpoint` now and then, and with `resume` it is gone on from there, as it began: the threads,
    and how many tokens go through the network at once, are the checkpoint's. `is_stopping` is
    looked at before each product with a matrix; what was best until then is kept.

    Raises `TuningError` where no example has a reply, where the loss or a gradient is not finite
    (the best are in the network and in the checkpoint then), where a time limit is too short for a
    step, and where a checkpoint cannot be written, read or gone on with; `OutOfMemoryError` where
    memory ends.
    """
    run = _Run(network, training, settings, checkpoint, heard, is_stopping, clock)
    with telling_of_memory(), looking(network, run.look):
        run.begin(Origin.of(model, training, held_out, settings), held_out, resume)
        return run.run()


class _Run:
    """One call of `train`: `begin`, then `run`."""

    def __init__(
        self,
        network: Network,
        training: Sequence[Tokens],
        settings: Settings,
        path: Path | None,
        heard: Heard,
        is_stopping: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._pace = Pace(clock, 60.0 * settings.minutes if settings.minutes else math.inf)
        self._written = clock()  # when a checkpoint was
        self._wait = EVERY  # seconds from there to the next one
        self._network, self._training, self._settings = network, training, settings
        self._path, self._heard = path, heard
        self._is_stopping, self._clock = is_stopping, clock
        self._order = Order(training, settings.batch, settings.seed)
        if not self._order.lengths:
            raise TuningError("none of the examples has a reply to learn from; look at the file")
        self._steps = settings.epochs * self._order.per_epoch
        self._n_vocab = len(network.output.weight)
        self._trained = parameters(network)
        self._optimizer = Optimizer(self._trained)
        self._best: Arrays = {}
        self._is_stopped = False
        self._position = Position()
        dtype = dtype_of(list(network.buffers()))
        self._way = Way(settings.threads or 0, dtype, settings.micro_tokens)

    def begin(self, origin: Origin, held_out: Sequence[Tokens], resume: bool) -> None:
        """Take up the state of the checkpoint, and find out how fast steps will be."""
        self._origin = origin
        if resume and self._path:
            self._restore(self._path)
        tokens = self._order.n_tokens
        self._held_out = HeldOut(held_out, tokens, self._way.micro_tokens, self._n_vocab)
        self._due = self._held_out.steps(self._order.per_epoch)
        if self._position.ending is None:
            try:
                self._find_pace()
            except _Stopped:
                self._is_stopped = True  # what is fastest is found when it goes on

    def _restore(self, path: Path) -> None:
        found = Checkpoint.read(path)
        found.check(path, self._origin, {n: tuple(t.shape) for n, t in self._trained.items()})
        if found.way.dtype != self._way.dtype:
            raise TuningError(
                f"{path} was begun with weights in {found.way.dtype}, and these are in "
                f"{self._way.dtype}: leave out --dtype, or begin again, without --resume"
            )
        self._way, self._position, self._best = found.way, found.position, found.best
        fill(self._trained, found.parameters)
        self._pace.add(found.position.seconds)
        self._optimizer.restore(found.position.step, found.first_moments, found.second_moments)

    def _find_pace(self) -> None:
        """Time a pass with several numbers of threads, or with the one that is given; tell."""
        order, position = self._order, self._position
        batch = self._batch(order.typical(_TRIAL_TOKENS))
        options = [self._way.threads] if self._way.threads else []
        trial = fastest_threads(lambda: self._try(batch), options)
        self._way = replace(self._way, threads=trial.threads)
        speed = batch.n_read / trial.seconds if trial.seconds else math.inf
        self._pace.expect(
            order.n_tokens / order.per_epoch / speed,
            FORWARD_SHARE * self._held_out.n_tokens / speed,
            len(self._due) / order.per_epoch,
        )
        left = self._pace.left(self._steps - position.step)
        self._heard(Plan(position.step, self._steps, trial.threads, self._way.dtype, speed, left))

    def _try(self, batch: Batch) -> None:
        try:
            backward(self._network, batch, len(batch.targets), self._n_vocab)
        finally:
            self._optimizer.forget()

    def run(self) -> Trained:
        """Train until something ends it, and put the best into the network."""
        if self._position.ending is None:
            if not self._is_stopped:
                self._keep()
            try:
                self.look()
                with using_threads(self._way.threads):
                    ending = self._until_the_end()
                self._position = replace(self._position, ending=ending)
            except _Stopped:
                self._optimizer.forget()
            except TuningError:
                self._put_best()
                raise
            self._keep()
        self._put_best()
        return self._result()

    def _until_the_end(self) -> Ending:
        patience = self._held_out.patience(self._order.per_epoch)
        while True:
            step = self._position.step
            place = step % self._order.per_epoch or self._order.per_epoch
            if step == 0 or place in self._due:
                self._evaluate()
            if self._position.since_best >= patience:
                return "no better"
            if step == self._steps:
                return "epochs"
            if self._pace.fitting() < 0.5:  # steps, rounded
                self._check_minutes()
                self._evaluate()
                return "minutes"
            self._keep_now_and_then()
            self._step()

    def _step(self) -> None:
        """One step of the optimizer."""
        begun, step = self._clock(), self._position.step
        places = self._order.step(step)
        n_predicted = sum(self._order.predicted[place] for place in places)
        loss, tokens = 0.0, 0
        for micro in micro_batches(places, self._order.lengths, self._way.micro_tokens):
            self.look()
            batch = self._batch(micro)
            loss += backward(self._network, batch, n_predicted, self._n_vocab)
            tokens += batch.n_read
        steps = min(float(self._steps), step + self._pace.fitting())
        rate = self._settings.rate * rate_share(step, steps)
        if not (math.isfinite(loss) and self._optimizer.step(rate)):
            raise self._diverged(f"the loss is {loss:.3g}, with gradients that are not all finite,")
        self._position = replace(self._position, step=step + 1)
        self._pace.stepped(loss, tokens, self._clock() - begun)
        self._tell(rate)

    def _evaluate(self) -> None:
        """Look at the held-out loss, unless that was done at this step; keep A and B if best."""
        if not self._held_out or self._position.evaluated == self._position.step:
            return
        begun = self._clock()
        loss = self._held_out.loss(self._network, self.look)
        if not math.isfinite(loss):
            raise self._diverged(f"the held-out loss is {loss}")
        self._position = self._position.with_loss(loss)
        if self._position.best_step == self._position.step > 0:
            self._best = copied(self._trained)
        self._pace.evaluated(self._clock() - begun)
        self._tell(0.0)

    def look(self) -> None:
        """Raise where it is to stop."""
        if self._is_stopped or self._is_stopping():
            self._is_stopped = True
            raise _Stopped

    def _batch(self, places: Sequence[int]) -> Batch:
        return Batch.of([self._training[place] for place in places])

    def _diverged(self, what: str) -> TuningError:
        """An error that says so; the state before this step is kept, which is sound."""
        self._keep()
        kept = f"; what was best until then is kept in {self._path}" if self._path else ""
        return TuningError(
            f"{what} at step {self._position.step + 1} of {self._steps}: learn more slowly, with a "
            f"lower --rate than {self._settings.rate:g}{kept}"
        )

    def _check_minutes(self) -> None:
        if self._position.step == 0:
            raise TuningError(
                f"--minutes {self._settings.minutes:g} are over before the first of {self._steps} "
                f"steps; all of them take about {duration(self._pace.expected(self._steps))}"
            )

    def _put_best(self) -> None:
        if self._best:
            fill(self._trained, self._best)

    def _keep_now_and_then(self) -> None:
        if self._clock() - self._written >= self._wait:
            self._keep()

    def _keep(self) -> None:
        """Write a checkpoint."""
        if not self._path:
            return
        begun = self._clock()
        position = replace(self._position, seconds=self._pace.seconds)
        first, second = self._optimizer.moments()
        trained = numbers(self._trained)
        state = Checkpoint(self._origin, self._way, position, trained, first, second, self._best)
        state.write(self._path)
        self._written = self._clock()
        self._wait = max(EVERY, SHARE * (self._written - begun))

    def _tell(self, rate: float) -> None:
        position, pace = self._position, self._pace
        self._heard(
            Progress(
                step=position.step,
                steps=self._steps,
                epoch=max(1, -(-position.step // self._order.per_epoch)),
                epochs=self._settings.epochs,
                loss=pace.loss,
                held_out_loss=position.last_loss,
                best_loss=position.best_loss,
                rate=rate,
                tokens_per_second=pace.tokens_per_second,
                seconds=pace.seconds,
                seconds_left=pace.left(self._steps - position.step),
            )
        )

    def _result(self) -> Trained:
        position = self._position
        return Trained(
            best_loss=position.best_loss,
            best_step=position.best_step if self._best else position.step,
            first_loss=position.first_loss,
            loss=self._pace.loss,
            steps=position.step,
            epochs=position.step / self._order.per_epoch,
            seconds=self._pace.seconds,
            ending=position.ending or "stopped",
            threads=self._way.threads,
            dtype=self._way.dtype,
        )
