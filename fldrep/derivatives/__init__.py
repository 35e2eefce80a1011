"""How layers differentiate: gradients of updates and their derivatives, Jacobian rows, variances and norm bounds."""

from fldrep.derivatives import layers  # noqa: F401  (registers the rules of every kind of layer)
