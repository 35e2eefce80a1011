"""What an attacker can answer with who knows nothing of the update: the baseline of every error."""

# Images by name; the column of a metric's value for one is `NAME_METRIC`.
UNINFORMED = {
    "grey": "a constant image at the data set's mean",
    "class_mean": "the mean training image of the target's class",
}
