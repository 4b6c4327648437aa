"""What should be reached beside what was: what is missed is said, and ends a bench with exit status 1."""

import sys


class Goals:
    def __init__(self):
        self.missed = []

    def at_most(self, what, value, most):
        self._judge(what, value, value <= most, f"at most {most:.3f}")

    def at_least(self, what, value, least):
        self._judge(what, value, value >= least, f"at least {least:.3f}")

    def _judge(self, what, value, met, wanted):
        said = f"{what}: {value:.3f}, wanted {wanted}"
        print(f"{'met' if met else 'MISSED'}  {said}", flush=True)
        if not met:
            self.missed.append(said)

    def close(self):
        if self.missed:
            sys.exit(f"bench: {len(self.missed)} goals were missed")
