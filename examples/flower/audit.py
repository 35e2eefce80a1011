"""Audit what `simulate.py` or `flwr run` recorded, with the clients' own images: `python audit.py records audits`."""

import sys
from pathlib import Path

from mnist_app.task import SHAPE, build, share_of

import fldrep
from fldrep.applications.audit.record import read_record

CLIENTS = 2


def main(records: Path, out: Path, budget: float = 60) -> None:
    """A page for each record, and a table of all."""
    print("| defense | client | verdict | best SSIM | noise found on an entry | floor |\n|---|---|---|---|---|---|")
    for path in sorted(records.glob("*/*.safetensors")):
        network, record = build(), read_record(path)
        client = record.told["client"]
        pixels, _ = share_of(client, CLIENTS, record.told["images"])
        given = {"shape": SHAPE, "normalisation": "mnist", "originals": pixels, "budget": budget}
        found = fldrep.audit(network, **record.of_audit(network), **given)
        found.save(out / path.parent.name / path.stem)
        said = found.to_dict()
        best = max((one["ssim"] for one in said["attacks"] if one["ssim"] is not None), default=None)
        cells = (
            path.parent.name,
            client,
            found.verdict,
            best,
            said["update"]["noise"],
            said["identifiability"]["floor"],
        )
        print(f"| {' | '.join(map(in_words, cells))} |", flush=True)


def in_words(value: str | float | None) -> str:
    """A number to two digits; what an audit does not tell is a dash."""
    if value is None:
        return "–"
    return f"{value:.2g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:]))
