"""One file a kind of layer, with every operation it has; importing this package registers them all."""

from fldrep.derivatives.layers import (  # noqa: F401
    adaptive_average_pool,
    average_pool,
    batch_norm,
    convolution,
    dropout,
    flatten,
    identity,
    leaky_relu,
    linear,
    max_pool,
    relu,
    residual_block,
    sequential,
    sigmoid,
    tanh,
)
