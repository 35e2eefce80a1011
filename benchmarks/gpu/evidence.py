"""Evidence from a GPU, in eight minutes: README.md beside this tells what it measures, and what to bring.

python -m benchmarks.gpu.evidence run results/evidence --images results/slice.safetensors
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import wheels

ROOT = Path(__file__).parents[2]


def run(args: argparse.Namespace) -> None:
    """Measure all parts, each within its limit; the folder holds at any time what was measured until then."""
    from benchmarks.gpu import drawing, parts
    from benchmarks.gpu.scale import SMALL, WHOLE

    scale = SMALL if args.small else WHOLE
    asked = parts.Asked(
        folder=args.out,
        scale=scale.within(args.seconds or scale.total_s),
        device=args.device or ("auto" if args.small else "cuda"),
        photo=args.photo,
        images=args.images,
    )
    facts = {"small": args.small, "wheels": args.borrowed, **({"commit": args.commit} if args.commit else {})}
    parts.run_all(asked, facts, args.began)
    if drawing.possible():
        drawing.draw(args.out)
    else:
        print(f"no matplotlib here; where there is: python -m benchmarks.gpu.evidence draw {args.out}")


def cut(args: argparse.Namespace) -> None:
    """Write the first images of a data set as a file that is small enough to bring along."""
    from benchmarks.gpu.cifar10 import write_slice

    write_slice(args.source, args.out, args.train, args.tests)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


def draw(args: argparse.Namespace) -> None:
    """Draw the figure of a folder of evidence."""
    from benchmarks.gpu.drawing import draw

    print(draw(args.folder))


def publish(args: argparse.Namespace) -> None:
    """Copy a whole folder of evidence into docs/results."""
    from benchmarks.gpu.inner import publish_evidence

    print(publish_evidence(args.folder, args.out, args.commit))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.evidence", description=__doc__.partition("\n")[0])
    parser.add_argument("--wheels", type=Path, default=wheels.FOLDER, help="folder of wheels of what is not installed")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, work) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=work.__doc__.partition("\n")[0], description=work.__doc__)
        one.set_defaults(work=work)
        return one

    one = command("run", run)
    one.add_argument("out", type=Path, help="a new folder for tables, evidence.json and the figure")
    one.add_argument("--small", action="store_true", help="the same parts, small enough for a CPU and a minute")
    one.add_argument("--seconds", type=float, help="for everything: 480, or 60 if small")
    one.add_argument("--device", choices=("auto", "cpu", "cuda"), help="cuda, or auto if small")
    one.add_argument("--images", type=Path, help="what `slice` wrote; without it the part on CIFAR-10 is not run")
    one.add_argument("--photo", type=Path, default=ROOT / "config/photos/car.jpg", help="the reference's photo")
    one.add_argument("--commit", help="of this code, where git cannot tell")

    one = command("slice", cut)
    one.add_argument("source", type=Path, help="data/cifar10.safetensors of a results folder")
    one.add_argument("out", type=Path, help="the file to write")
    one.add_argument("--train", type=int, default=4000, help="training images")
    one.add_argument("--tests", type=int, default=1000, help="test images")

    one = command("draw", draw)
    one.add_argument("folder", type=Path, help="what `run` wrote")

    one = command("publish", publish)
    one.add_argument("folder", type=Path, help="what `run` wrote")
    one.add_argument("--out", type=Path, default=ROOT / "docs/results", help="the folder of published results")
    one.add_argument("--commit", help="what made it, where its record does not know")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; a mistake in what was asked ends in one line and exit code 2."""
    began = time.monotonic()  # the packages are not imported yet
    args = arguments().parse_args(words)
    args.began = began
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # to ask for a GPU then leaves a process forkable
    args.borrowed = wheels.borrow(args.wheels)
    from benchmarks.gpu.inner import FLDRepError

    try:
        args.work(args)
    except FLDRepError as error:
        print(f"evidence: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
