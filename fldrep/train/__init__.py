"""Stage: train. Federated averaging with a defense in each client."""
