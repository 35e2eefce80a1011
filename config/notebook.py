"""The images of the reference's notebook as a data set: training image 25 of CIFAR-10, and the 15 after it."""

from dataclasses import replace

import fldrep


@fldrep.dataset("cifar10-notebook", like="cifar10", train_images=16)
def cifar10_notebook(data):
    """Sixteen images to attack, beside the test images and class means of CIFAR-10."""
    from fldrep.data.cifar10 import cifar10

    whole, chosen = cifar10(data), slice(25, 41)
    images, labels = whole.train_images[chosen], whole.train_labels[chosen]
    return replace(whole, train_images=images, train_labels=labels, class_means_of=whole)
