"""What jobs run on: devices, memory, compilation, and where results come from."""
