"""What is known of images before any is seen: one file a regulariser.

A regulariser is a function `images -> (value, grad_images)` of the images of P updates, (P, B, C, H, W): value (P,),
and its derivative by the images; or the value alone, and autograd finds the derivative. An attack adds it to the
distance, times a weight whose key in the config is its name with `_` for `-`.
"""
