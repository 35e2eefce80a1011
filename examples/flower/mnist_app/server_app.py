"""The server: Flower's federated averaging, once for each defense."""

from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from mnist_app.task import build

TOLD = ("lr", "local-epochs", "batch-size", "images", "records")  # what clients are told of the run's config

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds, by the config of the run."""
    serve(grid, context.run_config)


def serve(grid: Grid, said: dict) -> None:
    """All rounds of each defense, from the same weights."""
    for defense in said["defenses"].split(","):
        asked = {key: said[key] for key in TOLD}
        FedAvg(fraction_train=1.0, fraction_evaluate=0.0).start(
            grid=grid,
            initial_arrays=ArrayRecord(build().state_dict()),
            train_config=ConfigRecord({**asked, "defense": defense, "clipping_norm": said["clipping-norm"]}),
            num_rounds=said["num-server-rounds"],
        )
