"""One progress bar for a whole audit, in planned seconds: with the time left, whatever part is at work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Bar:
    """A bar over planned seconds; `part` gives the next part a bar of its own that drives this one."""

    def __init__(self, bar=None, total: float = 0.0):
        """Args: bar: like `tqdm.tqdm`, or None; total: planned seconds."""
        self.bar, self.total, self.done = bar, total, 0.0

    def __call__(self, seconds: float) -> Callable:
        """What a part of so many planned seconds drives, as it would `tqdm.tqdm(total=..., desc=...)`."""

        @contextmanager
        def part(total: int, desc: str) -> Iterator["Part"]:
            self.say(desc)
            yield Part(self, seconds / max(total, 1))

        return part

    @contextmanager
    def until_done(self, seconds: float) -> Iterator[None]:
        """A part of so many planned seconds, all of which are done at its end, whatever it took of them."""
        end = self.done + seconds
        yield
        self.reach(end)

    def say(self, what: str) -> None:
        """What is at work."""
        if self.bar is not None:
            self.bar.set_description_str(what)

    def reach(self, seconds: float) -> None:
        """So much of the plan is done."""
        seconds = min(seconds, self.total)
        if self.bar is not None and seconds > self.done:
            self.bar.update(seconds - self.done)
            self.done = seconds


class Part:
    """What one attack tells of its steps."""

    def __init__(self, whole: Bar, a_step: float):
        self.whole, self.a_step = whole, a_step

    def update(self, steps: int) -> None:
        """So many more steps are done."""
        self.whole.reach(self.whole.done + steps * self.a_step)


@contextmanager
def progress_of(progress: Callable | None, total: float) -> Iterator[Bar]:
    """The bar of an audit. Args: progress: `tqdm.tqdm`, something like it, or None; total: planned seconds."""
    if progress is None:
        yield Bar()
        return
    form = "{l_bar}{bar}| {elapsed} of about " + f"{total:.0f} s, {{remaining}} left"
    with progress(total=total, desc="audit", bar_format=form, smoothing=0) as bar:
        yield Bar(bar, total)
