"""Training: rows to batches, one stage of QLoRA, checkpoints and the adapter folder."""
