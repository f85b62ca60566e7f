"""The producers that store epochs of mixed batches: what tells them apart, and what each means."""
