"""Whether audits of single updates say what the published grids say of the same clients.

`python benchmarks/audit_agreement.py [IMAGES]` audits that many images of each cell, in 60 planned seconds each, and
prints one line a cell: how many images the grid's attacks found, and how many audits found. They agree where both or
neither found any. Networks, images and defenses are those of the published tables; noise is drawn anew.
"""

import sys
from pathlib import Path

import pandas as pd
import torch
import yaml

import fldrep
from fldrep.analysis.rows import chosen
from fldrep.analysis.verdicts import is_found
from fldrep.applications.audit.verdict import IS_RECOVERED
from fldrep.config.attacks import attack_settings
from fldrep.config.data import DataSettings
from fldrep.config.models import NETWORKS
from fldrep.config.presets import OLD_ATTACKS
from fldrep.data.dataset import RawArrays
from fldrep.data.datasets import channels_first, load_arrays
from fldrep.models.building import network_of
from fldrep.models.normalisation import normalisation_for
from fldrep.seeds import job_seed
from fldrep.tables.attacks import ATTACKS

RESULTS = Path(__file__).parents[1] / "docs/results"
# Published results, data set, network (untrained), defense.
CELLS = [
    ("demo", "mnist", "lenet", "none"),
    ("demo", "mnist", "lenet", "soteria-60"),
    ("demo", "mnist", "lenet", "compression-80"),
    ("demo", "mnist", "lenet", "gaussian-01"),
    ("cpu", "mnist", "lenet-untrained", "gaussian-clipped"),
    ("demo", "cifar10", "convnet-64", "none"),
    ("demo", "cifar10", "convnet-64", "soteria-60"),
]


def main(most: int) -> None:
    """Audit the first images of each cell."""
    arrays: dict[str, RawArrays] = {}
    for results, dataset, model, defense in CELLS:
        if dataset not in arrays:
            arrays[dataset] = load_arrays(dataset, DataSettings())
        published = of_images(results)
        cell = {"dataset": dataset, "model": model, "defense": defense, "round": 0, "seed": 0}
        kept = published[(published[list(cell)] == pd.Series(cell)).all(axis=1)].head(most)
        found = kept["found"].tolist()
        said = [audited(results, arrays[dataset], cell, *one) for one in kept[["index", "label"]].values.tolist()]
        ours = [one in IS_RECOVERED for one in said]
        agree = "agree" if any(found) == any(ours) else "DIFFER"
        print(
            f"{dataset} {model} {defense}: grid {sum(found)}, audit {sum(ours)} of {len(kept)}: {agree}; {said}",
            flush=True,
        )


def of_images(results: str) -> pd.DataFrame:
    """Which published images an attack on one update found: a row an image, `found`, its `index` in the training set.

    Attacks on the mean of several updates (`repeats`) see more than an audit does, and are left out.
    """
    attacks = chosen(ATTACKS.read(RESULTS / results / "attacks.parquet"))
    attacks = attacks[[attack_settings(one).repeats is None for one in attacks["preset"].replace(OLD_ATTACKS)]]
    image = ["dataset", "model", "partition", "defense", "round", "seed", "target", "index", "label"]
    return attacks.assign(found=is_found(attacks)).groupby(image, as_index=False)["found"].any()


def audited(results: str, arrays: RawArrays, cell: dict, index: int, label: int) -> str:
    """The verdict of an audit of one client's update."""
    config = yaml.safe_load((RESULTS / results / "config.yaml").read_text())
    images = channels_first(arrays.train_images[index : index + 1])
    shape = tuple(images.shape[1:])
    seed = job_seed("weights", cell["dataset"], cell["model"], 0)
    network = network_of(NETWORKS.validate(config["models"][cell["model"]]), shape, 10, seed).eval()
    inputs, labels = normalisation_for(shape[0]).to_input(images / 255), torch.tensor([label])
    settings = {key: value for key, value in config["defenses"][cell["defense"]].items() if value is not None}
    update = fldrep.client_update(network, inputs, labels)
    client = {"model": network, "images": inputs, "labels": labels}
    update = fldrep.defend(update, settings.pop("method", "none"), **client, **settings)
    return fldrep.audit(network, update, shape=shape, originals=images).verdict


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
