"""The method: settings, encoders, losses, optimizers and metrics, on tensors, without files of a run."""
