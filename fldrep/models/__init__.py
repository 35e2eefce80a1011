"""What is trained: networks, their input, and the updates of their clients."""
