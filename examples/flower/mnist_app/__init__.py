"""Clients on MNIST that train LeNet."""
