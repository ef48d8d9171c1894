"""Runs one order from end to end and always leaves a result."""

from __future__ import annotations

import os
from pathlib import Path

from isaaclab_flows.container.simulator import failures
from isaaclab_flows.container.simulator.events import EventFile, Events, NoEvents, write_result
from isaaclab_flows.container.simulator.stop import StoppedError, StopRequest
from isaaclab_flows.schemas.errors import ErrorRecord
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.simulator import SimulatorJob, SimulatorResult


def set_asset_root(wanted: str | None) -> None:
    """Decide where robot files come from; Isaac Lab reads the variable when it is imported."""
    from isaaclab_flows.container.simulator.assets import choose_root

    root = choose_root(wanted, cache_folder=settings().cache_folder)
    if root is not None:
        os.environ["ISAACSIM_ASSET_ROOT"] = root


def run(job: SimulatorJob, *, asset_root: str | None) -> None:
    """Run an order; whatever happens, ``result.json`` says so.

    Args:
        job: The order.
        asset_root: Folder or URL with robot files; None chooses.
    """
    stop = StopRequest()
    stop.install()
    first = not job.distributed or os.environ.get("RANK", "0") == "0"
    events: Events = EventFile(Path(job.progress_file)) if first else NoEvents()
    leave = _Leaving(Path(job.result_file), first=first)
    try:
        events.stage("importing")
        if "ISAACSIM_ASSET_ROOT" not in os.environ:
            set_asset_root(asset_root)
        import torch  # noqa: F401  slow; the supervisor sees it as the stage's beginning

        stop.check()
        _simulate(job, events, stop, leave)
    except BaseException as error:
        leave.failed(error, job)


class _Leaving:
    """Writes the result once: the first word is the true one, what follows are its echoes.

    Of distributed processes the first one writes, unless another fails before it: torchrun then ends them all, and
    only the one that failed knows why.
    """

    def __init__(self, path: Path, *, first: bool) -> None:
        self._path = path
        self._first = first
        self._result: SimulatorResult | None = None

    def with_result(self, result: SimulatorResult) -> None:
        if self._result is not None:
            return
        self._result = result
        told = self._path.exists()
        if (self._first and not (told and result.status == "interrupted")) or (result.error and not told):
            write_result(self._path, result)

    def failed(self, error: BaseException, job: SimulatorJob, known: SimulatorResult | None = None) -> None:
        if self._result is None:
            import traceback

            traceback.print_exception(error)
        so_far = known or SimulatorResult(status="failed")
        if isinstance(error, StoppedError | KeyboardInterrupt):
            self.with_result(so_far.model_copy(update={"status": "interrupted"}))
        else:
            record = ErrorRecord.of(failures.explain(error, job))
            self.with_result(so_far.model_copy(update={"status": "failed", "error": record}))


def _simulate(job: SimulatorJob, events: Events, stop: StopRequest, leave: _Leaving) -> None:
    import torch  # noqa: F401  takes seconds, and a stop must not wait for the rest

    stop.check()
    from isaaclab_flows.container.simulator.libraries import library
    from isaaclab_flows.container.simulator.session import device_name, environment, launched, resolve, versions

    registered: tuple[str, ...] = ()
    if job.custom_environment:
        from isaaclab_flows.container.simulator.custom_environment import install

        events.stage("installing_environment", Path(job.custom_environment).name)
        own = install(job)
        registered = own.tasks
        job = job.model_copy(update={"task": own.task})
    chosen = library(job.library)
    setup = resolve(job, chosen, events=events, stop=stop, play=job.evaluation is not None, own_tasks=registered)
    known = SimulatorResult(
        status="succeeded",
        versions=versions(chosen.distribution),
        engine=setup.engine,
        device_name=device_name(setup.device),
        registered_tasks=registered,
    )
    if job.evaluation is not None:
        from isaaclab_flows.container.simulator.evaluate import prepare

        prepare(setup)
    with launched(setup):
        # The result is written in here, because NVIDIA's Kit may end the process when its launcher is left.
        try:
            with environment(setup) as session:
                from isaaclab_flows.container.simulator.ran import what_ran

                known = known.model_copy(update={"step_dt": session.step_dt, "ran": what_ran(session)})
                if job.evaluation is not None:
                    from isaaclab_flows.container.simulator.evaluate import evaluate

                    known = known.model_copy(update={"evaluations": evaluate(session)})
                else:
                    from isaaclab_flows.container.simulator.training import train

                    known = known.model_copy(update=train(session))
                events.stage("finishing")
                leave.with_result(known)
        except BaseException as error:
            leave.failed(error, job, known)
