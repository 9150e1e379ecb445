"""Bases, adapters, and the tiny VLM that ships with the Forge."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # when imported it remarks on an optional CPU kernel
