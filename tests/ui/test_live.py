from __future__ import annotations

import io

from stoneware.bake import events
from stoneware.ui.live import LiveView


def test_the_view_gives_the_terminal_away_and_goes_on_below() -> None:
    stream = io.StringIO()
    with LiveView(stream, refresh=False) as view:
        view.emit(events.StepStarted("0", 1, 2, 3, "RUN false", "not built yet"))
        view.emit(events.StepFailed("0", 1, 0.1, 1))
        view.emit(events.TerminalTaken())
        stream.write("typed in the shell\n")
        view.emit(events.TerminalReturned())
        view.emit(events.StepStarted("0", 2, 2, 4, "RUN true", "not built yet"))
    before, _, after = stream.getvalue().partition("typed in the shell\n")
    assert "RUN false" in before
    assert "RUN false" not in after
    assert "RUN true" in after
