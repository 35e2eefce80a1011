"""Numbers that the reference code published, for ours to stand beside."""

# Normalised MSE by method and nominal rate of the car under GS, ConvNet-64, untrained, 24,000 iterations: the figure in
# the README of the reference code (github.com/jeremy313/Soteria). Its Soteria is our rule `reference-script`.
PHOTO_MSE = {
    "soteria": {0.4: 0.10, 0.5: 0.75, 0.6: 0.97, 0.7: 1.19, 0.8: 1.49},
    "compression": {0.4: 0.09, 0.5: 0.12, 0.6: 0.36, 0.7: 0.41, 0.8: 0.71},
}
