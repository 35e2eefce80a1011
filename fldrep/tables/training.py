"""What training runs cost and reach: a row a run and round."""

from fldrep.tables.columns import CODE, RUN
from fldrep.tables.table import Column, Older, Table

TRAINING = Table(
    "training",
    3,
    (
        *RUN,
        Column("round", "int", "round just finished; 0 is the untrained model", "rounds"),
        Column("test_images", "int", "test images that accuracy and loss are measured on", "images"),
        Column("test_accuracy", "float", "share of these images classified correctly", "share in [0, 1]"),
        Column(
            "held_out_accuracy",
            "float",
            "share of the training images held out of the partition that is classified correctly",
            "share in [0, 1]",
            null=True,
        ),
        Column("test_loss", "float", "mean cross entropy over these images", "nats"),
        Column("update_norm", "float", "L2 norm of the averaged weight change / lr", null=True),
        Column("lr", "float", "step size of local SGD in this round", null=True),
        Column("clients", "int", "clients that trained in this round"),
        Column("train_s", "float", "local training of all clients of the round", "seconds"),
        Column("defense_s", "float", "part of train_s spent in the defense", "seconds"),
        Column("evaluate_s", "float", "evaluation on the test set", "seconds"),
        Column("dense_bytes", "int", "float32 size of one client's update", "bytes"),
        Column(
            "sent_bytes",
            "float",
            "mean size of what a client sends: each tensor dense (4 bytes an entry) or sparse (8 bytes a non-zero one),"
            " whichever is smaller",
            "bytes",
        ),
        Column(
            "nonzero_pruned",
            "float",
            "mean share of the nonzero features that Soteria prunes in a step",
            "share in [0, 1]",
            null=True,
        ),
        Column("norm_estimator", "str", "how Soteria's Jacobian norms were had in training, empty for other methods"),
        Column(
            "agreement",
            "float",
            "at checkpoints: share of what the training mask prunes that the exact one prunes too, mean over images",
            "share in [0, 1]",
            null=True,
        ),
        CODE,
    ),
    older=(Older(1, "utility", {"live_rate": "nonzero_pruned", "train_scores": "norm_estimator"}), Older(2)),
)
