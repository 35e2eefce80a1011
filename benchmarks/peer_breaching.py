"""A process that attacks one target with `breaching` 0.1.2, as it is, and tells the seconds of a step.

Run in an environment that has both packages. It reads lines `network steps` and answers with one number each.
"""

import logging
import sys
from pathlib import Path
from time import process_time

import torch

from benchmarks.measuring import images, network, targets


class Constants(dict):
    """Constants of a data set by key and by attribute, as `breaching` reads them."""

    __getattr__ = dict.__getitem__


def attack_settings(steps: int):
    """Its own settings for `invertinggradients`, with another number of iterations."""
    import breaching  # not in this project's environment
    from omegaconf import OmegaConf

    folder = Path(breaching.__file__).parent / "config" / "attack"
    parts = [OmegaConf.load(folder / f"{name}.yaml") for name in ("_default_optimization_attack", "invertinggradients")]
    parts[1].pop("defaults")
    return OmegaConf.merge(*parts, {"optim": {"max_iterations": steps}})


def gs_step(name: str, steps: int) -> float:
    """Seconds a step of its GS on one target."""
    import breaching

    model = network(name)
    seen, labels = targets(model, 1)
    constants = Constants(shape=(3, 32, 32), mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26), modality="vision")
    setup = {"dtype": torch.float, "device": torch.device("cpu")}
    attacker = breaching.attacks.prepare_attack(model, torch.nn.CrossEntropyLoss(), attack_settings(steps), setup)
    buffers = list(model.buffers())
    payload = [{"parameters": list(model.parameters()), "buffers": buffers, "metadata": constants}]
    facts = {"num_data_points": 1, "labels": labels, "local_hyperparams": None}
    shared = [{"gradients": [one[0] for one in seen.values()], "buffers": buffers, "metadata": facts}]
    began = process_time()
    attacker.reconstruct(payload, shared, {}, initial_data=images(1))
    return (process_time() - began) / steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable()
    for line in sys.stdin:
        wanted, count = line.split()
        print(gs_step(wanted, int(count)), flush=True)
