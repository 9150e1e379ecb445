"""A rented machine: the files that go there and come back, and no secret with them."""
