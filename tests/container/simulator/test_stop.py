import os
import signal

import pytest

from isaaclab_flows.container.simulator.stop import StoppedError, StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_until_somebody_looks(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    stop = StopRequest()
    stop.install()
    try:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.wanted
        with pytest.raises(StoppedError):
            stop.check()
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
