"""What all parts of a bench's run share."""

import time


class Stage:
    """Where it happens, since when, and which measurements had to be repeated."""

    def __init__(self, directory, layout):
        self.dir, self.layout = directory, layout
        self.begun, self.repeated = time.monotonic(), []

    def say(self, text):
        print(f"{time.monotonic() - self.begun:6.0f} s  {text}", flush=True)
