"""What all parts of a bench's run share."""

import time

from process import TooBusy

TRIES = 3


class Stage:
    """Where it happens, since when, and which measurements had to be repeated."""

    def __init__(self, directory, layout):
        self.dir, self.layout = directory, layout
        self.begun, self.repeated = time.monotonic(), []

    def say(self, text):
        print(f"{time.monotonic() - self.begun:6.0f} s  {text}", flush=True)

    def patiently(self, work):
        """What `work` finds, at the third time where the machine was too busy before."""
        for _ in range(1, TRIES):
            try:
                return work()
            except TooBusy as busy:
                self.repeated.append(str(busy))
                self.say(f"  {busy}; again")
        return work()
